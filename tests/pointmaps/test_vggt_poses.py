"""VGGT's camera head as a pose estimator: its cameras arrive as cameras, and unusable ones are refused."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import PhotosImporter, import_capture
from pmgs_lib.data.folders import ChunkFolder
from pmgs_lib.data.photos.base import PhotoSet
from pmgs_lib.errors import DataError
from pmgs_lib.geometry.pose import inverse_pose, quaternion_to_matrix
from pmgs_lib.pointmaps.vggt.camera_head import CameraEstimate
from pmgs_lib.pointmaps.vggt.model import VggtPrediction
from pmgs_lib.pointmaps.vggt.poses import VggtPoses, estimate_of
from pmgs_lib.pointmaps.vggt.rehearsal import write_reduced_weights

NAMES = tuple(f"{number}.jpg" for number in range(5))
PHOTOS = PhotoSet(Path("walk"), NAMES, 5, {}, height=120, width=160, ordered=False)


def said_by_vggt(rng, tangents=(0.6, 0.45)):
    """A prediction for five photographs, and the poses that it means."""
    poses = torch.eye(4).repeat(5, 1, 1)
    poses[:, :3, :3] = quaternion_to_matrix(torch.randn(5, 4, generator=rng))
    poses[:, :3, 3] = torch.randn(5, 3, generator=rng)
    estimate = CameraEstimate(inverse_pose(poses)[None, :, :3], torch.tensor(tangents).expand(1, 5, 2))
    depth = torch.linspace(1, 5, 5 * 28 * 42).reshape(1, 5, 28, 42)
    return VggtPrediction(depth=depth, cameras=estimate), poses


def test_its_cameras_are_the_photographs_cameras(rng):
    prediction, poses = said_by_vggt(rng)
    found = estimate_of(prediction, PHOTOS)
    assert tuple(found.photos) == NAMES
    for name, pose in zip(NAMES, poses, strict=True):
        torch.testing.assert_close(found.photos[name].world_from_camera, pose.double(), atol=1e-5, rtol=0)
    lens = found.photos[NAMES[0]].photograph
    k = torch.tensor([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], dtype=torch.float64)
    cameras = Cameras.from_pixels(poses[0].double(), k, 120, 160)
    _, directions = cameras.rays(2, 2)
    across = cameras.intrinsics[0, 2] / cameras.intrinsics[0, 0]
    assert across.item() == pytest.approx(0.6)
    assert directions.isfinite().all()
    assert found.notes["field_of_view_deg"] == pytest.approx(
        [math.degrees(2 * math.atan(t)) for t in (0.6, 0.45)], abs=1e-3
    )
    assert 0.7 < found.depth_hint.near < 1.1
    assert 4.9 < found.depth_hint.far < 6.1


@pytest.mark.parametrize("tangents", [(0.0, 0.4), (math.inf, 0.4), (math.nan, 0.4)])
def test_angles_that_are_no_cameras_are_refused(rng, tangents):
    with pytest.raises(DataError, match="no usable cameras"):
        estimate_of(said_by_vggt(rng, tangents)[0], PHOTOS)


def test_photographs_go_all_the_way_through_the_network(tmp_path, rng):
    """The reduced model knows nothing, but what it says of the cameras is what the scene has in the end."""
    folder = tmp_path / "walk"
    folder.mkdir()
    for number in range(4):
        noise = torch.randint(0, 255, (6, 8, 3), generator=rng, dtype=torch.uint8).numpy()
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    weights = write_reduced_weights(tmp_path / "reduced.safetensors")
    estimator = VggtPoses(weights=str(weights), size="reduced", longer_side=56)
    said = []
    estimator.model.register_forward_hook(lambda module, inputs, output: said.append((inputs[0], output)))
    last = (
        estimator.model.camera_head.pose_branch.fc2
    )  # untrained, its opening angles would be noise: a quarter each turn
    last.weight.data[7:], last.bias.data[7:] = 0.0, 0.25
    manifest = import_capture(folder, tmp_path / "data", importer=PhotosImporter(estimator), key="walk")
    ((images, prediction),) = said
    assert images.shape == (1, 4, 3, 42, 56)
    assert (manifest.imported, manifest.notes["estimator"]["weights_sha256"]) == (4, estimator.report.sha256)
    scene = ChunkFolder(tmp_path / "data", "test").scene("walk")
    found = scene.cameras.camera_from_world[:, :3]
    torch.testing.assert_close(found, prediction.cameras.camera_from_world[0], atol=1e-4, rtol=1e-4)
