"""What PM-Loss costs beside the search for neighbours that it cannot do without."""

import sys
import time
from pathlib import Path

import pytest

from pmgs_lib.geometry.nearest import nearest_indices
from pmgs_lib.losses import PointmapLoss

sys.path.insert(0, str(Path(__file__).parents[1] / "geometry"))
from test_nearest import depth_cloud


@pytest.mark.prove
@pytest.mark.timing
@pytest.mark.parametrize("noise", [0.005, 0.05, 0.3])
@pytest.mark.parametrize("views", [2, 6])
def test_the_loss_with_its_gradient_costs_half_as_much_again_as_the_search(views, noise, rng, record_property):
    """Timings are a user's: run with PMGS_CHECK_SHAPES=0. Without noise the bare search is no work, so no measure."""
    reference, query = depth_cloud(views, 256, 448, noise, rng)
    loss = PointmapLoss()

    def step():
        means = query[None].clone().requires_grad_()
        loss(means, reference[None]).backward()

    times = {"search": [], "loss": []}
    step()
    for _ in range(7):
        for name, work in (("search", lambda: nearest_indices(query, reference)), ("loss", step)):
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    search, whole = (sorted(times[name])[3] for name in ("search", "loss"))
    record_property("seconds", whole)
    record_property("ratio", whole / search)
    assert whole <= 1.5 * search, f"{len(query)} points, noise {noise}: {whole:.3f} s against {search:.3f} s"
