"""A file is proven by what it shows; `.splat` loses what it says, and no more."""

from contextlib import suppress

import numpy as np
import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import DataError, ExportError, ParameterError
from pmgs_lib.export import certify, read_splat, write_ply, write_splat, write_splats
from pmgs_lib.gaussians import Gaussians


def scene(degree: int, count: int = 60) -> Gaussians:
    rng = torch.Generator().manual_seed(1)
    return Gaussians(
        means=torch.randn(count, 3, generator=rng) * 0.7 + torch.tensor([0, 0, 4.0]),
        scales=(0.3 * torch.randn(count, 3, generator=rng) - 2).exp(),
        quaternions=torch.randn(count, 4, generator=rng),
        opacities=torch.rand(count, generator=rng),
        harmonics=0.3 * torch.randn(count, (degree + 1) ** 2, 3, generator=rng),
    )


@pytest.fixture
def cameras() -> Cameras:
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, 0, 3] = 0.5
    return Cameras(poses, torch.tensor([[1.0, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]]).repeat(2, 1, 1))


@pytest.mark.parametrize("degree", [0, 3])
def test_a_ply_is_certified_whole(degree, cameras, tmp_path):
    made = write_splats(tmp_path / "scene.ply", scene(degree), certify_with=cameras, height=32, width=48)
    assert made.psnr_db >= 60
    assert made.largest_difference < 1e-3
    assert made.coverage > 0.2
    assert made.lost == ()
    assert "dB" in str(made)


def test_a_splat_file_states_what_it_lost(cameras, tmp_path):
    flat, bent = (
        write_splats(tmp_path / f"{degree}.splat", scene(degree), certify_with=cameras, height=32, width=48)
        for degree in (0, 3)
    )
    assert flat.psnr_db == flat.kept_db >= 40
    assert bent.kept_db >= 40
    assert bent.psnr_db < 35  # view-dependent colour is gone, and the figure says so
    assert "harmonics above degree 0" in str(bent)


@pytest.mark.parametrize("suffix", [".ply", ".splat"])
def test_a_file_that_shows_something_else_is_no_export(suffix, cameras, tmp_path):
    path, whole = tmp_path / f"scene{suffix}", scene(0)
    write_splats(path, Gaussians(**(vars(whole) | {"quaternions": whole.quaternions.roll(1, dims=-1)})))
    with pytest.raises(ExportError, match="shows other pictures than what was written"):
        certify(path, whole, cameras, 32, 48)


def test_an_unknown_suffix_and_no_cameras_are_refused(cameras, tmp_path):
    with pytest.raises(ParameterError, match=r"ends in '.abc', expected one of .ply, .splat"):
        write_splats(tmp_path / "scene.abc", scene(0))
    write_ply(tmp_path / "scene.ply", scene(0))
    with pytest.raises(ParameterError, match="add one"):
        certify(tmp_path / "scene.ply", scene(0), cameras[:0], 32, 48)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_splat_comes_back_as_far_as_its_bytes_reach(count, tmp_path):
    written = scene(0, count)
    write_splat(tmp_path / "scene.splat", written)
    assert (tmp_path / "scene.splat").stat().st_size == 32 * count
    read = read_splat(tmp_path / "scene.splat")
    assert read.means.equal(written.means)
    assert read.scales.equal(written.scales)
    torch.testing.assert_close(read.opacities, written.opacities, rtol=0, atol=0.51 / 255)
    unit = [torch.nn.functional.normalize(each.quaternions, dim=-1) for each in (read, written)]
    assert ((unit[0] * unit[1]).sum(-1).abs() > 0.9998).all()


def test_damaged_splats_are_data_errors(tmp_path):
    path = tmp_path / "scene.splat"
    write_splat(path, scene(0, 3))
    whole, random = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(2)
    for end in (1, 31, 33, 95):
        path.write_bytes(whole[:end].tobytes())
        with pytest.raises(DataError, match="expected 32 a Gaussian"):
            read_splat(path)
    refused = 0
    for _ in range(300):
        mutant = random.integers(256, size=len(whole), dtype=np.uint8)
        path.write_bytes(mutant.tobytes())
        with suppress(DataError):  # random bytes may also be a scene
            assert read_splat(path).means.isfinite().all()
            continue
        refused += 1
    assert refused > 100
    with pytest.raises(DataError, match="cannot be read"):
        read_splat(tmp_path)
