"""PLY files of other programs: gsplat's exporter, other orders and properties, and the speed beside plyfile."""

import statistics
import time

import numpy as np
import pytest
import torch
from gsplat.exporter import export_splats
from plyfile import PlyData, PlyElement

from pmgs_lib.errors import DataError
from pmgs_lib.export.certification import write_splats
from pmgs_lib.export.ply import read_ply, write_ply
from pmgs_lib.export.splat_values import CHUNK_ROWS
from pmgs_lib.gaussians import Gaussians


def scene(degree: int, count: int = 50) -> Gaussians:
    rng = torch.Generator().manual_seed(3)
    opacities = torch.rand(count, generator=rng)
    opacities[:2] = torch.arange(2.0)[:count]  # both ends
    return Gaussians(
        means=torch.randn(count, 3, generator=rng),
        scales=torch.rand(count, 3, generator=rng) + 0.01,
        quaternions=torch.randn(count, 4, generator=rng),
        opacities=opacities,
        harmonics=torch.randn(count, (degree + 1) ** 2, 3, generator=rng),
    )


def exported_by_gsplat(gaussians: Gaussians, path) -> None:
    """The same Gaussians as gsplat writes them: it takes logarithms, logits and unit quaternions from its caller."""
    export_splats(
        gaussians.means,
        gaussians.scales.double().log().float(),
        torch.nn.functional.normalize(gaussians.quaternions.double(), dim=-1).float(),
        gaussians.opacities.double().clamp(1e-6, 1 - 1e-6).logit().float(),
        gaussians.harmonics[:, :1],
        gaussians.harmonics[:, 1:],
        save_to=str(path),
    )


@pytest.mark.parametrize("degree", range(5))
def test_fields_and_values_are_those_of_gsplats_exporter(degree, tmp_path):
    written = scene(degree)  # not an empty one: gsplat's exporter cannot write that, ours can
    exported_by_gsplat(written, tmp_path / "theirs.ply")
    write_ply(tmp_path / "ours.ply", written)
    theirs, ours = (PlyData.read(str(tmp_path / name))["vertex"] for name in ("theirs.ply", "ours.ply"))
    names = [p.name for p in ours.properties if p.name not in ("nx", "ny", "nz")]
    assert [p.name for p in theirs.properties] == names
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7, err_msg=name)
    read = [read_ply(tmp_path / name) for name in ("theirs.ply", "ours.ply")]
    for name in vars(written):
        torch.testing.assert_close(*(getattr(each, name) for each in read), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("degree", range(5))
def test_an_empty_scene_comes_back(degree, tmp_path):
    write_ply(tmp_path / "empty.ply", scene(degree, 0))
    read = read_ply(tmp_path / "empty.ply")
    assert (read.count, read.degree) == (0, degree)


def rewritten(path, order) -> None:
    table = np.array(PlyData.read(str(path))["vertex"].data)
    fields = order(table.dtype.descr)
    changed = np.zeros(len(table), fields)
    for name, *_ in fields:
        if name in table.dtype.names:
            changed[name] = table[name]
    PlyData([PlyElement.describe(changed, "vertex")], byte_order="<").write(str(path))


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_the_order_and_the_precision_of_properties_do_not_matter(kind, tmp_path):
    written = scene(2)
    write_ply(tmp_path / "plain.ply", written)
    write_ply(tmp_path / "odd.ply", written)
    rewritten(tmp_path / "odd.ply", lambda fields: [(name, kind) for name, _ in reversed(fields)])
    plain, odd = read_ply(tmp_path / "plain.ply"), read_ply(tmp_path / "odd.ply")
    for name in vars(plain):
        assert getattr(odd, name).equal(getattr(plain, name)), name


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_a_scene_of_several_parts_comes_back_in_order(kind, tmp_path):
    written = scene(1, 2 * CHUNK_ROWS + 5)
    write_ply(tmp_path / "scene.ply", written)
    rewritten(tmp_path / "scene.ply", lambda fields: [(name, kind) for name, _ in fields])
    read = read_ply(tmp_path / "scene.ply")
    assert read.means.equal(written.means)
    assert read.harmonics.equal(written.harmonics)
    torch.testing.assert_close(read.scales, written.scales, rtol=1e-5, atol=0)
    torch.testing.assert_close(read.opacities, written.opacities, rtol=0, atol=2e-6)


@pytest.mark.parametrize("suffix", [".ply", ".splat"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(suffix, tmp_path, full_disk):
    path = tmp_path / f"scene{suffix}"
    write_splats(path, scene(0, 4))
    before = path.read_bytes()
    with pytest.raises(OSError, match="File too large"), full_disk(len(before) + 100):
        write_splats(path, scene(0, 500))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("extra", [("filter_3D", "<f4"), ("red", "u1")])
def test_further_properties_are_named_and_not_used(extra, tmp_path):
    written = scene(1)
    write_ply(tmp_path / "scene.ply", written)
    rewritten(tmp_path / "scene.ply", lambda fields: [*fields[:3], extra, *fields[3:]])
    with pytest.warns(UserWarning, match=f"properties {extra[0]} are not used"):
        read = read_ply(tmp_path / "scene.ply")
    assert read.harmonics.equal(written.harmonics)
    assert read.means.equal(written.means)


def test_text_and_compressed_files_are_refused_with_the_next_step(tmp_path):
    path = tmp_path / "scene.ply"
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n")
    with pytest.raises(DataError, match="text ply, expected a binary one; save it as binary"):
        read_ply(path)
    table = np.zeros(2, [("packed_position", "<u4")])
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(path))
    with pytest.raises(DataError, match="compressed ply"):
        read_ply(path)


def seconds(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@pytest.mark.parametrize("column", ["f_rest_0", "rot_3", "scale_0", "opacity", "z", "f_dc_1"])
@pytest.mark.parametrize("kind", ["<f4", "<f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_of_a_file_escapes_the_check(column, kind, value, tmp_path):
    path = tmp_path / "scene.ply"
    write_ply(path, scene(1))
    rewritten(path, lambda fields: [(name, kind) for name, _ in fields])
    ply = PlyData.read(str(path), mmap=False)
    ply["vertex"][column][[4, 11]] = value
    ply.write(str(path))
    with pytest.raises(DataError, match=f"property {column} is NaN or infinite in 2 of 50 vertices"):
        read_ply(path)


@pytest.mark.prove
@pytest.mark.timing
def test_a_million_gaussians_take_no_longer_than_plyfile(tmp_path, record_property):
    path, other, count = tmp_path / "scene.ply", tmp_path / "plyfile.ply", 1_000_000
    written = scene(3, count)
    write_ply(path, written)
    names = [p.name for p in PlyData.read(str(path))["vertex"].properties]

    def write_with_plyfile():
        table = np.empty(count, [(name, "<f4") for name in names])
        columns = torch.cat(
            [written.means, written.means, written.harmonics.mT.flatten(1), written.opacities[:, None],
             written.scales, written.quaternions], dim=1,
        ).numpy()  # fmt: skip
        for place, name in enumerate(names):
            table[name] = columns[:, place]
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(other))

    def read_with_plyfile():
        vertex = PlyData.read(str(path))["vertex"]
        return np.stack([vertex[name] for name in names], axis=1)

    calls = {
        "write": lambda: write_ply(path, written),
        "write_plyfile": write_with_plyfile,
        "read": lambda: read_ply(path),
        "read_plyfile": read_with_plyfile,
    }
    for call in calls.values():  # the kernel is compiled, the files are in memory
        call()
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(5)]  # side by side in time
    found = {name: statistics.median(each[name] for each in rounds) for name in calls}
    ratios = {
        way: statistics.median(each[way] / each[f"{way}_plyfile"] for each in rounds) for way in ("write", "read")
    }
    for name, value in (found | {f"{way}_ratio": ratio for way, ratio in ratios.items()}).items():
        record_property(name, value)
    assert max(found["write"], found["read"]) <= 2, found
    assert max(ratios.values()) <= 1, (ratios, found)
