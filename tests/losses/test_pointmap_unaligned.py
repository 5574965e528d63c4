"""PM-Loss without its alignment: the pointmap as it stands."""

import pytest
import torch

from pmgs_lib.losses import PointmapLoss


@pytest.fixture
def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    centres = torch.rand(2, 200, 3, generator=generator, dtype=torch.float64)
    return centres, centres + 0.01 * torch.randn(2, 200, 3, generator=generator, dtype=torch.float64)


def test_without_alignment_it_is_the_chamfer_distance_of_the_clouds_as_they_stand(clouds):
    centres, pointmap = clouds
    expected = torch.cdist(centres, pointmap).square().amin(-1).mean()
    assert torch.allclose(PointmapLoss(alignment="none")(centres, pointmap), expected, rtol=1e-9)


def test_only_the_alignment_makes_the_frame_of_the_pointmap_irrelevant(clouds):
    centres, pointmap = clouds
    moved = 1.5 * pointmap + 0.3
    assert torch.allclose(PointmapLoss()(centres, moved), PointmapLoss()(centres, pointmap), rtol=1e-6)
    assert PointmapLoss(alignment="none")(centres, moved) > 10 * PointmapLoss(alignment="none")(centres, pointmap)


def test_no_gradient_passes_to_the_centres_but_by_their_own_distances(clouds):
    centres, pointmap = clouds
    centres.requires_grad_()
    (gradient,) = torch.autograd.grad(PointmapLoss(alignment="none")(centres, pointmap), centres)
    nearest = torch.cdist(centres, pointmap).argmin(-1)
    offsets = centres - torch.stack([cloud[index] for cloud, index in zip(pointmap, nearest, strict=True)])
    assert torch.allclose(gradient, 2 * offsets / (2 * 200), rtol=1e-9, atol=1e-15)


def test_what_cannot_be_aligned_is_left_out_all_the_same(clouds):
    centres, pointmap = clouds
    pointmap[0] = pointmap[0, :1]
    details = PointmapLoss(alignment="none").details(centres, pointmap)
    assert details.excluded.tolist() == [True, False]
    assert details.scale.tolist() == [1.0, 1.0]
