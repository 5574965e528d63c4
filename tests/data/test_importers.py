"""A capture becomes a scene that shows the same world: lens undone, poses kept, everything left out accounted for."""

import hashlib
import json
import math

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import decode_image, import_capture, inspect_scene, open_dataset
from pmgs_lib.data.chunks import encode_jpeg
from pmgs_lib.data.folders import ChunkFolder
from pmgs_lib.data.importers import IMPORTERS
from pmgs_lib.data.importers.nerfstudio import natural_order
from pmgs_lib.data.lenses import Lens, Photograph
from pmgs_lib.data.manifests import read_manifest
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.export.nerfstudio import write_nerfstudio
from pmgs_lib.geometry.pose import opengl_from_opencv

PHONE = (0.0578421, -0.0805099, -0.000980296, 0.00015575)
ACTION = (-0.18, 0.04, 0.001, -0.002)
QUICK = {"estimate_depth_range": False}


@pytest.fixture
def capture(tmp_path, plane_world):
    """A small capture through a phone's lens: its folder, and a function that changes its `transforms.json`."""
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(6, 60, 80)
    write_nerfstudio(tmp_path / "walk", photograph(cameras, 60, 80)[0], cameras, PHONE)
    path = tmp_path / "walk" / "transforms.json"

    def edit(change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return tmp_path / "walk", edit


def psnr(first, second) -> float:
    return 10 * math.log10(255**2 / (first.double() - second.double()).square().mean().item())


# --- the lens is undone ---


@pytest.mark.parametrize("distortion", [PHONE, ACTION, (0.0, 0.0, 0.0, 0.0)], ids=["phone", "action", "none"])
@pytest.mark.parametrize("size", [(90, 120), (120, 90)], ids=["landscape", "portrait"])
def test_what_went_through_a_lens_comes_back_as_the_world_was(tmp_path, plane_world, distortion, size):
    """The imported picture equals the plane drawn anew for the imported camera; the pose is the one it was taken at."""
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(4, *size, focal=1.0)
    write_nerfstudio(tmp_path / "walk", photograph(cameras, *size)[0], cameras, distortion, quality=98)
    manifest = import_capture(tmp_path / "walk", tmp_path / "data", **QUICK)
    scene = ChunkFolder(tmp_path / "data", "test").scene("walk")
    torch.testing.assert_close(scene.cameras.world_from_camera, cameras.world_from_camera, atol=1e-5, rtol=0)
    assert scene.image_size() == manifest.size
    assert min(manifest.size[0] / size[0], manifest.size[1] / size[1]) > 0.75
    expected, _ = photograph(scene.cameras, *manifest.size)
    found = torch.stack([decode_image(image) for image in scene.images])
    assert psnr(found, expected) > 40
    torch.testing.assert_close(scene.cameras.intrinsics[:, :2, 2], torch.full((4, 2), 0.5), atol=1e-6, rtol=0)
    if distortion == ACTION:  # the comparison can fail: the same pictures with the lens left in are far off
        content = json.loads((tmp_path / "walk" / "transforms.json").read_text()) | {"k1": 0, "k2": 0, "p1": 0, "p2": 0}
        (tmp_path / "walk" / "transforms.json").write_text(json.dumps(content))
        bent = import_capture(tmp_path / "walk", tmp_path / "bent", **QUICK)
        scene = ChunkFolder(tmp_path / "bent", "test").scene("walk")
        found = torch.stack([decode_image(image) for image in scene.images])
        assert psnr(found, photograph(scene.cameras, *bent.size)[0]) < 32


def test_known_points_end_where_the_imported_camera_projects_them(tmp_path, rng):
    """Dots drawn where the lens puts known points (by the formula, no resampling) lie on their projections later."""
    height, width = 200, 260
    photograph = Photograph(height, width, 210.0, 208.0, 126.0, 103.0, Lens(*ACTION, k3=-0.01))
    points = torch.tensor([[x, y, 2.0] for x in (-0.75, -0.3, 0.1, 0.5, 0.85) for y in (-0.6, -0.1, 0.3, 0.65)])
    places = photograph.pixels(photograph.lens.distort(points[:, :2].double() / 2.0))
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    squared = (x[..., None] - places[:, 0]).square() + (y[..., None] - places[:, 1]).square()
    picture = (
        (255 * (-squared / 8).exp().sum(dim=-1)).clamp(max=255).round().to(torch.uint8)[..., None].expand(-1, -1, 3)
    )
    folder = tmp_path / "dots"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode_jpeg(picture.contiguous(), 100))
    (folder / "b.jpg").write_bytes(encode_jpeg(picture.contiguous(), 100))
    pose = opengl_from_opencv(torch.eye(4)).tolist()
    description = {
        "fl_x": 210.0, "fl_y": 208.0, "cx": 126.0, "cy": 103.0, "w": width, "h": height, "k3": -0.01,
        **dict(zip(("k1", "k2", "p1", "p2"), ACTION, strict=True)),
        "frames": [{"file_path": name, "transform_matrix": pose} for name in ("a.jpg", "b.jpg")],
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(description))
    import_capture(folder, tmp_path / "data", **QUICK)
    scene = ChunkFolder(tmp_path / "data", "test").scene("dots")
    brightness = decode_image(scene.images[0]).double().mean(dim=-1)
    projected, _ = scene.cameras[0].project(points, *brightness.shape)
    for place in projected.double():
        column, row = int(place[0]), int(place[1])
        patch = brightness[row - 6 : row + 7, column - 6 : column + 7]
        assert patch.shape == (13, 13)
        offsets = torch.arange(-6, 7) + 0.5
        centroid = torch.stack([(patch * offsets).sum(), (patch * offsets[:, None]).sum()]) / patch.sum()
        assert (centroid + torch.tensor([column, row]) - place).norm() < 0.1


def test_without_centering_all_that_the_lens_leaves_is_kept(tmp_path, capture):
    centered = import_capture(capture[0], tmp_path / "data", key="centered", **QUICK)
    whole = import_capture(capture[0], tmp_path / "data", key="whole", center_principal_point=False, **QUICK)
    assert whole.size[0] >= centered.size[0]
    assert whole.size[1] >= centered.size[1]


def test_pictures_that_need_no_change_are_stored_to_the_byte(tmp_path, plane_world):
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(3, 40, 60)
    write_nerfstudio(tmp_path / "walk", photograph(cameras, 40, 60)[0], cameras)
    manifest = import_capture(tmp_path / "walk", tmp_path / "data", **QUICK)
    scene = ChunkFolder(tmp_path / "data", "test").scene("walk")
    files = sorted((tmp_path / "walk" / "images").iterdir())
    assert scene.images == [file.read_bytes() for file in files]
    assert not manifest.undistorted
    assert manifest.size == manifest.source_size == (40, 60)
    digest = hashlib.sha256((tmp_path / "walk" / "transforms.json").read_bytes() + b"".join(scene.images))
    assert manifest.digest == digest.hexdigest()


# --- the file's freedoms ---


def test_intrinsics_may_differ_from_frame_to_frame(tmp_path, capture):
    def vary(content):
        for number, frame in enumerate(content["frames"]):
            frame |= {"fl_x": content["fl_x"] + number, "k1": 0.01 * number, "cx": content["cx"] - 0.5 * number}
        for name in ("fl_x", "k1", "cx"):
            del content[name]

    folder, edit = capture
    edit(vary)
    manifest = import_capture(folder, tmp_path / "data", **QUICK)
    scene = ChunkFolder(tmp_path / "data", "test").scene("walk")
    focal = scene.cameras.pixel_intrinsics(*manifest.size)[:, 0, 0]
    torch.testing.assert_close(focal - focal[0], torch.arange(6.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(scene.cameras.intrinsics[:, :2, 2], torch.full((6, 2), 0.5), atol=1e-6, rtol=0)


def test_focal_length_from_the_angle_and_middle_by_default(tmp_path, capture):
    def angles_only(content):
        angle = 2 * math.atan(0.5 * content["w"] / content["fl_x"])
        for name in ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "w", "h"):
            del content[name]
        content["camera_angle_x"] = angle

    folder, edit = capture
    expected = json.loads((folder / "transforms.json").read_text())["fl_x"]
    edit(angles_only)
    manifest = import_capture(folder, tmp_path / "data", **QUICK)
    cameras = ChunkFolder(tmp_path / "data", "test").scene("walk").cameras
    focal = cameras.pixel_intrinsics(*manifest.size)[0].diagonal()[:2]
    torch.testing.assert_close(focal, torch.full((2,), expected), atol=1e-3, rtol=0)


def test_frames_come_in_counting_order():
    names = ["f10.jpg", "f9.jpg", "b/2.jpg", "f1.jpg", "b/11.jpg"]
    assert sorted(names, key=natural_order) == ["b/2.jpg", "b/11.jpg", "f1.jpg", "f9.jpg", "f10.jpg"]


def test_missing_pictures_are_counted_and_named(tmp_path, capture):
    folder, _ = capture
    (folder / "images" / "0002.jpg").unlink()
    (folder / "images" / "0005.jpg").unlink()
    manifest = import_capture(folder, tmp_path / "data", **QUICK)
    assert manifest.left_out == {f"images/000{n}.jpg": "the file is missing" for n in (2, 5)}
    assert manifest.listed == manifest.imported + len(manifest.left_out) == 6
    assert manifest.frames == tuple(f"images/000{n}.jpg" for n in (1, 3, 4, 6))
    assert ChunkFolder(tmp_path / "data", "test").scene("walk").frames == 4
    assert read_manifest(tmp_path / "data", "test", "walk") == manifest


def test_the_file_itself_names_the_capture_too_and_notes_are_kept(tmp_path, capture):
    folder, edit = capture
    edit(lambda content: content.update(applied_transform=[[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]))
    manifest = import_capture(folder / "transforms.json", tmp_path / "data", kind="nerfstudio", **QUICK)
    assert manifest.key == "walk"
    assert manifest.notes["applied_transform"][1] == [0, 0, 1, 0]


# --- scale, depth, several captures ---


@pytest.mark.parametrize(("scale", "measured"), [("spacing", 0.15), ("span", 0.75)])
def test_positions_are_scaled_as_asked_and_nothing_else_changes(tmp_path, capture, scale, measured):
    import_capture(capture[0], tmp_path / "data", key="plain", **QUICK)
    manifest = import_capture(capture[0], tmp_path / "data", key="scaled", scale=scale, scale_to=3.0, **QUICK)
    folder = ChunkFolder(tmp_path / "data", "test")
    plain, scaled = folder.scene("plain"), folder.scene("scaled")
    assert manifest.scale_factor == pytest.approx(3.0 / measured, rel=1e-5)
    torch.testing.assert_close(scaled.cameras.centers, plain.cameras.centers * manifest.scale_factor, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        scaled.cameras.world_from_camera[:, :3, :3], plain.cameras.world_from_camera[:, :3, :3], atol=1e-6, rtol=0
    )
    assert scaled.images == plain.images


def test_the_depth_hint_encloses_the_true_depth_and_scales_with_the_world(tmp_path, plane_world):
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(8, 96, 128)
    images, depth = photograph(cameras, 96, 128, cells=120)
    write_nerfstudio(tmp_path / "walk", images, cameras)
    hint = import_capture(tmp_path / "walk", tmp_path / "data")
    assert 0.3 * depth.min() < hint.near_hint < depth.min()
    assert depth.max() < hint.far_hint < 4 * depth.max()
    scaled = import_capture(tmp_path / "walk", tmp_path / "data", key="scaled", scale="spacing", scale_to=1.5)
    assert scaled.near_hint == pytest.approx(hint.near_hint * scaled.scale_factor, rel=1e-3)
    example = open_dataset(tmp_path / "data").example("walk", (0, 4), (2,), 60, 80)
    assert example.context.near.item() == pytest.approx(hint.near_hint)


def test_no_depth_hint_without_texture_and_the_reason_is_told(tmp_path, plane_world):
    cameras = plane_world[0](4, 60, 80)
    write_nerfstudio(tmp_path / "gray", torch.full((4, 60, 80, 3), 127, dtype=torch.uint8), cameras)
    manifest = import_capture(tmp_path / "gray", tmp_path / "data")
    assert manifest.near_hint is manifest.far_hint is None
    with pytest.raises(DataError, match=r"too few features agree .* open it with near and far"):
        open_dataset(tmp_path / "data").example("gray", (0, 2), (1,), 60, 80)


def test_a_dataset_takes_several_captures_but_no_key_twice(tmp_path, capture):
    for key in ("first", "second"):
        import_capture(capture[0], tmp_path / "data", key=key, **QUICK)
    with pytest.raises(DataError, match="already has a scene 'first'"):
        import_capture(capture[0], tmp_path / "data", key="first", **QUICK)
    import_capture(capture[0], tmp_path / "data", key="first", overwrite=True, **QUICK)
    assert sorted(ChunkFolder(tmp_path / "data", "test").keys) == ["first", "second"]
    assert inspect_scene(tmp_path / "data", "second").frames == 6


# --- faults ---


def frame(number, **change):
    return lambda content: content["frames"][number].update(change)


def matrix(number, row, column, value):
    def change(content):
        content["frames"][number]["transform_matrix"][row][column] = value

    return change


def mirrored(content):
    for row in content["frames"][2]["transform_matrix"][:3]:
        row[0] *= -1


def scaled(content):
    for row in content["frames"][2]["transform_matrix"][:3]:
        row[:3] = [3 * value for value in row[:3]]


FAULTS = {
    "no frames": (lambda c: c.pop("frames"), "frames is missing, empty or no list of objects"),
    "empty frames": (lambda c: c.update(frames=[]), "frames is missing, empty or no list"),
    "frames of numbers": (lambda c: c.update(frames=[1, 2]), "frames is missing, empty or no list"),
    "no focal length": (lambda c: c.pop("fl_x"), "frame images/0001.jpg: neither fl_x nor camera_angle_x is given"),
    "text for a number": (
        lambda c: c.update(cx="wide"),
        "frame images/0001.jpg: cx is 'wide', expected a finite number",
    ),
    "NaN coefficient": (lambda c: c.update(k1=math.nan), "frame images/0001.jpg: k1 is nan"),
    "negative focal length": (lambda c: c.update(fl_x=-3.0), "frame images/0001.jpg: camera 0 has a focal length that"),
    "principal point outside": (lambda c: c.update(cx=900), r"frame images/0001.jpg: the principal point \(900, "),
    "no file_path": (lambda c: c["frames"][3].pop("file_path"), "frame number 3 has no file_path"),
    "listed twice": (frame(1, file_path="images/0001.jpg"), "images/0001.jpg is listed twice"),
    "no matrix": (
        lambda c: c["frames"][2].pop("transform_matrix"),
        "frame images/0003.jpg: transform_matrix is no 4x4",
    ),
    "ragged matrix": (frame(2, transform_matrix=[[1, 2], [3]]), "frame images/0003.jpg: transform_matrix is no 4x4"),
    "NaN pose": (matrix(2, 1, 3, math.nan), "frame images/0003.jpg: camera 0 has a NaN or infinite pose"),
    "last row": (matrix(2, 3, 0, 1.0), "frame images/0003.jpg: the last row of transform_matrix"),
    "mirrored": (mirrored, "frame images/0003.jpg: camera 0 is mirrored"),
    "no rotation": (scaled, "frame images/0003.jpg: camera 0 has no rotation"),
    "other size than listed": (lambda c: c.update(w=81), r"the picture is \d+x\d+ \(height x width\), listed as"),
    "fisheye": (lambda c: c.update(camera_model="OPENCV_FISHEYE"), "camera model 'OPENCV_FISHEYE'"),
    "too strong a lens": (lambda c: c.update(k1=-40.0), "the lens distortion folds the picture over"),
}


def assert_refused(folder, output, expected, **options):
    with pytest.raises(DataError, match=expected) as caught:
        import_capture(folder, output, **QUICK, **options)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not output.exists()


@pytest.mark.parametrize("case", FAULTS)
def test_a_malformed_capture_is_one_clear_error_and_writes_nothing(tmp_path, capture, case):
    folder, edit = capture
    change, expected = FAULTS[case]
    edit(change)
    assert_refused(folder, tmp_path / "data", expected)


def test_pictures_that_are_no_capture_are_refused(tmp_path, capture):
    folder, edit = capture
    edit(lambda content: [content.pop(name) for name in ("w", "h")])
    picture = folder / "images" / "0004.jpg"
    good = picture.read_bytes()
    picture.write_bytes(encode_jpeg(torch.zeros(56, 76, 3, dtype=torch.uint8)))
    assert_refused(folder, tmp_path / "data", "pictures of different sizes .*images/0004.jpg 56x76")
    picture.write_bytes(b"no picture")
    assert_refused(folder, tmp_path / "data", "frame images/0004.jpg: 10 bytes that are no picture")
    picture.write_bytes(good[: len(good) // 2])
    assert_refused(folder, tmp_path / "data", "frame images/0004.jpg: the picture is damaged")


def test_places_that_are_no_capture_are_refused(tmp_path, capture):
    folder, _ = capture
    assert_refused(tmp_path / "absent", tmp_path / "data", "there is no such file or folder; check the path")
    (tmp_path / "empty").mkdir()
    assert_refused(tmp_path / "empty", tmp_path / "data", "looks like no known capture; expected one of nerfstudio")
    assert_refused(tmp_path / "empty", tmp_path / "data", "cannot be read", kind="nerfstudio")
    for text, expected in (("{", "is not JSON"), ("[]", "holds a list"), ("\udcff", "is not JSON")):
        (folder / "transforms.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert_refused(folder, tmp_path / "data", expected)


def test_a_capture_whose_pictures_are_all_elsewhere_is_refused(tmp_path, capture):
    folder, _ = capture
    for picture in (folder / "images").iterdir():
        picture.unlink()
    assert_refused(
        folder, tmp_path / "data", "0 of 6 listed frames can be used, at least 2 are needed .*images/0001.jpg"
    )


def test_mistaken_options_are_named(tmp_path, capture):
    for options, expected in (
        ({"scal": "span"}, "scal: Extra inputs are not permitted"),
        ({"scale": "big"}, "scale: Input should be"),
        ({"scale_to": 0.0}, "scale_to: Input should be greater than 0"),
        ({"key": "../up"}, "key: String should match pattern"),
        ({"kind": "colmop"}, "kind 'colmop' is unknown; expected auto or nerfstudio, colmap"),
    ):
        with pytest.raises(ParameterError, match=expected):
            import_capture(capture[0], tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_every_importer_of_the_registry_exists():
    from pmgs_lib._lazy import load_object
    from pmgs_lib.data.importers.base import Importer
    from pmgs_lib.data.importers.collection import CollectionImporter

    assert all(issubclass(load_object(address), Importer | CollectionImporter) for address in IMPORTERS.values())


# --- a real capture ---


def test_a_phone_capture_is_imported_whole(tmp_path, shared):
    folder = shared / "captures" / "fox"
    manifest = import_capture(folder, tmp_path / "data")
    assert (manifest.listed, manifest.imported, manifest.left_out) == (50, 50, {})
    assert manifest.undistorted
    assert manifest.source_size == (480, 270)
    assert manifest.size[0] > 0.97 * 480
    assert manifest.size[1] > 0.95 * 270
    report = inspect_scene(tmp_path / "data", "fox")
    assert report.warnings == ()
    assert report.frames == 50
    assert 0 < manifest.near_hint < manifest.far_hint
    example = open_dataset(tmp_path / "data").example("fox", (0, 4), (2,), 448, 256)
    assert example.context.images.shape == (2, 3, 448, 256)
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    poses = torch.tensor([f["transform_matrix"] for f in frames])
    scene = ChunkFolder(tmp_path / "data", "test").scene("fox")
    expected = Cameras.from_opengl(poses, scene.cameras.intrinsics)
    torch.testing.assert_close(scene.cameras.world_from_camera, expected.world_from_camera, atol=1e-5, rtol=0)
