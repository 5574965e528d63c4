"""A small GS-LRM and views for its tests."""

import torch
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.models.base import Prediction
from pmgs_lib.models.gslrm.config import GslrmConfig
from pmgs_lib.models.gslrm.model import Gslrm
from pmgs_lib.views import Views

HEIGHT, WIDTH = 16, 24
NEAR, FAR = 0.5, 20.0
SMALL = GslrmConfig(width=48, layers=2, head_width=16, feed_forward_factor=2, farthest=50.0, harmonics_degree=1)


def context(batch: int = 1, views: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Views:
    """Random pictures from cameras that stand and look a little differently."""
    generator = torch.Generator().manual_seed(5)
    poses = torch.eye(4).repeat(batch, views, 1, 1)
    poses[..., :3, 3] = torch.tensor([2.0, -1.0, 3.0]) + 0.4 * torch.randn(batch, views, 3, generator=generator)
    turn = 0.1 * torch.randn(batch, views, 3, 3, generator=generator)
    poses[..., :3, :3] = torch.linalg.matrix_exp(turn - turn.mT)
    intrinsics = torch.tensor([[0.9, 0.0, 0.48], [0.0, 1.2, 0.52], [0.0, 0.0, 1.0]]).repeat(batch, views, 1, 1)
    images = torch.rand(batch, views, 3, height, width, generator=generator)
    return Views(images, Cameras(poses, intrinsics), torch.full((batch,), NEAR), torch.full((batch,), FAR))


def with_poses(views: Views, world_from_camera: Tensor) -> Views:
    """The same pictures taken from elsewhere."""
    return Views(views.images, Cameras(world_from_camera, views.cameras.intrinsics), views.near, views.far)


def reordered(views: Views, order: list[int]) -> Views:
    return Views(views.images[:, order], views.cameras[:, order], views.near, views.far)


def lively(**overrides: object) -> Gslrm:
    """A small network whose weights are large enough for every part to matter."""
    torch.manual_seed(1)
    model = Gslrm(GslrmConfig.model_validate(SMALL.model_dump() | overrides))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[1] ** -0.5 * (0.3 if "token_decoder" in name else 1.0))
    return model


def tensors(prediction: Prediction) -> dict[str, Tensor]:
    return vars(prediction.gaussians) | {"depth": prediction.depth}


def differences(ours: Prediction, theirs: Prediction) -> dict[str, float]:
    """Relative L2 difference of each part; rotations and scales are compared by covariance."""
    parts = []
    for prediction in (ours, theirs):
        own = tensors(prediction) | {"covariances": prediction.gaussians.covariances()}
        parts.append({name: value for name, value in own.items() if name not in ("scales", "quaternions")})
    return {name: ((value - parts[1][name]).norm() / parts[1][name].norm()).item() for name, value in parts[0].items()}
