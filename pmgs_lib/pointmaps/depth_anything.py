"""Depth Anything 3 as a pointmap source, through its own package where that is installed.

Source: Lin et al., "Depth Anything 3: Recovering the Visual Space from Any Views", 2025. The package's documented
interface is used and nothing below it: `DepthAnything3.from_pretrained(...)` and `inference(...)`.
"""

import hashlib
import importlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.geometry.pose import transform_points
from pmgs_lib.pointmaps.base import Evidence, Identity, Pointmap, PointmapSource, at_full_size
from pmgs_lib.pointmaps.licences import require_licence
from pmgs_lib.views import Views

MODULE = "depth_anything_3.api"


class DepthAnything3Pointmap(PointmapSource):
    """Points unprojected from the depth and cameras that Depth Anything 3 predicts, in a frame and scale of its own.

    weights: what `from_pretrained` takes, a model's name or a folder; the package fetches it. process_resolution: of
    the longer side, in pixels. use_cameras: condition the model on the views' own cameras; points are then in the
    world frame, as far as the package aligns them. The package takes 8-bit images and unprojects at *integer* pixel
    coordinates, half a pixel up and left of the library's; so does this. Scenes of a batch go through in turn, since
    the package takes one at a time. Raises `BackendError` where the package is absent or answers in another form.
    """

    def __init__(
        self,
        weights: str = "depth-anything/DA3-LARGE",
        process_resolution: int = 504,
        use_cameras: bool = False,
        accept_licence: bool = False,
    ) -> None:
        if process_resolution < 14:
            raise ParameterError(f"DepthAnything3Pointmap: process_resolution {process_resolution}, expected >= 14")
        package = _package()
        require_licence(weights, accept_licence)
        self.weights, self.process_resolution, self.use_cameras = weights, process_resolution, use_cameras
        self.evidence: tuple[Evidence, ...] = ("images", "cameras") if use_cameras else ("images",)
        self.model: nn.Module = package.DepthAnything3.from_pretrained(weights).eval()
        self._digest = state_digest(self.model)

    @property
    def identity(self) -> Identity:
        return {
            "source": "depth-anything-3",
            "weights": self.weights,
            "weights_digest": self._digest,
            "process_resolution": self.process_resolution,
            "use_cameras": self.use_cameras,
        }

    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        device = context.images.device
        self.model.to(device)
        images = context.images.reshape(-1, *context.images.shape[-4:])
        scenes = [
            self._scene(context, index, view_images, key).points_and_confidence(device)
            for index, view_images in enumerate(images)
        ]
        points, confidences = zip(*scenes, strict=True)
        found = Pointmap(torch.stack(points), None if confidences[0] is None else torch.stack(confidences))
        found = at_full_size(found, context.height, context.width)
        return Pointmap(
            found.points.reshape(*context.batch_shape, *found.points.shape[1:]),
            None if found.confidence is None else found.confidence.reshape(context.images[..., 0, :, :].shape),
        )

    def _scene(
        self, context: Views, index: int, images: Float[Tensor, "view 3 h w"], key: str | tuple[str, ...]
    ) -> "_Answer":
        options: dict[str, Any] = {}
        if self.use_cameras:
            cameras = context.cameras
            pixels = cameras.pixel_intrinsics(context.height, context.width).reshape(-1, context.count, 3, 3)
            poses = cameras.camera_from_world.reshape(-1, context.count, 4, 4)
            options = {"extrinsics": poses[index].cpu().numpy(), "intrinsics": pixels[index].cpu().numpy()}
        bytes_ = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        answer = self.model.inference(list(bytes_), process_res=self.process_resolution, **options)
        return _Answer(answer, context.count, str(key or "the scene"))


class _Answer:
    """What the package says of one scene, checked before it is used."""

    def __init__(self, answer: Any, views: int, key: str) -> None:
        self.depth, self.extrinsics, self.intrinsics, self.confidence = (
            _array(answer, name) for name in ("depth", "extrinsics", "intrinsics", "conf")
        )
        size = self.depth.shape[1:] if self.depth is not None else ()
        sound = (
            self.depth is not None
            and self.depth.shape == (views, *size)
            and len(size) == 2
            and self.extrinsics is not None
            and self.extrinsics.shape in ((views, 3, 4), (views, 4, 4))
            and self.intrinsics is not None
            and self.intrinsics.shape == (views, 3, 3)
            and (self.confidence is None or self.confidence.shape == self.depth.shape)
        )
        if not sound:
            shapes = {name: None if value is None else value.shape for name, value in vars(self).items()}
            raise BackendError(
                f"depth-anything-3: answered {key} with {shapes}, expected depth of {views} views with extrinsics and "
                "intrinsics; take a model that predicts cameras (not a metric or monocular one)"
            )

    def points_and_confidence(
        self, device: torch.device
    ) -> tuple[Float[Tensor, "view h w 3"], Float[Tensor, "view h w"] | None]:
        """World points at integer pixel coordinates, and the confidence where there is one."""
        depth, intrinsics = (torch.from_numpy(x).to(device) for x in (self.depth, self.intrinsics))
        camera_from_world = torch.eye(4, device=device).repeat(len(depth), 1, 1)
        camera_from_world[:, :3] = torch.from_numpy(self.extrinsics[:, :3]).to(device)
        rows, columns = (torch.arange(n, device=device, dtype=torch.float32) for n in depth.shape[1:])
        grid = torch.stack([*torch.meshgrid(columns, rows, indexing="xy"), torch.ones_like(depth[0])], dim=-1)
        directions = grid.reshape(-1, 3) @ torch.linalg.inv(intrinsics).mT
        points_camera = directions * depth.flatten(1)[..., None]
        points = transform_points(torch.linalg.inv(camera_from_world), points_camera)
        confidence = None if self.confidence is None else torch.from_numpy(self.confidence).to(device)
        return points.unflatten(1, depth.shape[1:]), confidence


def state_digest(model: nn.Module) -> str:
    """A digest of all weights and buffers of a network, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _package() -> Any:
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        raise BackendError(
            f"depth-anything-3: its package cannot be imported ({error}); install it with `pip install --no-deps "
            "depth-anything-3` and then what it asks for (its own pins are old), or take the source 'vggt'"
        ) from error


def _array(answer: Any, name: str) -> np.ndarray | None:
    value = getattr(answer, name, None)
    return None if value is None else np.asarray(value, dtype=np.float32)
