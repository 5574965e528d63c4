"""VGGT's camera head: pose and field of view of every frame, refined from the camera tokens."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.geometry.pose import quaternion_to_matrix, wxyz_from_xyzw
from pmgs_lib.pointmaps.vggt.blocks import Block, FeedForward, Linear
from pmgs_lib.pointmaps.vggt.config import CameraConfig

# Translation, quaternion xyzw, vertical and horizontal field of view.
POSE_NUMBERS = 9


class CameraEstimate(NamedTuple):
    """Cameras in the frame of the first one, OpenCV axes.

    camera_from_world: rotation and translation. tangents: of half the horizontal and vertical field of view; a field
    that the head's ReLU clips to zero has tangent 0, hence an infinite focal length. The principal point is the centre.
    """

    camera_from_world: Float[Tensor, "batch frame 3 4"]
    tangents: Float[Tensor, "batch frame 2"]


class CameraHead(nn.Module):
    """The estimate of every refinement, last one last, each of nine numbers. In float32."""

    def __init__(self, config: CameraConfig, width: int) -> None:
        super().__init__()
        self.refinements = config.refinements
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_NUMBERS))
        self.trunk = nn.Sequential(*(Block(width, config.heads) for _ in range(config.depth)))
        self.token_norm = nn.LayerNorm(width)
        self.trunk_norm = nn.LayerNorm(width)
        self.embed_pose = Linear(POSE_NUMBERS, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), Linear(width, 3 * width))
        self.pose_branch = FeedForward(width, width // 2, POSE_NUMBERS)

    def forward(self, tokens: Float[Tensor, "batch frame width"]) -> list[Float[Tensor, "batch frame 9"]]:
        tokens = self.token_norm(tokens)
        plain = functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        estimates: list[Tensor] = []
        for _ in range(self.refinements):
            # Each refinement learns from its own error only: the estimate that it starts from is detached.
            start = estimates[-1].detach() if estimates else self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(start)).chunk(3, dim=-1)
            modulated = tokens + gate * (plain * (1 + scale) + shift)
            change = self.pose_branch(self.trunk_norm(self.trunk(modulated)))
            estimates.append(estimates[-1] + change if estimates else change)
        return [torch.cat([x[..., :7], functional.relu(x[..., 7:])], dim=-1) for x in estimates]


def cameras_of(encoding: Float[Tensor, "batch frame 9"]) -> CameraEstimate:
    """The cameras that the nine numbers stand for."""
    rotation = quaternion_to_matrix(wxyz_from_xyzw(encoding[..., 3:7]))
    vertical, horizontal = torch.tan(encoding[..., 7:] / 2).unbind(-1)
    return CameraEstimate(
        torch.cat([rotation, encoding[..., :3, None]], dim=-1), torch.stack([horizontal, vertical], dim=-1)
    )
