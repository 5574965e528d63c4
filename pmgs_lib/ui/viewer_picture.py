"""Where the 3D viewer starts, and the same view as a picture drawn by the library's own rasterizer."""

import io
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC
from pmgs_lib.geometry.pose import transform_points
from pmgs_lib.geometry.trajectories import interpolate_poses
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.ui.viewer_scene import FRUSTUM_SHARE, POINT_SHARE, CameraSet, PointCloud, Scene3D

STEP_BACK = 0.3  # of the distance to what is looked at: far enough to see the cameras themselves
AROUND = 2.2  # distance of a start without cameras, in radii that hold 80 % of the points
PLAIN_FOCAL = 1.1  # normalised focal length of a start without cameras, of the height
BACKGROUND = (20 / 255, 20 / 255, 20 / 255)  # viser's own in its dark look
OPAQUE = 0.99


def starting_camera(
    points: Float[Tensor, "point 3"], cameras: Iterable[Cameras], aspect: float
) -> tuple[Cameras, float]:
    """A camera behind the middle of the path through all given cameras, and the distance to the middle of the points.

    Without cameras it looks along +z of the world at all points, y down. aspect: width over height of its picture.
    """
    finite = points[points.isfinite().all(dim=-1)].double()
    given = list(cameras)
    if given:
        poses = torch.cat([each.world_from_camera for each in given]).double()
        middle = interpolate_poses(poses, poses.new_tensor([(len(poses) - 1) / 2]))[0]
        depth = transform_points(torch.linalg.inv(middle), finite)[:, 2]
        ahead = depth[depth > 0]
        distance = ahead.median().item() if len(ahead) else 1.0
        pose, focal = middle.clone(), given[0].intrinsics[0, 1, 1].item()
        pose[:3, 3] -= STEP_BACK * distance * pose[:3, 2]
        distance *= 1 + STEP_BACK
    else:
        center = finite.median(dim=0).values
        radius = float(np.quantile((finite - center).norm(dim=-1).numpy(), 0.8))  # torch's own stops at 16 million
        distance, focal = AROUND * max(radius, 1e-3), PLAIN_FOCAL
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 3] = center - pose.new_tensor([0.0, 0.0, distance])
    intrinsics = torch.tensor([[focal / aspect, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
    return Cameras(pose.float(), intrinsics), distance


def draw_picture(scene: Scene3D, gaussians: Gaussians | None, height: int, width: int) -> bytes:
    """The viewer's first view as PNG: all `gaussians`, clouds that are not hidden, and frusta as lines on top.

    Gaussians are drawn where they are, with all their harmonics and none left out; the frusta's pictures are not drawn.
    """
    parts = [] if gaussians is None or "gaussians" in scene.hidden else [gaussians]
    degree_count = parts[0].harmonics.shape[-2] if parts else 1
    device = "cpu" if gaussians is None else gaussians.means.device
    size = POINT_SHARE * scene.focus_m / 4  # a disc of viser's size has most of its colour within two deviations
    parts += [
        _as_gaussians(cloud, size, degree_count).to(device)
        for name, cloud in scene.clouds.items()
        if name not in scene.hidden and len(cloud.points)
    ]
    color = torch.tensor(BACKGROUND)[:, None, None].expand(3, height, width)
    if parts:
        everything = Gaussians.concatenate([part.to(torch.float32) for part in parts])
        with torch.no_grad():
            color = rasterize(everything, scene.start.to(device), height, width, background=BACKGROUND).color
    picture = Image.fromarray(image_to_uint8(color))
    pencil = ImageDraw.Draw(picture)
    for name, shown in scene.cameras.items():
        if name not in scene.hidden:
            for line in frustum_lines(shown, scene, height, width):
                pencil.line([tuple(end) for end in line.tolist()], fill=shown.color, width=2)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def frustum_lines(shown: CameraSet, scene: Scene3D, height: int, width: int) -> Float[np.ndarray, "line 2 2"]:
    """Both ends (x, y in pixels of the first view) of all frusta's lines; those that come behind it are left out."""
    depth = FRUSTUM_SHARE * scene.focus_m
    corners = torch.tensor([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=torch.float64)
    inverse = torch.linalg.inv(shown.cameras.intrinsics.double())
    poses = shown.cameras.world_from_camera.double()
    rim = transform_points(poses, depth * corners @ inverse.mT)
    tip = poses[:, None, :3, 3].expand_as(rim)
    ends = torch.stack([torch.cat([rim, tip], dim=1), torch.cat([rim.roll(-1, dims=1), rim], dim=1)], dim=2)
    pixels, away = scene.start.to(torch.float64).project(ends.reshape(-1, 3), height, width)
    before = (away.reshape(-1, 2) > 0.01 * scene.focus_m).all(dim=1)
    return pixels.reshape(-1, 2, 2)[before].numpy()


def _as_gaussians(cloud: PointCloud, deviation: float, coefficients: int) -> Gaussians:
    count = len(cloud.points)
    harmonics = torch.zeros(count, coefficients, 3)
    harmonics[:, 0] = (cloud.colors - 0.5) / CONSTANT_HARMONIC
    return Gaussians(
        means=cloud.points.float(),
        scales=torch.full((count, 3), deviation),
        quaternions=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        opacities=torch.full((count,), OPAQUE),
        harmonics=harmonics,
    )
