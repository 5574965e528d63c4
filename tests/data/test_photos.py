"""Photographs without poses: what is left out and why, what an estimator is given, and the poses that COLMAP finds."""

import gc
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from pmgs_lib.cameras import Cameras
from pmgs_lib.data import PhotosImporter, import_capture, make_scene
from pmgs_lib.data.chunks import encoded_size
from pmgs_lib.data.folders import ChunkFolder
from pmgs_lib.data.importers.base import DepthHint
from pmgs_lib.data.lenses import Photograph
from pmgs_lib.data.photos import ColmapPoses, PhotoOptions, PoseEstimate, PoseEstimator, prepare_photos
from pmgs_lib.data.photos.base import PosedPhoto
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.geometry import similarity_transform

HEIGHT, WIDTH = 60, 80


@pytest.fixture
def walk(tmp_path, plane_world):
    """A folder of photographs of a plane, and the cameras that took them."""
    moving_cameras, photograph = plane_world
    cameras = moving_cameras(8, HEIGHT, WIDTH)
    folder = tmp_path / "my walk"
    folder.mkdir()
    for number, picture in enumerate(photograph(cameras, HEIGHT, WIDTH, cells=120)[0]):
        Image.fromarray(picture.numpy()).save(folder / f"{number + 1}.png")
    return folder, cameras


class KnownPoses(PoseEstimator):
    """Gives the true cameras in order, but leaves some out."""

    def __init__(self, cameras: Cameras, unplaced: tuple[str, ...] = (), forgets: bool = False) -> None:
        self.cameras, self.unplaced, self.forgets = cameras, unplaced, forgets
        self.asked = []

    @property
    def identity(self):
        return {"poses": "known"}

    def __call__(self, photos, working):
        assert working.is_dir()
        self.asked.append(photos)
        k = self.cameras[0].pixel_intrinsics(photos.height, photos.width)
        lens = Photograph(photos.height, photos.width, *(k[i, j].item() for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))))
        placed = {
            name: PosedPhoto(self.cameras.world_from_camera[int(Path(name).stem) - 1].double(), lens)
            for name in photos.names
            if name not in self.unplaced
        }
        reasons = {} if self.forgets else dict.fromkeys(self.unplaced, "not registered")
        return PoseEstimate(placed, reasons, DepthHint(1.0, 9.0, "known"), {"points": 7})


def prepared(folder, tmp_path, **options):
    return prepare_photos(folder, tmp_path / "prepared", PhotoOptions(**options))


# --- which photographs are used ---


def test_photographs_come_in_the_order_in_which_a_person_counts(walk, tmp_path):
    folder, _ = walk
    (folder / "8.png").rename(folder / "10.png")
    photos = prepared(folder, tmp_path)
    assert photos.names == ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg", "7.jpg", "10.jpg")
    assert (photos.height, photos.width, photos.listed, photos.left_out) == (HEIGHT, WIDTH, 8, {})


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_camera_gives_an_upright_picture(walk, tmp_path, orientation):
    """The sensor's pixels are turned as the EXIF number says; what comes out is what stood before the camera."""
    folder, _ = walk
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for path in list(folder.iterdir()):
        picture = Image.open(path)
        exif = Image.Exif()
        exif[0x0112] = orientation
        sensor = picture.transpose(turn[orientation]) if turn[orientation] is not None else picture
        sensor.save(path.with_suffix(".jpg"), quality=98, subsampling=0, exif=exif)
    expected = np.asarray(Image.open(folder / "3.png"), dtype=float)
    for path in folder.glob("*.png"):
        path.unlink()
    photos = prepared(folder, tmp_path)
    assert (photos.height, photos.width) == (HEIGHT, WIDTH)
    found = np.asarray(Image.open(photos.folder / "3.jpg"), dtype=float)
    assert np.abs(found - expected).mean() < 4


def test_blurred_doubled_odd_and_unreadable_pictures_are_named(walk, tmp_path):
    folder, _ = walk
    picture = Image.open(folder / "4.png")
    picture.filter(ImageFilter.GaussianBlur(2)).save(folder / "4.png")
    Image.open(folder / "6.png").save(folder / "7.png")
    Image.open(folder / "2.png").crop((0, 0, 50, 60)).save(folder / "2.png")
    (folder / "9.jpg").write_bytes(b"\xff\xd8\xff but then nothing")
    (folder / "11.HEIC").write_bytes(b"ftypheic")
    (folder / "notes.txt").write_text("not a picture at all")
    photos = prepared(folder, tmp_path)
    assert photos.names == ("1.jpg", "3.jpg", "5.jpg", "6.jpg", "8.jpg")
    reasons = {name: reason.split(":")[0] for name, reason in photos.left_out.items()}
    assert reasons == {
        "4.jpg": "blurred",
        "7.jpg": "a duplicate",
        "2.jpg": "another shape",
        "9.jpg": "cannot be read",
        "11.HEIC": "HEIC pictures are not read",
    }
    assert photos.listed == len(photos.names) + len(photos.left_out)


def test_one_photograph_at_several_resolutions_becomes_one_size(walk, tmp_path):
    folder, _ = walk
    for name in ("2.png", "5.png"):
        Image.open(folder / name).resize((WIDTH * 3, HEIGHT * 3), Image.Resampling.BICUBIC).save(folder / name)
    photos = prepared(folder, tmp_path, leave_out_blurred=False)
    assert len(photos.names) == 8
    sizes = {encoded_size((photos.folder / name).read_bytes()) for name in photos.names}
    assert sizes == {(HEIGHT, WIDTH)} == {(photos.height, photos.width)}


def test_large_photographs_are_reduced(walk, tmp_path):
    folder, _ = walk
    for path in folder.iterdir():
        Image.open(path).resize((WIDTH * 4, HEIGHT * 4)).save(path)
    photos = prepared(folder, tmp_path, longer_side=160)
    assert (photos.height, photos.width) == (120, 160)


def test_too_few_photographs_are_refused_with_what_was_left_out(walk, tmp_path):
    folder, _ = walk
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()
    (folder / "3.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"2 of 3 can be used, at least 3 are needed \(3.jpg: cannot be read"):
        prepared(folder, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="0 of 0 can be used"):
        prepared(empty, tmp_path)


# --- a video ---


@pytest.fixture
def video(tmp_path, plane_world):
    """A video of 24 frames of which every third is sharp."""
    from pmgs_lib.export import write_video

    moving_cameras, photograph = plane_world
    pictures = photograph(moving_cameras(24, 96, 128), 96, 128, cells=120)[0]
    for number, picture in enumerate(pictures):
        if number % 3 != 1:
            soft = Image.fromarray(picture.numpy()).filter(ImageFilter.GaussianBlur(2))
            pictures[number] = torch.from_numpy(np.array(soft))
    write_video(tmp_path / "walk.mp4", pictures.numpy())
    return tmp_path / "walk.mp4"


def test_of_a_video_the_sharpest_frame_of_each_stretch_is_taken(video, tmp_path):
    photos = prepared(video, tmp_path, video_frames=8)
    assert photos.names == tuple(f"frame_{number:06d}.jpg" for number in range(1, 24, 3))
    assert photos.ordered


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"this is no video" * 100)
    with pytest.raises(DataError, match="cannot be read as a video"):
        prepared(path, tmp_path)


# --- the importer ---


def test_photographs_become_a_scene_with_the_cameras_of_the_estimator(walk, tmp_path):
    folder, cameras = walk
    estimator = KnownPoses(cameras, unplaced=("5.jpg",))
    manifest = import_capture(folder, tmp_path / "data", importer=PhotosImporter(estimator))
    assert (manifest.key, manifest.kind, manifest.listed, manifest.imported) == ("my-walk", "photos", 8, 7)
    assert manifest.left_out == {"5.jpg": "not registered"}
    assert (manifest.near_hint, manifest.far_hint, manifest.hint) == (1.0, 9.0, "known")
    assert manifest.notes["estimator"] == {"poses": "known"}
    scene = ChunkFolder(tmp_path / "data", "test").scene("my-walk")
    kept = [0, 1, 2, 3, 5, 6, 7]
    torch.testing.assert_close(scene.cameras.world_from_camera, cameras.world_from_camera[kept], atol=1e-5, rtol=0)
    torch.testing.assert_close(scene.cameras.intrinsics, cameras.intrinsics[kept], atol=1e-5, rtol=0)


def test_the_temporary_pictures_are_gone_afterwards(walk, tmp_path):
    folder, cameras = walk
    estimator = KnownPoses(cameras)
    import_capture(folder, tmp_path / "data", importer=PhotosImporter(estimator), scale="span", scale_to=2.0)
    (photos,) = estimator.asked
    gc.collect()
    assert not photos.folder.exists()
    scene = ChunkFolder(tmp_path / "data", "test").scene("my-walk")
    assert torch.cdist(scene.cameras.centers, scene.cameras.centers).max().item() == pytest.approx(2.0, abs=1e-5)


def test_an_estimator_that_loses_photographs_is_refused(walk, tmp_path):
    folder, cameras = walk
    with pytest.raises(DataError, match="placed 7 and left out 0 of 8"):
        import_capture(
            folder, tmp_path / "data", importer=PhotosImporter(KnownPoses(cameras, ("5.jpg",), forgets=True))
        )
    assert not (tmp_path / "data").exists()


def test_folders_of_pictures_and_videos_are_recognised_and_nothing_else(walk, tmp_path):
    folder, _ = walk
    importer = PhotosImporter()
    assert importer.detect(folder)
    (folder / "transforms.json").write_text(json.dumps({"frames": []}))
    assert not importer.detect(folder)
    (tmp_path / "walk.MOV").write_bytes(b"")
    assert importer.detect(tmp_path / "walk.MOV")
    assert not importer.detect(tmp_path / "nothing")


# --- COLMAP ---


def test_without_pycolmap_the_way_out_is_named(monkeypatch, walk, tmp_path):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(ParameterError, match="pycolmap is not installed"):
        import_capture(walk[0], tmp_path / "data", importer=PhotosImporter(ColmapPoses()))


def center_errors(found: Cameras, known: torch.Tensor) -> torch.Tensor:
    """Distances of camera centres to the known ones after a similarity, as a share of their span."""
    source = found.centers.double()
    fitted = similarity_transform(source, known.double()).apply(source)
    return (fitted - known).norm(dim=-1) / torch.cdist(known, known).max()


def test_colmap_finds_the_cameras_of_an_embedded_scene(tmp_path):
    scene = make_scene(12, frames=7, height=180, width=320)
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(scene.images):
        Image.fromarray(image.numpy()).save(folder / f"{number}.png")
    (folder / "7.png").write_bytes((folder / "3.png").read_bytes())
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (180, 320, 3), dtype=np.uint8)).save(folder / "8.png")
    importer = PhotosImporter(ColmapPoses(features=2000))
    manifest = import_capture(folder, tmp_path / "data", importer=importer, key="walk")
    assert manifest.imported == 7, manifest.left_out
    assert manifest.left_out["7.jpg"].startswith("a duplicate")
    assert manifest.left_out["8.jpg"].startswith("not registered")
    found = ChunkFolder(tmp_path / "data", "test").scene("walk").cameras
    errors = center_errors(found, scene.cameras.centers.double())
    assert errors.mean().item() < 0.01
    focal = found.intrinsics[0, 0, 0].item() * manifest.size[1] / 320
    assert focal == pytest.approx(
        scene.cameras.intrinsics[0, 0, 0].item(), rel=0.15
    )  # a walk of half a metre says no more
    scale = similarity_transform(found.centers, scene.cameras.centers).scale.item()
    assert manifest.near_hint * scale < scene.depth.min().item() * 1.5
    assert manifest.far_hint * scale > scene.depth.quantile(0.95).item() * 0.8


def test_photographs_that_share_nothing_are_refused(tmp_path):
    folder = tmp_path / "noise"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(3):
        Image.fromarray(random.integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    with pytest.raises(DataError, match="COLMAP placed none of 3"):
        import_capture(folder, tmp_path / "data", importer=PhotosImporter(ColmapPoses(features=500)))
    assert not (tmp_path / "data").exists()


@pytest.mark.prove
def test_the_same_photographs_give_the_same_cameras(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(make_scene(4, frames=8, height=180, width=320).images):
        Image.fromarray(image.numpy()).save(folder / f"{number}.png")
    found = []
    for name in ("first", "second"):
        import_capture(folder, tmp_path / name, kind="photos", key="walk")
        found.append(ChunkFolder(tmp_path / name, "test").scene("walk").cameras)
    assert torch.equal(found[0].world_from_camera, found[1].world_from_camera)
    assert torch.equal(found[0].intrinsics, found[1].intrinsics)


@pytest.mark.prove
def test_fox_without_its_poses(shared, tmp_path):
    """All 50 photographs of the capture are placed, their centres within 1 % of the span of the published ones."""
    capture = shared / "captures" / "fox"
    manifest = import_capture(capture / "images", tmp_path / "data", kind="photos", key="fox")
    assert (manifest.listed, manifest.imported, manifest.left_out) == (50, 50, {})
    frames = json.loads((capture / "transforms.json").read_text())["frames"]
    centers = {
        Path(f["file_path"]).name: torch.tensor(f["transform_matrix"], dtype=torch.float64)[:3, 3] for f in frames
    }
    found = ChunkFolder(tmp_path / "data", "test").scene("fox").cameras
    assert center_errors(found, torch.stack([centers[name] for name in manifest.frames])).mean().item() < 0.01
