"""A PLY file holds what was rendered: proven by reading it back, and by what happens to damaged bytes."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.recfunctions import repack_fields
from plyfile import PlyData, PlyElement

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.export import ply
from pmgs_lib.export.ply import read_ply, write_ply
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers import rasterize


def scene(degree: int, count: int = 40, seed: int = 0, dtype: torch.dtype = torch.float32) -> Gaussians:
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=dtype)  # noqa: E731
    return Gaussians(
        means=draw(count, 3) * torch.tensor([1.0, 0.7, 0.4], dtype=dtype) + torch.tensor([0, 0, 4.0], dtype=dtype),
        scales=(0.3 * draw(count, 3) - 2).exp(),
        quaternions=draw(count, 4),
        opacities=draw(count).sigmoid(),
        harmonics=0.3 * draw(count, (degree + 1) ** 2, 3),
    )


def assert_same(read: Gaussians, written: Gaussians) -> None:
    torch.testing.assert_close(read.means, written.means.float(), rtol=0, atol=0)
    torch.testing.assert_close(read.harmonics, written.harmonics.float(), rtol=0, atol=0)
    torch.testing.assert_close(read.scales, written.scales.float(), rtol=2e-5, atol=1e-20)
    torch.testing.assert_close(read.opacities, written.opacities.float(), rtol=0, atol=2e-6)
    torch.testing.assert_close(read.covariances(), written.covariances().float(), rtol=5e-5, atol=1e-7)


@pytest.mark.parametrize("degree", range(5))
def test_every_degree_comes_back(degree, tmp_path):
    written = scene(degree)
    write_ply(tmp_path / "scene.ply", written)
    read = read_ply(tmp_path / "scene.ply")
    assert read.degree == degree
    assert_same(read, written)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    count=st.integers(0, 12),
    degree=st.integers(0, 4),
    seed=st.integers(0, 2**20),
    size=st.floats(-30, 10),
    opacity=st.sampled_from([None, 0.0, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_scene_comes_back(count, degree, seed, size, opacity, dtype, tmp_path):
    base = scene(degree, count, seed, dtype)
    opacities = base.opacities if opacity is None else torch.full_like(base.opacities, opacity)
    written = Gaussians(base.means, base.scales * 2.0**size, base.quaternions, opacities, base.harmonics)
    write_ply(tmp_path / "scene.ply", written)
    read = read_ply(tmp_path / "scene.ply")
    torch.testing.assert_close(read.means, written.means.float(), rtol=0, atol=0)
    torch.testing.assert_close(read.harmonics, written.harmonics.float(), rtol=0, atol=0)
    torch.testing.assert_close(read.scales, written.scales.float(), rtol=2e-5, atol=1e-19)
    torch.testing.assert_close(read.opacities, opacities.float(), rtol=0, atol=2e-6)


def test_the_layout_is_that_of_the_original_code(tmp_path):
    written = scene(degree=1, count=3)
    write_ply(tmp_path / "scene.ply", written)
    ply = PlyData.read(str(tmp_path / "scene.ply"))
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 " + " ".join(f"f_rest_{i}" for i in range(9))
    names += " opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    vertex = ply["vertex"]
    assert [p.name for p in vertex.properties] == names.split()
    assert ply.byte_order == "<"
    # f_rest counts coefficients first: channel 1, coefficient 2 lies at 1 * 3 + (2 - 1).
    np.testing.assert_array_equal(vertex["f_rest_4"], written.harmonics[:, 2, 1].numpy())
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), written.opacities.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.exp(vertex["scale_1"]), written.scales[:, 1].numpy(), rtol=1e-5)
    unit = written.quaternions / written.quaternions.norm(dim=-1, keepdim=True)
    np.testing.assert_allclose(vertex["rot_0"], unit[:, 0].numpy(), atol=1e-6)


def test_big_endian_and_missing_normals_are_read_too(tmp_path):
    written = scene(degree=2)
    write_ply(tmp_path / "little.ply", written)
    data = PlyData.read(str(tmp_path / "little.ply"))["vertex"].data
    kept = without("nx", "ny", "nz")(np.array(data))
    PlyData([PlyElement.describe(kept, "vertex")], byte_order=">").write(str(tmp_path / "big.ply"))
    assert_same(read_ply(tmp_path / "big.ply"), written)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.full((40, 3), torch.nan)}, "means hold NaN"),
        ({"opacities": torch.full((40,), 1.5)}, r"outside \[0, 1\]"),
        ({"scales": torch.full((40, 3), -1.0)}, "scales are negative"),
        ({"quaternions": torch.zeros(40, 4)}, "length zero"),
    ],
)
def test_what_no_file_can_hold_is_refused_and_nothing_is_written(change, message, tmp_path):
    good = scene(0)
    with pytest.raises(ParameterError, match=message):
        write_ply(tmp_path / "scene.ply", Gaussians(**(vars(good) | change)))
    assert list(tmp_path.iterdir()) == []


def test_a_batch_is_refused_with_the_next_step(tmp_path):
    batch = Gaussians(*(v[None] for v in vars(scene(0)).values()))
    with pytest.raises(ParameterError, match=r"pass gaussians\[0\]"):
        write_ply(tmp_path / "scene.ply", batch)


def changed_file(path, change) -> None:
    """Rewrite a good file with its vertex table changed."""
    write_ply(path, scene(degree=1))
    table = change(np.array(PlyData.read(str(path))["vertex"].data))
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(path))


def without(*names):
    return lambda table: repack_fields(table[[n for n in table.dtype.names if n not in names]])


def with_value(name, value):
    def change(table):
        table[name][7] = value
        return table

    return change


def retyped(name, kind):
    return lambda table: table.astype([(n, kind if n == name else t) for n, t in table.dtype.descr])


def renamed(old, new):
    return lambda table: table.astype([(new if n == old else n, t) for n, t in table.dtype.descr])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("opacity"), "lacks properties opacity"),
        (without("x", "rot_3"), "lacks properties rot_3, x"),
        (without("f_rest_8"), r"has 8 properties f_rest_\*, expected one of \[0, 9, 24, 45, 72\]"),
        (without("f_rest_3"), "lacks properties f_rest_3"),
        (retyped("opacity", "u1"), "no floats in opacity"),
        (with_value("scale_1", np.nan), "property scale_1 is NaN or infinite in 1 of 40"),
        (with_value("scale_2", 100), r"a scale_\* is too large"),
        (with_value("x", np.inf), "property x is NaN or infinite"),
    ],
)
def test_an_odd_file_is_one_clear_error(change, message, tmp_path):
    path = tmp_path / "odd.ply"
    if message.startswith("lacks properties f_rest_3"):
        change = renamed("f_rest_3", "f_rest_9")
    changed_file(path, change)
    with pytest.raises(DataError, match=message):
        read_ply(path)


def test_a_zero_quaternion_in_a_file_is_refused(tmp_path):
    def change(table):
        for i in range(4):
            table[f"rot_{i}"][3] = 0
        return table

    changed_file(tmp_path / "odd.ply", change)
    with pytest.raises(DataError, match="length zero"):
        read_ply(tmp_path / "odd.ply")


HEADER = "ply\nformat binary_little_endian 1.0\nelement vertex 99999999999999\nproperty float x\nend_header\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a ply",
        b"ply\n",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n",
        HEADER.encode(),
        HEADER.replace("vertex", "face").encode(),
        HEADER.replace("float x", "list uchar int x").encode(),
        HEADER.replace("99999999999999", "-5").encode(),
        HEADER.replace("99999999999999", "0").replace("vertex", "face").encode(),
        b"ply\nformat binary_little_endian 1.0\n\xff\xfe\nend_header\n",
    ],
)
def test_bytes_that_are_no_splats_are_one_clear_error(content, tmp_path):
    path = tmp_path / "odd.ply"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.ply"):
        read_ply(path)


def test_a_folder_or_a_missing_file_is_one_clear_error(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.ply"):
        with pytest.raises(DataError, match="cannot be read"):
            read_ply(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "scene.ply"
    write_ply(path, scene(degree=0, count=5))
    whole = path.read_bytes()
    for end in range(0, len(whole) - 1, 17):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"scene\.ply"):
            read_ply(path)


@pytest.mark.filterwarnings("ignore:.*are not used:UserWarning")  # a property whose name was damaged
@pytest.mark.parametrize("rounds", [300, pytest.param(20_000, marks=pytest.mark.prove)])
def test_flipped_bytes_never_end_in_another_error(rounds, tmp_path):
    path = tmp_path / "scene.ply"
    write_ply(path, scene(degree=0, count=2))
    whole, random = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(5)
    for _ in range(rounds):
        mutant = whole.copy()
        mutant[random.integers(len(mutant), size=3)] = random.integers(256, size=3)
        path.write_bytes(mutant.tobytes())
        with suppress(DataError):  # a flipped number may also make another good file
            read_ply(path)


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scene.ply"
    write_ply(path, scene(degree=0))
    before = path.read_bytes()
    monkeypatch.setattr(ply, "_rows", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_ply(path, scene(degree=1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["scene.ply"]


def decibels(image: torch.Tensor, reference: torch.Tensor) -> float:
    return -10 * (image - reference).square().mean().clamp_min(1e-20).log10().item()


def front_and_side_cameras() -> Cameras:
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[1, :3] = torch.tensor([[0.6, 0.0, 0.8, -3.2], [0.0, 1.0, 0.0, 0.0], [-0.8, 0.0, 0.6, 1.6]])
    return Cameras(poses, torch.tensor([[1.0, 0, 0.5], [0, 1.3, 0.5], [0, 0, 1]]).expand(2, 3, 3))


@pytest.mark.parametrize("opacity", [None, 0.0, 1.0])
@pytest.mark.parametrize("degree", range(5))
def test_the_file_renders_as_the_scene_did(degree, opacity, tmp_path):
    base = scene(degree, count=60)
    opacities = base.opacities if opacity is None else torch.where(torch.arange(60) % 2 == 0, opacity, base.opacities)
    written = Gaussians(base.means, base.scales, base.quaternions, opacities, base.harmonics)
    write_ply(tmp_path / "scene.ply", written)
    before, after = (
        rasterize(g, front_and_side_cameras(), 32, 48, backend="reference").color
        for g in (written, read_ply(tmp_path / "scene.ply"))
    )
    assert before.std() > 0.05  # there is something to see
    assert decibels(after, before) >= 60
    assert (after - before).abs().max() < 1e-4


@pytest.mark.parametrize("lost", ["harmonics", "opacities", "quaternions", "scales"])
def test_the_proof_by_rendering_would_notice_a_loss(lost, tmp_path):
    whole = scene(degree=2, count=60)
    damage = {
        "harmonics": whole.harmonics * torch.tensor([1.0] + [0.0] * 8)[:, None],
        "opacities": whole.opacities.sigmoid(),
        "quaternions": whole.quaternions.roll(1, dims=-1),
        "scales": whole.scales.exp(),
    }
    damaged = Gaussians(**(vars(whole) | {lost: damage[lost]}))
    images = [rasterize(g, front_and_side_cameras(), 32, 48, backend="reference").color for g in (whole, damaged)]
    assert decibels(*images) < 40
