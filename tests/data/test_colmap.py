"""COLMAP's models: both forms give the same scene, every lens that is taken is undone, damage is one clear error."""

import importlib.util
import struct
from pathlib import Path

import pytest
import torch

from pmgs_lib.data import decode_image, import_capture
from pmgs_lib.data.chunks import encode_jpeg
from pmgs_lib.data.folders import ChunkFolder
from pmgs_lib.data.importers.colmap import ColmapImporter
from pmgs_lib.data.importers.colmap_model import read_model
from pmgs_lib.data.lenses import FisheyeLens, Lens, Photograph, largest_window, resample
from pmgs_lib.errors import DataError, PmgsError

specification = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(specification)
specification.loader.exec_module(layouts)
moved, write_colmap = layouts.moved, layouts.write_colmap

SIZE = (60, 80)
QUICK = {"estimate_depth_range": False}
F, CX, CY = 72.0, 40.0, 30.0
CAMERAS = {
    "SIMPLE_PINHOLE": ((F, CX, CY), Lens()),
    "PINHOLE": ((F, F, CX, CY), Lens()),
    "SIMPLE_RADIAL": ((F, CX, CY, -0.05), Lens(-0.05)),
    "RADIAL": ((F, CX, CY, -0.05, 0.01), Lens(-0.05, 0.01)),
    "OPENCV": ((F, F, CX, CY, -0.05, 0.01, 0.002, -0.001), Lens(-0.05, 0.01, 0.002, -0.001)),
    "OPENCV_FISHEYE": ((F, F, CX, CY, 0.03, -0.01, 0.004, -0.001), FisheyeLens(0.03, -0.01, 0.004, -0.001)),
    "SIMPLE_RADIAL_FISHEYE": ((F, CX, CY, 0.02), FisheyeLens(0.02)),
    "RADIAL_FISHEYE": ((F, CX, CY, 0.02, -0.01), FisheyeLens(0.02, -0.01)),
}


@pytest.fixture
def capture(tmp_path, plane_world):
    """A factory of captures of the plane through a lens: pictures, and a model in either form."""
    moving_cameras, photograph = plane_world

    def make(model: str = "PINHOLE", *, binary: bool = True, folder: str = "walk", frames: int = 3):
        parameters, lens = CAMERAS[model]
        height, width = SIZE
        cameras = moving_cameras(frames, height, width, focal=F / width)
        ideal = Photograph(height, width, F, F, CX, CY, lens)
        grid = ideal.undistorted(_window(height, width))  # where the ideal picture has what the lens shows
        pictures, _ = photograph(_wider(cameras), 3 * height, 3 * width)
        (tmp_path / folder / "images").mkdir(parents=True)
        for number, picture in enumerate(pictures):
            shown = resample(picture, grid + torch.tensor([width, height], dtype=torch.float64))
            (tmp_path / folder / "images" / f"{number + 1:04d}.jpg").write_bytes(encode_jpeg(shown, 98))
        points = torch.stack([torch.linspace(-1, 1, 50), torch.linspace(-0.5, 0.5, 50), torch.full((50,), 4.0)], dim=-1)
        camera = (model, width, height, parameters)
        write_colmap(tmp_path / folder / "sparse" / "0", cameras, camera, points, binary=binary)
        return tmp_path / folder, cameras

    return make


def _window(height: int, width: int):
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).double()


def _wider(cameras):
    """The same cameras with three times the picture around the same middle: what a lens bends in is there."""
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 0, 0] /= 3
    intrinsics[:, 1, 1] /= 3
    return type(cameras)(cameras.world_from_camera, intrinsics)


def psnr(first, second) -> float:
    return 10 * torch.log10(255**2 / (first.double() - second.double()).square().mean()).item()


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
def test_what_colmap_registered_comes_back_as_the_world_was(tmp_path, capture, plane_world, model, binary):
    folder, cameras = capture(model, binary=binary)
    manifest = import_capture(folder, tmp_path / "data", **QUICK)
    assert (manifest.kind, manifest.listed, manifest.imported) == ("colmap", 3, 3)
    scene = ChunkFolder(tmp_path / "data", "test").scene("walk")
    torch.testing.assert_close(scene.cameras.world_from_camera, cameras.world_from_camera, atol=1e-6, rtol=0)
    expected, _ = plane_world[1](scene.cameras, *scene.image_size())
    found = torch.stack([decode_image(image) for image in scene.images])
    assert psnr(found, expected) > 33
    assert min(found.shape[1] / SIZE[0], found.shape[2] / SIZE[1]) > 0.75


def test_the_lens_is_what_makes_the_difference(tmp_path, capture, plane_world):
    """The same pictures with the fisheye forgotten are far from the world: the comparison above can fail."""
    folder, cameras = capture("OPENCV_FISHEYE")
    points = torch.zeros(0, 3)
    write_colmap(folder / "sparse" / "0", cameras, ("PINHOLE", 80, 60, (F, F, CX, CY)), points, binary=True)
    import_capture(folder, tmp_path / "data", **QUICK)
    scene = ChunkFolder(tmp_path / "data", "test").scene("walk")
    found = torch.stack([decode_image(image) for image in scene.images])
    assert psnr(found, plane_world[1](scene.cameras, *scene.image_size())[0]) < 30


def test_poses_anywhere_are_kept_to_a_millionth(tmp_path, capture, rng):
    folder, cameras = capture()
    turned = moved(cameras, rng)
    camera = ("PINHOLE", 80, 60, (F, F + 1, CX, CY))
    for binary in (True, False):
        for old in (folder / "sparse" / "0").iterdir():
            old.unlink()
        write_colmap(folder / "sparse" / "0", turned, camera, torch.zeros(0, 3), binary=binary)
        frames = ColmapImporter().read(folder).frames
        found = torch.stack([frame.world_from_camera for frame in frames])
        torch.testing.assert_close(found, turned.world_from_camera.double(), atol=1e-6, rtol=0)
        assert {(f.photograph.fx, f.photograph.fy, f.photograph.cx) for f in frames} == {(F, F + 1, CX)}


@pytest.mark.parametrize("lens", [FisheyeLens(0.03, -0.01, 0.004, -0.001), FisheyeLens(), FisheyeLens(-0.08)])
def test_the_fisheye_is_undone_exactly(lens, rng):
    points = torch.rand(200, 2, generator=rng, dtype=torch.float64) * 4 - 2
    torch.testing.assert_close(lens.undistort(lens.distort(points)), points, atol=1e-9, rtol=0)
    assert torch.equal(lens.distort(torch.zeros(1, 2).double()), torch.zeros(1, 2).double())
    angle = points.norm(dim=-1).atan()
    expected = angle * (1 + lens.k1 * angle**2 + lens.k2 * angle**4 + lens.k3 * angle**6 + lens.k4 * angle**8)
    torch.testing.assert_close(lens.distort(points).norm(dim=-1), expected)


def test_beyond_ninety_degrees_nothing_is_made_up():
    landed = torch.tensor([[1.6, 0.0], [0.0, 1.5]], dtype=torch.float64)  # angles in radians, without coefficients
    found = FisheyeLens().undistort(landed)
    assert found[0].isnan().all()
    assert found[1].isfinite().all()
    wide = Photograph(100, 100, 20.0, 20.0, 50.0, 50.0, FisheyeLens())
    with pytest.raises(DataError, match="within 90 degrees"):
        largest_window([wide.undistorted(side) for side in wide.border()], None, "x")


def test_depth_range_comes_from_the_points(tmp_path, capture):
    folder, _ = capture()
    manifest = import_capture(folder, tmp_path / "data")
    assert 0.75 * 4 < manifest.near_hint < 4 < manifest.far_hint < 1.6 * 4.1
    assert "50 points, over 3 views" in manifest.hint
    scaled = import_capture(folder, tmp_path / "data", key="scaled", scale="span", scale_to=3.0)
    assert scaled.near_hint == pytest.approx(manifest.near_hint * scaled.scale_factor)


def test_places_of_models_and_pictures(tmp_path, capture):
    folder, _ = capture()
    for source in (folder, folder / "sparse", folder / "sparse" / "0"):
        assert len(ColmapImporter().read(source).frames) == 3
    (folder / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no folder images or .* near it"):
        ColmapImporter().read(folder)
    manifest = import_capture(folder, tmp_path / "data", pictures=str(tmp_path / "elsewhere"), **QUICK)
    assert manifest.imported == 3


def test_reduced_pictures_take_their_intrinsics_along(tmp_path, capture):
    folder, _ = capture()
    for path in (folder / "images").iterdir():
        picture = decode_image(path.read_bytes())[::2, ::2].contiguous()
        path.write_bytes(encode_jpeg(picture))
    photograph = ColmapImporter().read(folder).frames[0].photograph
    assert (photograph.height, photograph.width, photograph.fx, photograph.cx) == (30, 40, F / 2, CX / 2)


def test_the_largest_of_several_models_is_taken_and_said(tmp_path, capture, caplog):
    folder, cameras = capture()
    write_colmap(
        folder / "sparse" / "1", cameras[:2], ("PINHOLE", 80, 60, (F, F, CX, CY)), torch.zeros(0, 3), binary=True
    )
    manifest = import_capture(folder, tmp_path / "data", **QUICK)
    assert manifest.imported == 3
    assert manifest.notes["other_models"] == {"sparse/1": 2}
    assert "largest of 2 models" in caplog.text


def test_missing_pictures_are_counted(tmp_path, capture):
    folder, _ = capture()
    (folder / "images" / "0002.jpg").unlink()
    manifest = import_capture(folder, tmp_path / "data", **QUICK)
    assert manifest.left_out == {"0002.jpg": "the file is missing"}
    assert manifest.listed == manifest.imported + 1 == 3


# --- damage ---


def rewrite(path, change):
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(bytes(content))


def number(place, form, value):
    def change(content):
        struct.pack_into("<" + form, content, place, value)

    return change


FAULTS = {
    "many cameras": ("cameras.bin", number(0, "Q", 1 << 60), "claims 1152921504606846976 entries, more than"),
    "unknown model": ("cameras.bin", number(12, "i", 99), "camera model number 99"),
    "other model": ("cameras.bin", number(12, "i", 6), "ends too early"),
    "huge camera": ("cameras.bin", number(16, "Q", 1 << 40), "a camera of 1099511627776x60 pixels"),
    "NaN focal length": ("cameras.bin", number(32, "d", float("nan")), "parameter of its camera is not finite"),
    "many images": ("images.bin", number(0, "Q", 1 << 40), "claims 1099511627776 entries"),
    "no rotation": ("images.bin", lambda c: c.__setitem__(slice(12, 44), bytes(32)), "its pose .* is none"),
    "NaN position": ("images.bin", number(44, "d", float("nan")), "camera 0 has a NaN or infinite pose"),
    "other camera": ("images.bin", number(68, "I", 8), "names camera 8, which is not in the model"),
    "way out": ("images.bin", lambda c: c.__setitem__(slice(72, 80), b"../a.jpg"), "lies outside"),
    "no text": ("images.bin", lambda c: c.__setitem__(slice(72, 74), b"\xff\xfe"), "a name that is no text"),
    "cut off": ("images.bin", lambda c: c.__delitem__(slice(-9, None)), "it is cut off or damaged"),
    "longer": ("points3D.bin", lambda c: c.extend(b"123"), "has 3 bytes too many"),
    "empty": ("points3D.bin", lambda c: c.clear(), "ends too early at byte 0"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_damaged_model_is_one_clear_error(tmp_path, capture, case):
    folder, _ = capture()
    name, change, expected = FAULTS[case]
    rewrite(folder / "sparse" / "0" / name, change)
    with pytest.raises(DataError, match=expected) as caught:
        import_capture(folder, tmp_path / "data", **QUICK)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not (tmp_path / "data").exists()


TEXT_FAULTS = {
    "cameras.txt": [
        ("7 PINHOLE 80", "7 PINHOL 80", "camera model 'PINHOL'"),
        ("80 60 72.0", "80 60 wide", "line 2: could"),
    ],
    "images.txt": [("0001.jpg", "", "line 2: 9 words"), ("1.0 2.0 -1", "1.0 2.0", "no triples")],
    "points3D.txt": [("0 -1.0", "zero -1.0", "line 2: 'zero' where a whole number")],
}


@pytest.mark.parametrize("name", TEXT_FAULTS)
def test_a_damaged_text_model_names_the_line(capture, name):
    folder, _ = capture(binary=False)
    path = folder / "sparse" / "0" / name
    good = path.read_text()
    for old, new, expected in TEXT_FAULTS[name]:
        assert old in good
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(DataError, match=expected):
            ColmapImporter().read(folder)


def test_a_model_that_cannot_be_undone_says_so(tmp_path, capture):
    folder, cameras = capture()
    camera = ("FULL_OPENCV", 80, 60, (F, F, CX, CY, *[0.01] * 8))
    write_colmap(folder / "sparse" / "0", cameras, camera, torch.zeros(0, 3), binary=True)
    with pytest.raises(DataError, match="FULL_OPENCV cannot be undone here; run colmap image_undistorter"):
        import_capture(folder, tmp_path / "data", **QUICK)


def test_any_change_of_a_byte_is_a_model_or_an_error(tmp_path, capture, rng):
    """Whatever a byte becomes, reading ends in a model or in a PmgsError."""
    place = capture()[0] / "sparse" / "0"
    outcomes = set()
    for path in sorted(place.iterdir()):
        good = path.read_bytes()
        for _ in range(60):
            at, value = (int(torch.randint(0, most, (), generator=rng)) for most in (min(len(good), 400), 256))
            path.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
            try:
                ColmapImporter().read(place)
                outcomes.add("model")
            except PmgsError:
                outcomes.add("error")
        path.write_bytes(good)
    assert outcomes == {"model", "error"}


def test_models_that_colmap_writes_are_read(tmp_path, rng):
    pycolmap = pytest.importorskip("pycolmap")
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model="OPENCV", width=80, height=60, params=[70, 71, 40, 30, 0.1, 0.01, 0.001, 0.002])
    camera.camera_id = 3
    reconstruction.add_camera_with_trivial_rig(camera)
    pose = pycolmap.Rigid3d(pycolmap.Rotation3d([0.1, 0.2, 0.3, 0.9]), [1.0, 2.0, 3.0])
    image = pycolmap.Image(name="a b.jpg", camera_id=3, image_id=5)
    reconstruction.add_image_with_trivial_frame(image, pose)
    reconstruction.add_point3D([1.0, 2.0, 9.0], pycolmap.Track(), [1, 2, 3])
    models = []
    for write in (reconstruction.write_binary, reconstruction.write_text):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(str(folder))
        models.append(read_model(folder))
    for model in models:
        assert model.cameras[3].model == "OPENCV"
        assert model.cameras[3].parameters == pytest.approx((70, 71, 40, 30, 0.1, 0.01, 0.001, 0.002))
        assert [found.name for found in model.images] == ["a b.jpg"]
        assert model.images[0].quaternion == pytest.approx((0.9, 0.1, 0.2, 0.3))
        assert model.images[0].translation == pytest.approx((1.0, 2.0, 3.0))
        assert model.points.tolist() == [[1.0, 2.0, 9.0]]
