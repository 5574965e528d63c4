"""Released layouts that the library only reads, written for tests: DTU as MVSNet prepared it, COLMAP's models."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import encode_jpeg
from pmgs_lib.geometry.pose import inverse_pose, matrix_to_quaternion

UNIT_MM, QUARTER = 200.0, 4.0
COLMAP_NUMBERS = {
    "SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6, "SIMPLE_RADIAL_FISHEYE": 8, "RADIAL_FISHEYE": 9,
}  # fmt: skip


def write_dtu(root: Path, scan: str, images: Tensor, cameras: Cameras, *, light: int = 3) -> None:
    """A scan of reduced size (`scan1_train`): pictures by number from 1, cameras of a quarter of the picture."""
    height, width = images.shape[1:3]
    poses = inverse_pose(cameras.world_from_camera.double())
    (root / "Rectified" / scan).mkdir(parents=True, exist_ok=True)
    (root / "Cameras" / "train").mkdir(parents=True, exist_ok=True)
    for view, image in enumerate(images):
        (root / "Rectified" / scan / f"rect_{view + 1:03d}_{light}_r5000.png").write_bytes(encode_jpeg(image))
        pose, k = poses[view].clone(), cameras[view].pixel_intrinsics(height, width).double()
        pose[:3, 3] *= UNIT_MM
        k[:2] /= QUARTER
        rows = [" ".join(f"{number:.9f}" for number in row) for row in pose.tolist()]
        focal = [" ".join(f"{number:.9f}" for number in row) for row in k.tolist()]
        text = "\n".join(["extrinsic", *rows, "", "intrinsic", *focal, "", "425.0 2.5"]) + "\n"
        (root / "Cameras" / "train" / f"{view:08d}_cam.txt").write_text(text)


def write_colmap(
    folder: Path,
    cameras: Cameras,
    camera: tuple[str, int, int, Sequence[float]],
    points: Tensor,
    *,
    binary: bool,
    name: Callable[[int], str] = "{:04d}.jpg".format,
) -> None:
    """A model with one camera (model, width, height, parameters); every picture sees every point."""
    folder.mkdir(parents=True, exist_ok=True)
    poses = inverse_pose(cameras.world_from_camera.double())
    quaternions = matrix_to_quaternion(poses[:, :3, :3]).tolist()
    translations = poses[:, :3, 3].tolist()
    registered = [(name(i + 1), (*q, *t)) for i, (q, t) in enumerate(zip(quaternions, translations, strict=True))]
    (_write_binary if binary else _write_text)(folder, camera, registered, points.double().tolist())


def _write_binary(folder, camera, registered, points) -> None:
    model, width, height, parameters = camera
    head = struct.pack("<QIiQQ", 1, 7, COLMAP_NUMBERS[model], width, height)
    (folder / "cameras.bin").write_bytes(head + struct.pack(f"<{len(parameters)}d", *parameters))
    images = struct.pack("<Q", len(registered))
    for number, (file_name, pose) in enumerate(registered):
        images += struct.pack("<I7dI", number + 1, *pose, 7) + file_name.encode() + b"\0"
        images += struct.pack("<Q", len(points) + 1) + struct.pack("<ddq", 1.0, 2.0, -1)
        images += b"".join(struct.pack("<ddq", 0.0, 0.0, 10 * i) for i in range(len(points)))
    (folder / "images.bin").write_bytes(images)
    cloud = struct.pack("<Q", len(points))
    for i, point in enumerate(points):
        cloud += struct.pack("<Q3d3Bd", 10 * i, *point, 1, 2, 3, 0.5) + struct.pack("<QII", 1, 1, i)
    (folder / "points3D.bin").write_bytes(cloud)


def _write_text(folder, camera, registered, points) -> None:
    model, width, height, parameters = camera
    numbers = " ".join(repr(float(p)) for p in parameters)
    (folder / "cameras.txt").write_text(f"# Camera list\n7 {model} {width} {height} {numbers}\n")
    lines = ["# Image list with two lines of data per image:"]
    seen = " ".join(f"0.0 0.0 {10 * i}" for i in range(len(points)))
    for number, (file_name, pose) in enumerate(registered):
        lines += [f"{number + 1} {' '.join(map(repr, pose))} 7 {file_name}", f"1.0 2.0 -1 {seen}".strip()]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{10 * i} {' '.join(map(repr, point))} 1 2 3 0.5 1 {i}" for i, point in enumerate(points)]
    (folder / "points3D.txt").write_text("\n".join(["# 3D point list", *rows]) + "\n")


def moved(cameras: Cameras, generator: torch.Generator) -> Cameras:
    """The same cameras after a random rotation and shift of the world: no pose is near the identity."""
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = q * torch.linalg.det(q).sign()
    motion[:3, 3] = torch.rand(3, generator=generator, dtype=torch.float64)
    return Cameras((motion @ cameras.world_from_camera.double()).float(), cameras.intrinsics)
