"""GS-LRM: patches of all views through one transformer, then one Gaussian for each pixel of each view.

Source: Zhang et al., "GS-LRM: Large Reconstruction Model for 3D Gaussian Splatting", ECCV 2024. Module names are those
of the unofficial code's checkpoints.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.pose import wxyz_from_xyzw
from pmgs_lib.models.base import Prediction, full_precision
from pmgs_lib.models.checks import check_context
from pmgs_lib.models.gslrm.config import GslrmConfig
from pmgs_lib.models.gslrm.pose_normalisation import FRAMES, SceneFrame
from pmgs_lib.models.gslrm.rays import (
    INPUT_CHANNELS,
    baseline_range,
    from_patches,
    pixel_inputs,
    to_patches,
    unit_rays,
)
from pmgs_lib.models.gslrm.transformer import Transformer
from pmgs_lib.models.pixel_gaussians import z_depth_from_ray_length
from pmgs_lib.views import Views

# Standard deviation of all first weights (unofficial code; the paper names none).
INITIAL_SPREAD = 0.02
# Centres count as one place when they differ by less than float32's rounding: of the world's unit, or of what they are.
COINCIDENT = 1e-6


@dataclass(frozen=True)
class PixelRays:
    """Rays of all pixels in the frame of a scene, and the range of the Gaussians' distances on them."""

    origins: Float[Tensor, "batch view 3"]
    directions: Float[Tensor, "batch view h w 3"]
    nearest: Float[Tensor, " batch"]
    farthest: Float[Tensor, " batch"]


class Gslrm(nn.Module):
    """Feed-forward Gaussians and depth from posed views, any number of them.

    Call it with context views of batch shape `(batch,)`; sides must be multiples of `config.multiple`. Two views at
    least where the unit of length comes from the distance of cameras (`config.needs_baseline`), else one. There is no
    code of position: views in another order give the same prediction in that order, but for what the unofficial pose
    normalisation takes from the first two, and for cameras that look all around (see `mean_camera`).

    Under autocast the transformer works in half precision; tokens, rays and all that makes Gaussians stay in float32.
    """

    def __init__(self, config: GslrmConfig) -> None:
        super().__init__()
        self.config = config
        coefficients = (config.harmonics_degree + 1) ** 2
        # Distance, harmonics, scale, quaternion and opacity of a pixel, in this order.
        self.channels = [1, 3 * coefficients, 3, 4, 1]
        pixels = config.patch**2
        self.tokenizer = nn.Sequential(nn.Linear(pixels * INPUT_CHANNELS, config.width, bias=False))
        if config.normalise_tokens:
            self.tokenizer.append(nn.LayerNorm(config.width, bias=False))
        self.attn_processor = Transformer(config)
        self.token_decoder = nn.Sequential(
            nn.LayerNorm(config.width, bias=False), nn.Linear(config.width, pixels * sum(self.channels), bias=False)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INITIAL_SPREAD)

    def forward(self, context: Views, target_cameras: Cameras | None = None) -> Prediction:
        """Gaussians and depth of the context.

        target_cameras: for the unofficial pose normalisation only, which in its training is made of them, too.
        """
        context = self.check(context)
        device = context.images.device.type
        with torch.autocast(device, enabled=False):
            frame = self.frame(context.cameras, target_cameras)
            rays = self.rays(context, frame)
            pixels = pixel_inputs(context.images, rays.origins, rays.directions, self.config.inputs)
            tokens = self.tokenizer(to_patches(pixels, self.config.patch))
        tokens = self.attn_processor(tokens)
        with torch.autocast(device, enabled=False):
            raw = self.token_decoder(full_precision(tokens))
            raw = from_patches(raw, self.config.patch, context.count, context.height, context.width)
            length = self.ray_lengths(raw[..., 0], rays)
            gaussians = frame.gaussians_in_world(self.gaussians_inside(raw, length, rays))
            depth = z_depth_from_ray_length(length / frame.scale[:, None, None, None], context.cameras)
        return Prediction(gaussians, depth, self.config.rendering)

    @property
    def needs_target_cameras(self) -> bool:
        """Whether training passes `target_cameras`, too: whoever evaluates has none to pass."""
        return self.config.pose_normalisation == "unofficial"

    def frame(self, cameras: Cameras, target_cameras: Cameras | None = None) -> SceneFrame:
        """The frame in which the network sees these context cameras."""
        kind = self.config.pose_normalisation
        if target_cameras is not None:
            if kind != "unofficial":
                raise ParameterError(
                    f"{type(self).__name__}: target cameras given with pose_normalisation {kind!r}; expected "
                    "'unofficial': nothing else may depend on targets, so leave them out"
                )
            both = (cameras.world_from_camera, target_cameras.world_from_camera)
            intrinsics = torch.cat([cameras.intrinsics, target_cameras.intrinsics], dim=1)
            cameras = Cameras(torch.cat(both, dim=1), intrinsics)
        return FRAMES[kind](cameras)

    def rays(self, context: Views, frame: SceneFrame) -> PixelRays:
        """Rays of all pixels with their range, in a frame."""
        cameras, size = frame.cameras_inside(context.cameras), (context.height, context.width)
        if self.config.distance_range == "baseline":
            nearest, farthest = baseline_range(cameras, *size)
        elif self.config.distance_range == "views":
            nearest, farthest = context.near * frame.scale, context.far * frame.scale
        else:
            nearest = torch.full_like(frame.scale, self.config.nearest)
            farthest = torch.full_like(frame.scale, self.config.farthest)
        return PixelRays(*unit_rays(cameras, *size), nearest, farthest)

    def ray_lengths(self, raw: Float[Tensor, "batch view h w"], rays: PixelRays) -> Float[Tensor, "batch view h w"]:
        """Distances of the Gaussians along their rays, linear in the sigmoid, in units of the frame."""
        weight = (raw + self.config.distance_bias).sigmoid()
        nearest, farthest = (x[:, None, None, None] for x in (rays.nearest, rays.farthest))
        return nearest * (1 - weight) + farthest * weight

    def gaussians_inside(
        self, raw: Float[Tensor, "batch view h w channel"], length: Float[Tensor, "batch view h w"], rays: PixelRays
    ) -> Gaussians:
        """Gaussians along the axes of the scene's frame, ordered by view, row, column."""
        _, harmonics, scale, quaternion, opacity = raw.split(self.channels, dim=-1)
        means = rays.origins[:, :, None, None] + rays.directions * length[..., None]
        parts = (
            means,
            (scale + self.config.scale_bias).exp().clamp(max=self.config.scale_max),
            wxyz_from_xyzw(functional.normalize(quaternion, dim=-1)),
            (opacity[..., 0] + self.config.opacity_bias).sigmoid(),
            harmonics.unflatten(-1, (-1, 3)),
        )
        return Gaussians(*(part.flatten(1, 3) for part in parts))

    def check(self, context: Views) -> Views:
        """The views as this model takes them, or an error that says why it cannot (see `check_context`)."""
        name, config = type(self).__name__, self.config
        if config.needs_baseline and context.count < 2:
            raise ParameterError(
                f"{name}: {context.count} context view; expected at least 2, since the distance of cameras is its unit "
                "of length: a model with pose_normalisation='none' and a range that is not the baseline's takes one"
            )
        context = check_context(name, context, config.multiple, fewest_views=1)
        if config.needs_baseline and not torch.compiler.is_compiling():
            _check_apart(name, context.cameras.centers)
        return context


def _check_apart(name: str, centers: Float[Tensor, "batch view 3"]) -> None:
    spread = (centers.amax(1) - centers.amin(1)).amax(-1)
    together = (spread <= COINCIDENT * (1 + centers.abs().amax((1, 2)))).tolist()
    if any(together):
        raise ParameterError(
            f"{name}: all {centers.shape[1]} context cameras of scene {together.index(True)} stand at one place; "
            "expected some distance between them, which is the unit of length: choose views further apart"
        )
