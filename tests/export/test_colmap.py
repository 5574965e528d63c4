"""A written model is one that our importer and pycolmap read as the same cameras."""

import re

import pycolmap
import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.importers.colmap import ColmapImporter
from pmgs_lib.data.importers.colmap_model import read_model
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.export import save_image, write_colmap
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.pose import quaternion_to_matrix

SIZE, COUNT = (48, 64), 5
NAMES = tuple(f"walk/frame_{number}.png" for number in range(COUNT))


@pytest.fixture
def cameras() -> Cameras:
    """Cameras turned in all ways, hundreds of units from the world's origin; two of them with a lens of their own."""
    rng = torch.Generator().manual_seed(4)
    poses = torch.eye(4, dtype=torch.float64).repeat(COUNT, 1, 1)
    poses[:, :3, :3] = quaternion_to_matrix(torch.randn(COUNT, 4, generator=rng, dtype=torch.float64))
    poses[:, :3, 3] = 300 * torch.randn(COUNT, 3, generator=rng, dtype=torch.float64)
    intrinsics = torch.tensor([[1.1, 0, 0.48], [0, 1.3, 0.53], [0, 0, 1]], dtype=torch.float64).repeat(COUNT, 1, 1)
    intrinsics[3:, 0, 0] = 0.9
    return Cameras(poses, intrinsics)


@pytest.fixture
def cloud() -> Gaussians:
    rng = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(7, *shape, generator=rng)  # noqa: E731
    return Gaussians(draw(3), draw(3).exp(), draw(4), draw().sigmoid(), draw(4, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["binary", "text"])
def test_our_importer_reads_the_same_cameras(form, dtype, cameras, tmp_path):
    written = cameras.to(dtype)
    for name in NAMES:
        save_image(tmp_path / "images" / name, torch.zeros(3, *SIZE))
    write_colmap(tmp_path / "sparse" / "0", written, NAMES, SIZE, form=form)
    capture = ColmapImporter().read(tmp_path)
    assert [frame.name for frame in capture.frames] == list(NAMES)
    read = torch.stack([frame.world_from_camera for frame in capture.frames])
    torch.testing.assert_close(read, written.world_from_camera.double(), rtol=0, atol=1e-6)
    expected = written.pixel_intrinsics(*SIZE).double()
    for frame, k in zip(capture.frames, expected, strict=True):
        photograph = frame.photograph
        found = torch.tensor([photograph.fx, photograph.fy, photograph.cx, photograph.cy], dtype=torch.float64)
        torch.testing.assert_close(found, k[[0, 1, 0, 1], [0, 1, 2, 2]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", ["binary", "text"])
def test_pycolmap_opens_it_and_agrees(form, cameras, cloud, tmp_path):
    write_colmap(tmp_path, cameras, NAMES, SIZE, points=cloud, form=form)
    opened = pycolmap.Reconstruction(str(tmp_path))
    assert (opened.num_cameras(), opened.num_reg_images(), opened.num_points3D()) == (2, COUNT, cloud.count)
    by_name = {image.name: image for image in opened.images.values()}
    for number, name in enumerate(NAMES):
        image, camera = by_name[name], opened.cameras[by_name[name].camera_id]
        pose = torch.from_numpy(image.cam_from_world().matrix())
        torch.testing.assert_close(pose, cameras[number].camera_from_world[:3], rtol=0, atol=1e-6)
        center = torch.from_numpy(image.projection_center())
        torch.testing.assert_close(center, cameras.centers[number], rtol=0, atol=1e-6)
        point = cameras[number].unproject(torch.full(SIZE, 2.0, dtype=torch.float64))[10, 20]
        seen = torch.from_numpy(image.project_point(point.numpy()))
        torch.testing.assert_close(seen, torch.tensor([20.5, 10.5], dtype=torch.float64), rtol=0, atol=1e-5)
        assert (camera.model.name, camera.height, camera.width) == ("PINHOLE", *SIZE)


def test_points_are_the_centres_with_their_constant_colour(cameras, cloud, tmp_path):
    write_colmap(tmp_path / "with", cameras, NAMES, SIZE, points=cloud)
    model = read_model(tmp_path / "with")
    torch.testing.assert_close(torch.from_numpy(model.points).float(), cloud.means, rtol=0, atol=0)
    opened = pycolmap.Reconstruction(str(tmp_path / "with"))
    shade = (0.5 + 0.28209479177387814 * cloud.harmonics[:, 0]).clamp(0, 1) * 255
    assert shade.std() > 20
    for number, color in zip(model.point_ids.tolist(), shade, strict=True):
        torch.testing.assert_close(torch.tensor(opened.points3D[number].color).float(), color, rtol=0, atol=0.51)
    write_colmap(tmp_path / "without", cameras, NAMES, SIZE)
    assert len(read_model(tmp_path / "without").points) == 0


def test_both_forms_hold_the_same_numbers(cameras, cloud, tmp_path):
    for form in ("binary", "text"):
        write_colmap(tmp_path / form, cameras, NAMES, SIZE, points=cloud, form=form)
    binary, text = (read_model(tmp_path / form) for form in ("binary", "text"))
    assert binary.cameras == text.cameras
    for ours, theirs in zip(binary.images, text.images, strict=True):
        assert (ours.name, ours.camera, ours.quaternion, ours.translation) == (
            theirs.name, theirs.camera, theirs.quaternion, theirs.translation,
        )  # fmt: skip
    assert (binary.points == text.points).all()


def skewed(cameras):
    intrinsics = cameras.intrinsics.clone()
    intrinsics[1, 0, 1] = 0.01
    return Cameras(cameras.world_from_camera, intrinsics)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (c[:3], NAMES, SIZE), r"cameras of shape \(3,\) for 5 names"),
        (lambda c: (c, NAMES[:4] + NAMES[:1], SIZE), "a name of its own for each picture"),
        (lambda c: (c, NAMES, (0, 64)), "pictures of 0x64"),
        (lambda c: (c, (*NAMES[:4], "two\nlines.png"), SIZE), re.escape(r"the name 'two\nlines.png' cannot stand")),
        (lambda c: (skewed(c), NAMES, SIZE), "COLMAP has no skew"),
    ],
)
def test_what_no_model_can_hold_is_refused(change, message, cameras, tmp_path):
    with pytest.raises(ParameterError, match=message):
        write_colmap(tmp_path / "model", *change(cameras))
    assert not (tmp_path / "model").exists()


def test_cameras_that_are_none_are_refused(cameras, tmp_path):
    broken = Cameras(cameras.world_from_camera * 1.5, cameras.intrinsics)
    with pytest.raises(DataError, match="write_colmap"):
        write_colmap(tmp_path / "model", broken, NAMES, SIZE)
    assert not (tmp_path / "model").exists()


def test_a_name_with_a_space_goes_into_the_binary_form_only(cameras, tmp_path):
    names = [name.replace("_", " ") for name in NAMES]
    write_colmap(tmp_path / "binary", cameras, names, SIZE)
    opened = pycolmap.Reconstruction(str(tmp_path / "binary"))
    assert {image.name for image in opened.images.values()} == set(names)
    with pytest.raises(ParameterError, match=r"'walk/frame 0\.png' cannot stand in a text model; rename the picture"):
        write_colmap(tmp_path / "text", cameras, names, SIZE, form="text")
    with pytest.raises(ParameterError, match="form 'json', expected one of binary, text"):
        write_colmap(tmp_path / "json", cameras, NAMES, SIZE, form="json")


def test_a_model_is_never_mixed_with_another(cameras, tmp_path):
    write_colmap(tmp_path, cameras, NAMES, SIZE)
    before = (tmp_path / "images.bin").read_bytes()
    for form in ("binary", "text"):  # readers prefer the binary one: a text model beside it would not be read
        with pytest.raises(ParameterError, match=r"has cameras.bin, images.bin, points3D.bin already"):
            write_colmap(tmp_path, cameras[:2], NAMES[:2], SIZE, form=form)
    assert (tmp_path / "images.bin").read_bytes() == before


@pytest.mark.parametrize("form", ["binary", "text"])
def test_a_full_disk_leaves_no_part_of_a_model(form, cameras, cloud, tmp_path, full_disk):
    with pytest.raises(OSError, match="File too large"), full_disk(256):  # room for the cameras, not for the pictures
        write_colmap(tmp_path, cameras, NAMES, SIZE, points=cloud, form=form)
    assert list(tmp_path.iterdir()) == []
