"""`pmgs render`, from the command line to the files."""

import json
import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from pmgs_lib import cli
from pmgs_lib.data import make_scene, make_scenes, open_dataset
from pmgs_lib.export import read_ply
from pmgs_lib.export.nerfstudio import write_nerfstudio
from pmgs_lib.export.reconstruction import reconstruct
from pmgs_lib.models import load_checkpoint, save_checkpoint

RANGE = ("--near", "0.5", "--far", "40")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    make_scenes(7, count=2, folder=folder, frames=6, height=64, width=96)
    return folder


@pytest.fixture
def render(capsys):
    def call(*arguments):
        status = cli.main(["render", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return call


def test_one_call_makes_everything(scenes, render, tmp_path):
    key = open_dataset(scenes).keys[1]
    status, said, _ = render(
        "depthsplat-tiny", scenes, "--scene", key, "--context", "0,4", "--output", tmp_path / "out", *RANGE,
        "--frames", "6", "--device", "cpu",
    )  # fmt: skip
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert status == 0
    assert said.count("\n") == 1
    pattern = (
        rf"{re.escape(str(tmp_path / 'out'))}: {key}, 2 views of 64x96 to 12,288 Gaussians in \d+\.\d\d s on cpu; "
        r"\d+\.\d\d dB at 3 targets; wrote 2 inputs, 3 rendered, 3 truth, 2 depth, depth-beside-image, 2 raw-depth, "
        r"gaussians, video and manifest.json; gaussians.ply read back and drawn: [\w .]+, largest difference \S+\n"
    )
    assert re.fullmatch(pattern, said), said
    assert (manifest["context_frames"], manifest["target_frames"]) == ([0, 4], [1, 2, 3])
    assert (manifest["model"], manifest["left_out"]) == ("depthsplat-tiny", {})
    assert min(file["psnr"] for file in manifest["files"] if file["part"] == "rendered") > 12


def test_the_fast_setting_gives_nearly_the_same_pictures(scenes, render, tmp_path):
    key = open_dataset(scenes).keys[1]
    quality = {}
    for name, option in (("exact", "--no-fast"), ("fast", "--fast")):
        folder = tmp_path / name
        status, _, _ = render(
            "depthsplat-tiny", scenes, "--scene", key, "--context", "0,4", "--output", folder, *RANGE,
            "--video", "none", "--device", "cpu", "--save", "rendered", option,
        )  # fmt: skip
        assert status == 0
        files = json.loads((folder / "manifest.json").read_text())["files"]
        quality[name] = [file["psnr"] for file in files if file["part"] == "rendered"]
    assert quality["fast"] == pytest.approx(quality["exact"], abs=0.3)
    assert quality["fast"] != quality["exact"]


def test_the_files_are_those_of_the_library_call(scenes, render, tmp_path):
    dataset = open_dataset(scenes, near=0.5, far=40.0)
    key = dataset.keys[0]
    status, _, _ = render(
        "depthsplat-tiny", scenes, "--scene", key, "--context", "1,3", "--targets", "0-2,5", "--size", "48x64",
        "--save", "raw-depth,gaussians,truth", "--output", tmp_path / "out", *RANGE, "--device", "cpu",
    )  # fmt: skip
    assert status == 0
    made = reconstruct(load_checkpoint("depthsplat-tiny"), dataset.views(dataset.scene(key), [1, 3], 48, 64))
    np.testing.assert_array_equal(np.load(tmp_path / "out/raw_depth/000003.npy"), made.depth[1].numpy())
    assert read_ply(tmp_path / "out/gaussians.ply").means.equal(made.gaussians.means)
    truth = sorted(path.name for path in (tmp_path / "out/truth").iterdir())
    assert truth == ["000000.png", "000001.png", "000002.png", "000005.png"]
    with Image.open(tmp_path / "out/truth/000005.png") as picture:
        assert picture.size == (64, 48)


def test_a_second_model_stands_beside_in_the_video(scenes, render, tmp_path):
    key = open_dataset(scenes).keys[0]
    save_weights(tmp_path / "other.safetensors")
    options = [
        "--scene",
        key,
        "--context",
        "0,4",
        *RANGE,
        "--frames",
        "3",
        "--device",
        "cpu",
        "--save",
        "video,raw-depth",
    ]
    status, said, _ = render(
        "depthsplat-tiny", scenes, *options, "--against", tmp_path / "other.safetensors", "--output", tmp_path / "out",
        "--depth-as", "npy,png", "--steps-per-unit", "60000",
    )  # fmt: skip
    assert status == 0
    assert "; beside other.safetensors in the video" in said
    assert re.search(r"; [\d,]+ depths beyond the scale were clipped", said)
    files = json.loads((tmp_path / "out/manifest.json").read_text())["files"]
    assert next(file["shows"] for file in files if file["part"] == "video") == ["depthsplat-tiny", "other.safetensors"]
    assert sum("png" in file["file"] for file in files) == 2
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "out/video.mp4")]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(3, 20 + 64, 96 + 4 + 96, 3).astype(float)
    assert np.abs(frames[:, 20:, :96] - frames[:, 20:, 100:]).mean() > 2  # another model, other pictures


def save_weights(path) -> None:
    """The tiny model, its weights a little changed."""
    model = load_checkpoint("depthsplat-tiny")
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in model.parameters():
            values += 0.05 * values.std(correction=0) * torch.randn(values.shape, generator=rng)
    save_checkpoint(path, model, {"source": "a test"})


def test_a_capture_is_rendered_without_an_import_of_its_own(render, tmp_path):
    scene = make_scene(3, frames=4, height=72, width=100)
    write_nerfstudio(tmp_path / "walk", scene.images, scene.cameras)
    status, said, _ = render(
        "depthsplat-tiny", tmp_path / "walk", "--context", "0,3", "--output", tmp_path / "out", *RANGE,
        "--video", "none",
    )  # fmt: skip
    assert status == 0
    assert "walk, 2 views of 64x96 to 12,288 Gaussians" in said  # cropped to what the model takes
    assert "left out video (no path was chosen for its cameras; name one)" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context", "0,4"], "no scene was named of its 2"),
        (["--context", "0,9", "--scene", "KEY"], "has no frame 9, it has 0 to 5"),
        (["--context", "0,x", "--scene", "KEY"], "context.1: Input should be a valid integer"),
        (["--context", "0,4", "--scene", "KEY", "--size", "big"], "size: String should match pattern"),
        (["--context", "0,4", "--scene", "KEY", "--size", "40x50"], "expected multiples of 16"),
        (["--context", "0,4", "--scene", "KEY", "--save", "everything"], "save.0: Input should be 'inputs'"),
        (["--context", "0,4", "--scene", "KEY", "--far", "0.2"], "near 0.5 and far 0.2"),
        (["--context", "0,4", "--scene", "KEY", "--device", "abacus"], "device 'abacus': cannot be used"),
        (["--context", "0", "--scene", "KEY"], "1 context view"),
        (["--context", "0,4", "--scene", "KEY", "--against", "depthsplat-tiny"], "expected a model of another name"),
        (["--context", "0,4", "--scene", "KEY", "--depth-as", "tif"], "depth_as.0: Input should be 'npy', 'exr' or"),
    ],
)
def test_faults_are_told_in_one_line(arguments, message, scenes, render, tmp_path):
    key = open_dataset(scenes).keys[0]
    given = [key if argument == "KEY" else argument for argument in arguments]
    status, said, error = render("depthsplat-tiny", scenes, "--output", tmp_path / "out", *RANGE, *given)
    lines = [line for line in error.splitlines() if line.startswith("pmgs render: ")]
    assert (status, said, len(lines)) == (2, "", 1)
    assert message in lines[0]
    assert not (tmp_path / "out").exists()
