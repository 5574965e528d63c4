"""Every backend finds the nearest point, and says so when it cannot."""

import importlib.util
import logging
import threading
import time

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch.testing import assert_close

from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.geometry import nearest
from pmgs_lib.geometry.nearest import nearest_neighbors


def cloud(kind, count, rng, dtype=torch.float32):
    points = torch.randn(count, 3, generator=rng, dtype=torch.float64)
    if kind == "plane":
        points[:, 2] = 0.5
    elif kind == "line":
        points[:, 1:] = points[:, :1]
    elif kind == "lattice":
        points = (points * 3).round()
    elif kind == "heaps":
        points = points[torch.randint(0, min(3, count), (count,), generator=rng)]
    elif kind == "far":
        points = points * 0.1 + 1000
    elif kind == "uneven":
        points = points * 10 ** (3 * points[:, :1])
    return points.to(dtype)


@pytest.mark.parametrize("backend", ["kdtree", "scipy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["ball", "plane", "line", "lattice", "heaps", "far", "uneven"])
@pytest.mark.parametrize("count", [1, 2, 32, 33, 700])
def test_equal_to_brute_force(backend, dtype, kind, count, rng):
    reference, query = cloud(kind, count, rng, dtype), cloud(kind, 300, rng, dtype)
    found = nearest_neighbors(query, reference, backend=backend)
    oracle = nearest_neighbors(query, reference, backend="brute")
    if backend == "kdtree":
        # Not merely close: pruning rounds like the distances themselves.
        assert torch.equal(found.squared_distances, oracle.squared_distances)
    assert_close(found.squared_distances, oracle.squared_distances, rtol=1e-6, atol=0)
    assert found.indices.dtype == torch.int64


def test_the_oracle_itself():
    reference = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
    found = nearest_neighbors(torch.tensor([[0.6, 0, 0], [0, 1.5, 0]]), reference, backend="brute")
    assert found.indices.tolist() == [1, 2]
    assert_close(found.squared_distances, torch.tensor([0.16, 0.25]))


def test_many_points_against_scipy(rng):
    reference, query = cloud("ball", 60_000, rng), cloud("ball", 20_000, rng)
    found = nearest_neighbors(query, reference)
    distances, indices = cKDTree(reference.numpy()).query(query.numpy())
    exact = (query.double() - reference[found.indices].double()).norm(dim=-1).numpy()
    # A rounding of float32 apart at most: that is what "nearest" means in the dtype of the points.
    np.testing.assert_allclose(exact, distances, rtol=1e-6)
    assert (found.indices.numpy() == indices).mean() > 0.999


def test_a_hundred_thousand_identical_points_are_no_trap(rng):
    reference = torch.cat([torch.full((100_000, 3), 0.25), cloud("ball", 100, rng)])
    query = cloud("ball", 5_000, rng)
    start = time.perf_counter()
    found = nearest_neighbors(query, reference)
    assert time.perf_counter() - start < 20
    assert torch.equal(found.squared_distances, nearest_neighbors(query, reference, backend="scipy").squared_distances)


@pytest.mark.parametrize("batch", [(), (1,), (3, 1, 2)], ids=str)
def test_a_batch_is_a_loop(batch, rng):
    query = torch.randn(*batch, 11, 3, generator=rng)
    reference = torch.randn(*batch, 7, 3, generator=rng)
    found = nearest_neighbors(query, reference)
    assert found.indices.shape == found.squared_distances.shape == (*batch, 11)
    for item in np.ndindex(batch):
        alone = nearest_neighbors(query[item], reference[item])
        assert torch.equal(found.indices[item], alone.indices)
        assert torch.equal(found.squared_distances[item], alone.squared_distances)


def test_gradients_reach_both_clouds(rng):
    query = torch.randn(2, 9, 3, generator=rng, dtype=torch.float64).requires_grad_()
    reference = torch.randn(2, 6, 3, generator=rng, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda q, r: nearest_neighbors(q, r).squared_distances, [query, reference])


def test_half_precision_is_searched_in_float32(rng):
    query, reference = cloud("ball", 50, rng).half(), cloud("ball", 60, rng).half()
    found = nearest_neighbors(query, reference).indices
    oracle = nearest_neighbors(query.float(), reference.float(), backend="brute").indices
    assert torch.equal(found, oracle)


def test_float32_far_from_the_origin_is_safe(rng):
    """The expanded square |a|² + b² - 2ab is wrong by more than the distances themselves here."""
    reference, query = cloud("far", 3000, rng), cloud("far", 1000, rng)
    exact = nearest_neighbors(query.double(), reference.double(), backend="brute")
    found = nearest_neighbors(query, reference)
    assert_close(found.squared_distances.double(), exact.squared_distances, rtol=1e-5, atol=0)


def test_two_threads_at_once(rng):
    reference, query = cloud("ball", 5000, rng), cloud("ball", 5000, rng)
    expected = nearest_neighbors(query, reference).indices
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(nearest_neighbors(query, reference).indices)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(indices, expected) for indices in found)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("spoilt", ["query", "reference"])
def test_unusable_points_are_refused(value, spoilt, rng):
    clouds = {"query": cloud("ball", 5, rng), "reference": cloud("ball", 5, rng)}
    clouds[spoilt][2, 1] = value
    with pytest.raises(ParameterError, match=f"{spoilt} holds NaN, infinite or immense"):
        nearest_neighbors(**clouds)


def test_empty_clouds_are_refused():
    with pytest.raises(ParameterError, match=r"reference is torch.float32 of shape \(0, 3\)"):
        nearest_neighbors(torch.zeros(2, 3), torch.zeros(0, 3))


def test_an_unknown_backend_is_named():
    with pytest.raises(
        ParameterError, match="no backend is called 'faiss', expected auto, kdtree, triton, scipy, brute"
    ):
        nearest_neighbors(torch.zeros(2, 3), torch.zeros(2, 3), backend="faiss")


def test_pytorch3d_serves_or_says_that_it_is_absent(rng):
    query, reference = cloud("ball", 50, rng), cloud("ball", 60, rng)
    if importlib.util.find_spec("pytorch3d") is None:
        with pytest.raises(BackendError, match="needs the package pytorch3d, which is not installed"):
            nearest_neighbors(query, reference, backend="pytorch3d")
    else:
        found = nearest_neighbors(query, reference, backend="pytorch3d").indices
        assert torch.equal(found, nearest_neighbors(query, reference, backend="brute").indices)


def test_auto_says_what_it_chose(caplog):
    nearest.choose_backend.cache_clear()
    with caplog.at_level(logging.INFO, logger=nearest.logger.name):
        assert nearest.choose_backend("cpu")[0] == "kdtree"
        assert nearest.choose_backend("xpu")[0] == "kdtree"
        on_cuda = nearest.choose_backend("cuda")[0]
    assert on_cuda == ("triton" if importlib.util.find_spec("triton") else "kdtree")
    assert [record.levelname for record in caplog.records[:2]] == ["INFO", "WARNING"]
    assert "travel to the host" in caplog.text


def depth_cloud(views, height, width, noise, rng):
    """Points of views of a room with boxes and a sky, and the same points with their depth disturbed."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clouds = []
    for view in range(views):
        depth = (1.2 / ((rows / height - 0.5).abs() + 1e-3)).clamp(1, 6)
        for row, column, size, near in torch.rand(12, 4, generator=rng).tolist():
            inside = (rows - row * height).abs().maximum((columns - column * width).abs()) < 10 + 50 * size
            depth = torch.where(inside, depth.minimum(torch.tensor(1.5 + 4 * near)), depth)
        depth = torch.where(rows < 0.15 * height, 30.0, depth)
        rays = torch.stack([columns / width - 0.5, (rows - height / 2) / width, torch.ones_like(depth)], -1)
        turn, along = 0.15 * view, torch.tensor([0.3 * view, 0, 0.1 * view])
        rotation = torch.tensor(
            [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]], dtype=torch.float32
        )
        factor = 1 + noise * torch.randn(depth.shape, generator=rng)
        clouds.append([(rays * d[..., None]).flatten(0, 1) @ rotation.T + along for d in (depth, depth * factor)])
    return torch.cat([pair[0] for pair in clouds]), torch.cat([pair[1] for pair in clouds])


@pytest.mark.prove
@pytest.mark.timing
@pytest.mark.parametrize("noise", [0.0, 0.005, 0.05, 0.3])
@pytest.mark.parametrize("views", [2, 6])
def test_three_times_as_fast_as_scipy(views, noise, rng, record_property):
    reference, query = depth_cloud(views, 256, 448, noise, rng)
    times = {"kdtree": [], "scipy": []}
    nearest_neighbors(query[:9], reference[:9])
    for _ in range(7):
        for backend in times:
            start = time.perf_counter()
            found = nearest.nearest_indices(query, reference, backend=backend)
            times[backend].append(time.perf_counter() - start)
    own, scipy = (sorted(times[backend])[3] for backend in ("kdtree", "scipy"))
    record_property("seconds", own)
    record_property("ratio", scipy / own)
    exact = (query.double() - reference[found].double()).norm(dim=-1)
    kdtree = (query.double() - reference[nearest.nearest_indices(query, reference)].double()).norm(dim=-1)
    assert_close(kdtree, exact, rtol=1e-6, atol=1e-9)
    assert scipy / own >= 3, f"{len(reference)} points, noise {noise}: {own:.3f} s against scipy's {scipy:.3f} s"
