"""What the 3D viewer shows, thinned to what a notebook can hold, and as one page by viser."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import BackendError, first_line
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import evaluate_harmonics
from pmgs_lib.geometry.pose import matrix_to_quaternion
from pmgs_lib.rasterizers.base import LOW_PASS
from pmgs_lib.views import Views

THUMBNAIL_WIDTH = 160  # pixels of a picture on its frustum
FRUSTUM_SHARE, POINT_SHARE, LINE_SHARE = 0.08, 0.003, 0.0008  # sizes, of the distance to what is looked at
# viser 1.1 drops a Gaussian where opacity times the determinant of its 2D covariance (pixels) is under 0.25.
LEAST_FOOTPRINT = 0.4  # above it, so that they stay when one turns or steps back a little
MOST_BLUR = 1.0  # pixels squared; fainter ones that lack more may vanish


@dataclass(frozen=True)
class PointCloud:
    """World points with colours in [0, 1]; `total` is how many there were before some were left out."""

    points: Float[Tensor, "point 3"]
    colors: Float[Tensor, "point 3"]
    total: int


@dataclass(frozen=True)
class CameraSet:
    """Cameras (camera) of one name, with small pictures where they are known, and their colour."""

    cameras: Cameras
    pictures: list[UInt8[np.ndarray, "h w 3"]]
    color: str

    @property
    def aspect(self) -> float:
        """Width over height of the pictures; that of square pixels where there are none."""
        if self.pictures:
            height, width = self.pictures[0].shape[:2]
            return width / height
        return (self.cameras.intrinsics[0, 1, 1] / self.cameras.intrinsics[0, 0, 0]).item()


@dataclass(frozen=True)
class Scene3D:
    """All that is shown. `total` is the number of Gaussians before some were left out; names in `hidden` start unseen.

    start: the camera that the viewer begins with; focus_m: the distance along its axis of the point that it turns
    about, in world units. height_px: of the viewer.
    """

    gaussians: Gaussians | None
    total: int
    clouds: Mapping[str, PointCloud]
    cameras: Mapping[str, CameraSet]
    hidden: frozenset[str]
    start: Cameras
    focus_m: float
    height_px: int

    @property
    def focus(self) -> Float[Tensor, "3"]:
        """The point that the viewer turns about."""
        pose = self.start.world_from_camera
        return pose[:3, 3] + self.focus_m * pose[:3, 2]


def camera_set(shown: Cameras | Views, color: str) -> CameraSet:
    """Cameras with thumbnails of their views, if they come with views."""
    if isinstance(shown, Cameras):
        return CameraSet(shown.to("cpu"), [], color)
    size = (THUMBNAIL_WIDTH, max(1, round(THUMBNAIL_WIDTH * shown.height / shown.width)))
    pictures = [np.asarray(Image.fromarray(pixels).resize(size)) for pixels in image_to_uint8(shown.images)]
    return CameraSet(shown.cameras.to("cpu"), pictures, color)


def thinned(gaussians: Gaussians, most: int) -> Gaussians:
    """At most `most` of the Gaussians, evenly along their order and in proportion to their opacity.

    Each that stays is enlarged so that it covers the area of those it stands for: its scales are divided by the square
    root of its chance to stay. On the embedded scenes 30,000 of 57,344 show the whole at 22 dB PSNR; the 30,000 largest
    by opacity times size, which leaves out what is near, at 15 to 16 dB.
    """
    seen = (gaussians.opacities > 0).nonzero().flatten()
    if gaussians.count <= most:
        return gaussians
    if len(seen) <= most:
        return gaussians.select(seen)
    shares = _shares(gaussians.opacities[seen].double(), most)
    reached = (shares.cumsum(0) + 0.5).floor()
    kept = reached > torch.cat([reached.new_zeros(1), reached[:-1]])
    part = gaussians.select(seen[kept])
    return replace(part, scales=part.scales / shares[kept].sqrt().to(part.scales)[:, None])


def _shares(weights: Float[Tensor, " item"], count: int) -> Float[Tensor, " item"]:
    """Numbers in proportion to `weights`, none above 1, that add up to `count`."""
    certain = torch.zeros_like(weights, dtype=torch.bool)
    while True:
        rest = (count - certain.sum()) / weights[~certain].sum()
        shares = torch.where(certain, 1.0, weights * rest)
        if bool((shares <= 1 + 1e-9).all()):
            return shares.clamp(max=1)
        certain |= shares > 1


def every_nth(points: Float[Tensor, "point 3"], most: int) -> Int[Tensor, " kept"]:
    """Indices of the finite points, evenly thinned to at most `most`."""
    finite = points.isfinite().all(dim=-1).nonzero().flatten()
    return finite[:: max(1, -(-len(finite) // most))]


def build_page(scene: Scene3D) -> str:
    """The scene and viser's client as one HTML page that needs no server and no network.

    viser makes pages with a server only: it listens on a free port of 127.0.0.1 while the page is made. What it says of
    that, printed or displayed, is swallowed. Raises `BackendError` where viser is not installed or cannot start.
    """
    try:
        import viser
        from IPython.utils.capture import capture_output
    except ImportError as error:
        raise BackendError(
            f"view_3d: viser cannot be imported ({first_line(error)}), expected it for the 3D viewer; "
            "install the suite's packages, or pass embed=False for the picture alone"
        ) from error
    with capture_output(stderr=False):
        try:
            server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
        except OSError as error:
            raise BackendError(
                f"view_3d: viser cannot listen on 127.0.0.1 ({first_line(error)}), expected a free port for a moment; "
                "pass embed=False for the picture alone"
            ) from error
        try:
            _fill(server, scene)
            return server.scene.as_html(dark_mode=True)  # models learn on black: gaps stand out less
        finally:
            server.stop()


def _fill(server: Any, scene: Scene3D) -> None:
    pose = scene.start.world_from_camera.double().numpy()
    server.scene.set_up_direction(-pose[:3, 1])
    server.initial_camera.position = pose[:3, 3]
    server.initial_camera.look_at = scene.focus.double().numpy()
    server.initial_camera.fov = _vertical_fov(scene.start)
    if scene.gaussians is not None and scene.gaussians.count:
        splats = viser_splats(scene.gaussians, scene.start, scene.height_px)
        shown = "gaussians" not in scene.hidden
        server.scene.add_gaussian_splats("/gaussians", *splats.arrays, scale=splats.unit_m, visible=shown)
    for name, cloud in scene.clouds.items():
        server.scene.add_point_cloud(
            f"/{name}",
            cloud.points.float().numpy(),
            (cloud.colors.clamp(0, 1) * 255).round().byte().numpy(),
            point_size=POINT_SHARE * scene.focus_m,
            point_shape="circle",
            point_shading="flat",
            precision="float32",  # half floats step by millimetres at some metres
            visible=name not in scene.hidden,
        )
    for name, shown in scene.cameras.items():
        _add_frusta(server, name, shown, scene)


class Splats(NamedTuple):
    """Gaussians as viser takes them: lengths in units of `unit_m`, one colour each; `blurred` of them are enlarged."""

    centers: Float[np.ndarray, "gaussian 3"]
    covariances: Float[np.ndarray, "gaussian 3 3"]
    colors: Float[np.ndarray, "gaussian 3"]
    opacities: Float[np.ndarray, "gaussian 1"]
    unit_m: float
    blurred: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self[:4]


def viser_splats(gaussians: Gaussians, start: Cameras, height_px: int) -> Splats:
    """Gaussians in float32, with the colours in [0, 1] that they have from `start`.

    viser draws no Gaussian whose footprint times opacity is under a threshold, so sheets of pixel-sized ones would have
    holes: those below it in a picture of `height_px` from the distance of `start` get the least round blur that
    lifts them over it. viser stores covariances as half floats: the unit is chosen so that they do not underflow.
    """
    plain = gaussians.to("cpu", torch.float32)
    offsets = plain.means - start.centers
    colors = evaluate_harmonics(plain.harmonics, torch.nn.functional.normalize(offsets, dim=-1)).clamp(0, 1)
    pixel_m = offsets.norm(dim=-1) / (start.intrinsics[1, 1] * height_px)
    blur = _missing_blur(plain, start, pixel_m)
    covariances = plain.covariances() + torch.diag_embed((blur * pixel_m.square())[:, None].expand(-1, 3))
    unit_m = max(covariances.diagonal(dim1=-2, dim2=-1).amax(dim=-1).median().sqrt().item(), 1e-12)
    values = (plain.means / unit_m, covariances / unit_m**2, colors, plain.opacities[:, None])
    return Splats(*(value.numpy() for value in values), unit_m, int((blur > 0).sum()))


def _missing_blur(gaussians: Gaussians, start: Cameras, pixel_m: Float[Tensor, " gaussian"]) -> Tensor:
    """Variance in pixels squared that each lacks to be drawn by viser, at most MOST_BLUR."""
    rotation = start.world_from_camera[:3, :3].to(gaussians.means)
    local = (rotation.T @ gaussians.covariances() @ rotation)[:, :2, :2] / pixel_m.square()[:, None, None]
    x, y, mixed = local[:, 0, 0] + LOW_PASS, local[:, 1, 1] + LOW_PASS, local[:, 0, 1]
    wanted = LEAST_FOOTPRINT / gaussians.opacities.clamp(min=1e-6)
    # (x + b)(y + b) - mixed² = wanted, solved for b.
    root = ((x + y).square() - 4 * (x * y - mixed.square() - wanted)).clamp(min=0).sqrt()
    return ((root - x - y) / 2).clamp(0, MOST_BLUR)


def _add_frusta(server: Any, name: str, shown: CameraSet, scene: Scene3D) -> None:
    server.scene.add_frame(f"/{name}", show_axes=False, visible=name not in scene.hidden)
    poses = shown.cameras.world_from_camera.double()
    turns = matrix_to_quaternion(poses[:, :3, :3]).numpy()
    for number, pose in enumerate(poses.numpy()):
        fov = _vertical_fov(shown.cameras[number])
        server.scene.add_camera_frustum(
            f"/{name}/{number}",
            fov,
            shown.aspect,
            scale=_viser_scale(FRUSTUM_SHARE * scene.focus_m, fov, shown.aspect),
            thickness=LINE_SHARE * scene.focus_m,
            color=tuple(bytes.fromhex(shown.color.removeprefix("#"))),
            image=shown.pictures[number] if shown.pictures else None,
            jpeg_quality=80,
            wxyz=turns[number],
            position=pose[:3, 3],
        )


def _vertical_fov(camera: Cameras) -> float:
    """Opening angle in radians of one camera, as if its principal point were in the middle: viser knows no other."""
    return 2 * math.atan(0.5 / camera.intrinsics[1, 1].item())


def _viser_scale(depth: float, fov: float, aspect: float) -> float:
    """The scale that puts a frustum's picture at a depth: viser makes frusta of one scale equal in volume."""
    half_height = math.tan(fov / 2)
    return depth * math.cbrt(half_height * half_height * aspect / 3)
