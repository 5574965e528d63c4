"""A capture that is written is one that others read: OpenGL poses, pixels, and the lens it names."""

import json

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.chunks import decode_image
from pmgs_lib.data.lenses import Lens, Photograph
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.export.nerfstudio import write_nerfstudio

DISTORTION = (-0.18, 0.04, 0.001, -0.002)


@pytest.fixture
def cameras():
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    intrinsics = torch.tensor([[0.9, 0, 0.48], [0, 1.2, 0.52], [0, 0, 1]]).repeat(2, 1, 1)
    return Cameras(poses, intrinsics)


def smooth_picture(x, y):
    """A picture as a smooth function of pixel positions, so that it can be had between pixels."""
    return torch.stack([127 + 100 * torch.sin(x / 9), 127 + 100 * torch.cos(y / 7), 60 + 0.8 * x], dim=-1)


def test_the_description_is_in_opengl_axes_and_pixels(tmp_path, cameras):
    images = torch.zeros(2, 60, 80, 3, dtype=torch.uint8)
    content = json.loads(write_nerfstudio(tmp_path, images, cameras).read_text())
    assert (content["w"], content["h"]) == (80, 60)
    assert content["fl_x"] == pytest.approx(72.0)
    assert content["fl_y"] == pytest.approx(72.0)
    assert (content["cx"], content["cy"]) == (pytest.approx(38.4), pytest.approx(31.2))
    matrix = torch.tensor(content["frames"][1]["transform_matrix"])
    expected = torch.tensor([[1.0, 0, 0, 1], [0, -1, 0, 2], [0, 0, -1, 3], [0, 0, 0, 1]])
    assert torch.equal(matrix, expected)
    assert [frame["file_path"] for frame in content["frames"]] == ["images/0001.jpg", "images/0002.jpg"]


def test_the_photograph_shows_at_each_pixel_what_the_lens_bends_there(tmp_path, cameras):
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    picture = smooth_picture(x, y).round().to(torch.uint8)
    path = write_nerfstudio(tmp_path, picture.expand(2, -1, -1, -1).contiguous(), cameras, DISTORTION, quality=100)
    content = json.loads(path.read_text())
    assert tuple(content[name] for name in ("k1", "k2", "p1", "p2")) == DISTORTION
    focal_and_center = (content[name] for name in ("fl_x", "fl_y", "cx", "cy"))
    photograph = Photograph(content["h"], content["w"], *focal_and_center, Lens(*DISTORTION))
    found = decode_image((tmp_path / "images" / "0001.jpg").read_bytes())
    assert found.shape == (content["h"], content["w"], 3)
    rows, columns = torch.meshgrid(torch.arange(content["h"]) + 0.5, torch.arange(content["w"]) + 0.5, indexing="ij")
    rays = photograph.lens.undistort(photograph.points(torch.stack([columns, rows], dim=-1).double()))
    source = rays * 72.0 + torch.tensor([38.4, 31.2])
    assert source.amin() > 0.49  # nothing is made up
    error = (found.float() - smooth_picture(*source.float().unbind(-1))).abs()
    assert error.mean() < 1.5
    unbent = (found.float() - smooth_picture(columns + 38.4 - content["cx"], rows + 31.2 - content["cy"])).abs()
    assert unbent.mean() > 3 * error.mean()


def test_what_cannot_be_written_is_refused(tmp_path, cameras):
    images = torch.zeros(3, 60, 80, 3, dtype=torch.uint8)
    with pytest.raises(ParameterError, match=r"cameras of shape \(2,\) for 3 pictures"):
        write_nerfstudio(tmp_path / "a", images, cameras)
    zoomed = cameras.intrinsics.clone()
    zoomed[1, 0, 0] = 2.0
    with pytest.raises(ParameterError, match="all with the same intrinsics"):
        write_nerfstudio(tmp_path / "a", images[:2], Cameras(cameras.world_from_camera, zoomed))
    with pytest.raises(DataError, match="folds the picture over"):
        write_nerfstudio(tmp_path / "a", images[:2], cameras, (-40.0, 0.0, 0.0, 0.0))
    assert not (tmp_path / "a").exists()
