"""A folder of files says everything that the reconstruction says, and its manifest says what is there."""

import json
import re
import subprocess
from typing import get_args

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.export import parts, saving
from pmgs_lib.export.images import image_to_uint8
from pmgs_lib.export.parts import Part, SaveSettings
from pmgs_lib.export.ply import read_ply
from pmgs_lib.export.reconstruction import reconstruct, render_path
from pmgs_lib.export.saving import MANIFEST, save_reconstruction
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.views import Views

ALL = set(get_args(Part))
# Options of the released test mode and the part that answers each.
RELEASED = {
    "save_input_images": "inputs",
    "save_image": "rendered",
    "save_gt_image": "truth",
    "save_depth": "depth",
    "save_depth_concat_img": "depth-beside-image",
    "save_depth_npy": "raw-depth",
    "save_gaussian": "gaussians",
    "save_video": "video",
}


def pixels(path):
    return np.asarray(Image.open(path))


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def video_frames(path, height, width):
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    read = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(read, np.uint8).reshape(-1, height, width, 3)


@pytest.fixture
def target(views):
    return views([0.2, 0.6, 0.8])


@pytest.fixture
def full(made, target, tmp_path):
    """Folder and manifest of everything."""
    settings = SaveSettings(video="interpolate", frames=9, chunk=4)
    frames = {"context_frames": [3, 7, 13], "target_frames": [5, 9, 11]}
    return tmp_path / "out", save_reconstruction(tmp_path / "out", made, target, settings=settings, **frames)


def test_every_released_option_has_its_part_and_every_part_a_writer():
    assert set(RELEASED.values()) == ALL == set(parts.WRITERS)
    for option, part in RELEASED.items():
        line = next(line for line in parts.__doc__.splitlines() if line.strip().startswith(f"{part} "))
        assert option in line
    for option in ("render_chunk_size", "stablize_camera", "stab_camera_kernel"):
        assert option in parts.__doc__


def test_the_manifest_lists_exactly_what_is_there(full):
    folder, manifest = full
    assert json.loads((folder / MANIFEST).read_text()) == manifest
    assert files_of(folder) == {file["file"] for file in manifest["files"]} | {MANIFEST}
    for file in manifest["files"]:
        assert (folder / file["file"]).stat().st_size == file["bytes"] > 0
    assert {file["part"] for file in manifest["files"]} == ALL
    assert manifest["left_out"] == {}
    assert (manifest["near"], manifest["far"], manifest["model"]) == (1.0, 10.0, "plane")
    assert manifest["gaussians"] == 3 * 24 * 32


def test_pictures_are_named_by_their_frames_and_hold_what_they_say(full, made, target):
    folder, manifest = full
    (rendering,) = render_path(made, target.cameras, 24, 32)
    for number, frame in enumerate((5, 9, 11)):
        np.testing.assert_array_equal(pixels(folder / f"truth/{frame:06d}.png"), image_to_uint8(target.images[number]))
        drawn = pixels(folder / f"rendered/{frame:06d}.png")
        np.testing.assert_array_equal(drawn, image_to_uint8(rendering.color[number]))
    for number, frame in enumerate((3, 7, 13)):
        given = pixels(folder / f"inputs/{frame:06d}.png")
        np.testing.assert_array_equal(given, image_to_uint8(made.context.images[number]))
    quality = [file["psnr"] for file in manifest["files"] if file["part"] == "rendered"]
    assert min(quality) > 20


def test_raw_depth_is_the_prediction_to_the_last_bit(full, made):
    folder, _ = full
    for number, frame in enumerate((3, 7, 13)):
        read = np.load(folder / f"raw_depth/{frame:06d}.npy", allow_pickle=False)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, made.depth[number].numpy())


def test_depth_stands_below_its_image(full):
    folder, _ = full
    sheet = pixels(folder / "depth_beside_image.png")
    assert sheet.shape == (48, 96, 3)
    for number, frame in enumerate((3, 7, 13)):
        column = sheet[:, 32 * number : 32 * (number + 1)]
        np.testing.assert_array_equal(column[:24], pixels(folder / f"inputs/{frame:06d}.png"))
        np.testing.assert_array_equal(column[24:], pixels(folder / f"depth/{frame:06d}.png"))


def test_a_depth_of_lower_resolution_fills_its_place(made, tmp_path):
    coarse = type(made)(**vars(made) | {"depth": made.depth[:, ::2, ::2]})
    save_reconstruction(tmp_path / "out", coarse, settings=SaveSettings(save=("depth", "depth-beside-image")))
    sheet, small = pixels(tmp_path / "out/depth_beside_image.png"), pixels(tmp_path / "out/depth/000001.png")
    assert small.shape == (12, 16, 3)
    np.testing.assert_array_equal(sheet[24:, 32:64], small.repeat(2, 0).repeat(2, 1))


def test_the_depth_scale_is_one_for_all_views_and_told(made, tmp_path):
    depth = made.depth * torch.linspace(0.5, 2, 3)[:, None, None]
    manifest = save_reconstruction(tmp_path / "out", type(made)(**vars(made) | {"depth": depth}))
    assert manifest["depth_colors"] == pytest.approx([2.0, 8.0])
    near, far = (pixels(tmp_path / f"out/depth/{n:06d}.png").mean() for n in (0, 2))
    assert near > far + 50  # near is light, far is dark


def test_the_file_of_gaussians_renders_the_same(full, made, target):
    folder, _ = full
    read, written = (
        rasterize(gaussians, target.cameras, 24, 32).color
        for gaussians in (read_ply(folder / "gaussians.ply"), made.gaussians)
    )
    torch.testing.assert_close(read, written, atol=2e-4, rtol=0)


def test_the_video_shows_the_path(full, made):
    folder, manifest = full
    frames = video_frames(folder / "video.mp4", 24, 32)
    assert len(frames) == 9 == next(file["frames"] for file in manifest["files"] if file["part"] == "video")
    assert frames[0].std() > 10
    assert np.abs(frames[0].astype(float) - frames[-1]).mean() > 5
    middle = image_to_uint8(made.context.images[1])
    errors = np.abs(frames.astype(float) - middle).mean(axis=(1, 2, 3))
    assert errors.argmin() == 4  # the path passes the second of three context cameras in its middle
    assert errors[4] < 0.5 * errors[0]


@pytest.mark.parametrize(("video", "count"), [("target", 3), ("stabilized", 3), ("wobble", 5), ("spin", 5)])
def test_every_path_makes_a_video(video, count, made, target, tmp_path):
    settings = SaveSettings(save=("video",), video=video, frames=5, window=3)
    manifest = save_reconstruction(tmp_path / "out", made, target, settings=settings)
    assert len(video_frames(tmp_path / "out/video.mp4", 24, 32)) == count
    assert files_of(tmp_path / "out") == {"video.mp4", MANIFEST}
    assert set(manifest["left_out"]) == ALL - {"video"}


def test_several_reconstructions_share_the_video_and_the_first_is_saved(made, model, views, target, tmp_path):
    worse = reconstruct(model(), Views(**vars(made.context) | {"depth": made.context.depth * 1.6}), name="too far")
    settings = SaveSettings(save=("video", "raw-depth"), video="target")
    manifest = save_reconstruction(tmp_path / "out", [made, worse], target, settings=settings)
    assert next(file["shows"] for file in manifest["files"] if file["part"] == "video") == ["plane", "too far"]
    assert manifest["model"] == "plane"
    np.testing.assert_array_equal(np.load(tmp_path / "out/raw_depth/000000.npy"), made.depth[0].numpy())
    frames = video_frames(tmp_path / "out/video.mp4", 20 + 24, 32 + 4 + 32)
    assert len(frames) == 3
    truth = np.stack([image_to_uint8(image) for image in target.images]).astype(float)
    left, right = (np.abs(part - truth).mean() for part in (frames[:, 20:, :32], frames[:, 20:, 36:]))
    assert left < 0.7 * right
    with pytest.raises(ParameterError, match="a label of its own for each"):
        save_reconstruction(tmp_path / "twice", [made, made], target, settings=settings)
    assert not (tmp_path / "twice").exists()


def test_the_file_of_gaussians_carries_its_certificate(full):
    _, manifest = full
    (certified,) = [file["certified"] for file in manifest["files"] if file["part"] == "gaussians"]
    assert re.fullmatch(r"read back and drawn: (\d+\.\d dB|the same to the last bit), .* \d\.\de-\d\d", certified)


def test_what_cannot_be_written_is_told_with_its_reason(depth_only, tmp_path):
    manifest = save_reconstruction(tmp_path / "out", depth_only, settings=SaveSettings(video="interpolate"))
    assert {file["part"] for file in manifest["files"]} == {"inputs", "depth", "depth-beside-image", "raw-depth"}
    assert manifest["gaussians"] is None
    assert set(manifest["left_out"]) == {"rendered", "truth", "gaussians", "video"}
    assert "predicts depth only" in manifest["left_out"]["gaussians"]
    assert "no target views" in manifest["left_out"]["truth"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"save": ("gaussians",)}, "no gaussians to save: the model predicts depth only"),
        ({"save": ("truth",)}, "no truth to save: there are no target views"),
        ({"save": ("video",)}, "no video to save: the model predicts depth only"),
    ],
)
def test_asking_for_the_impossible_writes_nothing(settings, message, depth_only, tmp_path):
    with pytest.raises(ParameterError, match=message):
        save_reconstruction(tmp_path / "out", depth_only, settings=SaveSettings(**settings))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"video": "none"}, "no path was chosen"),
        ({"video": "target"}, "has no target views to follow"),
        ({"video": "stabilized", "window": 4}, "target views"),
    ],
)
def test_a_video_without_a_path_is_refused(settings, message, made, tmp_path):
    with pytest.raises(ParameterError, match=message):
        save_reconstruction(tmp_path / "out", made, settings=SaveSettings(save=("video",), **settings))


def test_an_even_window_and_odd_pictures_are_refused(made, model, views, target, tmp_path):
    settings = SaveSettings(save=("video",), video="stabilized", window=4)
    with pytest.raises(ParameterError, match="odd number of frames, not 4"):
        save_reconstruction(tmp_path / "out", made, target, settings=settings)
    odd = saving.Reconstruction(**vars(made) | {"context": views([0.0, 0.4, 1.0], 23, 32)})
    with pytest.raises(ParameterError, match="23x32 pixels are odd"):
        save_reconstruction(tmp_path / "out", odd, settings=SaveSettings(save=("video",), video="wobble"))


def test_a_folder_is_written_over_only_when_asked_and_then_only_what_was_ours(full, made, target):
    folder, _ = full
    (folder / "notes.txt").write_text("mine")
    before = files_of(folder)
    with pytest.raises(ParameterError, match="is not empty"):
        save_reconstruction(folder, made, target)
    assert files_of(folder) == before
    save_reconstruction(folder, made, settings=SaveSettings(save=("inputs",)), overwrite=True)
    assert files_of(folder) == {"notes.txt", "inputs/000000.png", "inputs/000001.png", "inputs/000002.png", MANIFEST}
    assert sorted(path.name for path in folder.iterdir()) == ["inputs", MANIFEST, "notes.txt"]


@pytest.mark.parametrize(
    "listed", ['[{"file": "../precious.txt"}]', '"all"', "[7]", '{"file": "x"}', "[{}]", '[{"file": "."}]']
)
def test_a_manifest_that_is_not_ours_deletes_nothing(listed, made, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text(f'{{"files": {listed}}}')
    with pytest.raises(DataError, match="lists no files of its folder"):
        save_reconstruction(tmp_path / "out", made, overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_write_that_fails_half_way_leaves_no_manifest(full, made, monkeypatch):
    folder, _ = full

    def broken(job):
        raise OSError("disk full")
        yield

    monkeypatch.setitem(parts.WRITERS, "raw-depth", broken)
    with pytest.raises(OSError, match="disk full"):
        save_reconstruction(folder, made, overwrite=True)
    assert (folder / "inputs/000000.png").is_file()
    assert not (folder / MANIFEST).exists()


def test_a_file_in_the_place_of_the_folder_is_refused(made, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ParameterError, match="is a file, expected a folder"):
        save_reconstruction(tmp_path / "out", made, overwrite=True)


@pytest.mark.parametrize("frames", [[1, 2], [1, 2, 2], [0, -1, 2]])
def test_frame_numbers_belong_to_the_views(frames, made, tmp_path):
    with pytest.raises(ParameterError, match="for 3 views, expected a number of its own for each"):
        save_reconstruction(tmp_path / "out", made, context_frames=frames)


def test_a_depth_without_a_number_is_refused_before_anything_is_written(made, tmp_path):
    broken = type(made)(**vars(made) | {"depth": torch.full_like(made.depth, torch.nan)})
    with pytest.raises(ParameterError, match="no predicted depth is a positive number"):
        save_reconstruction(tmp_path / "out", broken)
    assert not (tmp_path / "out").exists()
