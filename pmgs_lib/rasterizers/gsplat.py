"""gsplat's CUDA kernels (Ye et al., "gsplat: An open-source library for Gaussian splatting", 2024)."""

import importlib.util
import math
import os
import shutil
from pathlib import Path

import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import BackendError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers.base import LOW_PASS, Rasterizer, Rendering

CONSTANT = 0.5 / math.sqrt(math.pi)  # the basis function of degree 0
EXTENSION_FOLDER = "TORCH_EXTENSIONS_DIR"
DEFAULT_EXTENSION_FOLDER = Path("~/.cache/torch_extensions")


class GsplatRasterizer(Rasterizer):
    """Wraps `gsplat.rasterization`; the kernels are compiled at the first call where they are not installed."""

    camera_gradients = frozenset({"world_from_camera"})

    def obstacle(self, device: torch.device) -> str | None:
        # Importing or calling gsplat says nothing cheap: the import always works, the first call compiles for minutes.
        if device.type != "cuda":
            return f"gsplat draws CUDA tensors only, these are on {device}"
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        package = importlib.util.find_spec("gsplat")
        if package is None:
            return "the package gsplat is not installed"
        if not (_compiled(Path(package.origin).parent) or shutil.which("nvcc")):
            return "gsplat's kernels are not compiled and there is no nvcc to compile them"
        return None

    def render(self, gaussians: Gaussians, cameras: Cameras, height: int, width: int, near_plane: float) -> Rendering:
        from gsplat import rasterization  # only where it can serve

        if gaussians.means.dtype != torch.float32:
            raise BackendError(
                f"rasterize: gsplat draws float32, these Gaussians are {gaussians.means.dtype}: use .to(torch.float32)"
            )
        if not (gaussians.count and cameras.batch_shape.numel()):
            empty = gaussians.means.new_zeros(*cameras.batch_shape, 5, height, width)
            return Rendering(empty[..., :3, :, :], empty[..., 3, :, :], empty[..., 4, :, :])
        cameras, degree = cameras.to(torch.float32), gaussians.degree
        # Colours that no direction changes are made here: gsplat would work out all directions first.
        colors = gaussians.harmonics if degree else (gaussians.harmonics[..., 0, :] * CONSTANT + 0.5).clamp_min(0)
        images, alphas, _ = rasterization(
            gaussians.means,
            gaussians.quaternions,
            gaussians.scales,
            gaussians.opacities,
            colors,
            cameras.camera_from_world,
            cameras.pixel_intrinsics(height, width),
            width,
            height,
            near_plane=near_plane,
            eps2d=LOW_PASS,
            sh_degree=degree or None,
            packed=False,
            render_mode="RGB+D",
        )
        return Rendering(images[..., :3].movedim(-1, -3), images[..., 3], alphas[..., 0])


def _compiled(package: Path) -> bool:
    """Whether kernels lie in the package or in the folder where torch keeps those it compiled before."""
    cache = Path(os.environ.get(EXTENSION_FOLDER, DEFAULT_EXTENSION_FOLDER.expanduser()))
    return any(package.glob("csrc*.so")) or any(cache.glob("**/gsplat_cuda/gsplat_cuda.so"))
