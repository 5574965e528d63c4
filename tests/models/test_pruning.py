"""Pruning by opacity: what is left, in which order, how many are gone."""

import pytest
import torch

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.pruning import pruned
from pmgs_lib.rasterizers import rasterize


def scene(rng: torch.Generator, count: int = 50) -> Gaussians:
    shapes = {"means": (count, 3), "scales": (count, 3), "quaternions": (count, 4), "harmonics": (count, 4, 3)}
    return Gaussians(
        opacities=torch.rand(count, generator=rng), **{k: torch.rand(s, generator=rng) for k, s in shapes.items()}
    )


@pytest.mark.parametrize("rule", [{"minimum_opacity": 0.4}, {"keep_share": 0.3}], ids=lambda rule: next(iter(rule)))
def test_the_most_opaque_stay_in_their_order_and_all_are_counted(rng, rule):
    whole = scene(rng)
    result = pruned(whole, **rule)
    assert result.kept + result.removed == whole.count
    assert 0 < result.kept < whole.count
    least = result.gaussians.opacities.min()
    stays = whole.opacities >= least
    assert result.removed == (~stays).sum()
    for name, value in vars(whole).items():
        assert torch.equal(vars(result.gaussians)[name], value[stays])
    if "keep_share" in rule:
        assert result.kept == 15
    else:
        assert least >= 0.4 > whole.opacities[~stays].max()


def test_ends_of_both_rules(rng):
    whole = scene(rng)
    assert pruned(whole, keep_share=1.0).removed == 0
    assert pruned(whole, minimum_opacity=0.0).removed == 0
    assert pruned(whole, keep_share=1e-9).kept == 1
    assert pruned(whole, minimum_opacity=1.0).kept == 0


def test_equal_opacities_keep_exactly_the_share(rng):
    whole = scene(rng)
    flat = Gaussians(whole.means, whole.scales, whole.quaternions, torch.full((50,), 0.5), whole.harmonics)
    assert pruned(flat, keep_share=0.5).kept == 25


def test_what_nobody_sees_is_not_missed(rng):
    """Alphas under 1/255 are skipped by every rasterizer, so leaving them out changes no pixel."""
    whole = scene(rng)
    faint = torch.where(torch.arange(50) % 2 == 0, whole.opacities, torch.tensor(1e-3))
    means = whole.means + torch.tensor([-0.5, -0.5, 2.0])
    given = Gaussians(means, 0.1 * whole.scales, whole.quaternions, faint, whole.harmonics)
    camera = Cameras(torch.eye(4), torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]]))
    result = pruned(given, minimum_opacity=1 / 255)
    assert result.removed == 25
    before, after = (rasterize(g, camera, 16, 16, backend="cpu").color for g in (given, result.gaussians))
    assert before.max() > 0.1
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "minimum_opacity None and keep_share None; expected exactly one"),
        ({"minimum_opacity": 0.1, "keep_share": 0.5}, "expected exactly one"),
        ({"minimum_opacity": 1.5}, "minimum_opacity 1.5; expected a number from 0 to 1"),
        ({"keep_share": 0.0}, "keep_share 0; expected above 0"),
        ({"minimum_opacity": float("nan")}, "minimum_opacity nan"),
    ],
)
def test_unusable_rules_are_refused(rng, rule, message):
    with pytest.raises(ParameterError, match=message):
        pruned(scene(rng), **rule)


def test_batches_are_refused(rng):
    whole = scene(rng)
    batch = Gaussians(*(value[None] for value in vars(whole).values()))
    with pytest.raises(ParameterError, match=r"batch shape \(1,\); expected one scene"):
        pruned(batch, keep_share=0.5)
