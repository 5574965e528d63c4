"""Small networks of both states of DepthSplat, and views for them."""

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.models import build_model
from pmgs_lib.models.base import Prediction
from pmgs_lib.views import Views

HEIGHT, WIDTH = 32, 48
OCTOBER = {
    "scales": 2,
    "upsample": 2,
    "unet_channels": 64,
    "unet_head_width": 32,
    "all_pairs_up_to": 2,
    "supervise_last_scale": True,
    "color": {
        "features": {"kind": "resize_conv", "features": 16},
        "regressor": {"kind": "unet", "channels": 16, "multipliers": (1, 2, 2), "head_width": 16},
        "head_expansion": 2,
        "adapter": {
            "harmonics_degree": 4,
            "scale_map": "exp",
            "scale_min": 0.0,
            "scale_max": 0.3,
            "offset_mode": "unconstrained",
            "confidence": "softplus",
            "unit_rays": True,
        },
    },
}
GENERATIONS = {"march 2025": {}, "october 2024": OCTOBER}


def context(batch: int = 1, views: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Views:
    generator = torch.Generator().manual_seed(5)
    poses = torch.eye(4).repeat(batch, views, 1, 1)
    poses[..., :3, 3] = 0.2 * torch.randn(batch, views, 3, generator=generator)
    angle = 0.1 * torch.randn(batch, views, generator=generator)
    poses[..., 0, 0] = poses[..., 2, 2] = angle.cos()
    poses[..., 0, 2], poses[..., 2, 0] = angle.sin(), -angle.sin()
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 0.9 * width / height, 0.5], [0, 0, 1]]).repeat(batch, views, 1, 1)
    images = torch.rand(batch, views, 3, height, width, generator=generator)
    images = torch.nn.functional.avg_pool2d(images.flatten(0, 1), 5, 1, 2).unflatten(0, (batch, views))
    return Views(images, Cameras(poses, intrinsics), torch.full((batch,), 0.5), torch.full((batch,), 40.0))


def disturbed(name: str = "depthsplat-tiny", **overrides) -> torch.nn.Module:
    """A network without any zero weights, so that nothing hides behind an initialisation."""
    torch.manual_seed(1)
    model = build_model(name, **overrides)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def tensors(prediction: Prediction) -> dict[str, torch.Tensor]:
    confidence = {} if prediction.confidence is None else {"confidence": prediction.confidence}
    return vars(prediction.gaussians) | {"depth": prediction.depth} | confidence


def assert_same(left: Prediction, right: Prediction, atol: float = 0.0, rtol: float = 0.0) -> None:
    for name, value in tensors(left).items():
        torch.testing.assert_close(value, tensors(right)[name], atol=atol, rtol=rtol, msg=lambda m, n=name: f"{n}: {m}")
