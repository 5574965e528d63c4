"""The pointmap from exact depth: right where it is undisturbed, disturbed as promised, the same for the same scene."""

import pytest
import torch
from torch.testing import assert_close

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import ParameterError
from pmgs_lib.geometry.pose import quaternion_to_matrix
from pmgs_lib.geometry.similarity import similarity_transform
from pmgs_lib.losses import PointmapLoss
from pmgs_lib.pointmaps import SOURCES, DepthPointmap, Pointmap, PointmapSource, build_pointmap_source
from pmgs_lib.views import Views


def scenes(*batch, rng, views=2, height=12, width=16):
    poses = torch.eye(4).repeat(*batch, views, 1, 1)
    poses[..., :3, :3] = quaternion_to_matrix(torch.randn(*batch, views, 4, generator=rng))
    poses[..., :3, 3] = torch.randn(*batch, views, 3, generator=rng)
    intrinsics = torch.tensor([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]).expand(*batch, views, 3, 3)
    return Views(
        images=torch.rand(*batch, views, 3, height, width, generator=rng),
        cameras=Cameras(poses, intrinsics),
        near=torch.full(batch, 0.5),
        far=torch.full(batch, 40.0),
        depth=torch.rand(*batch, views, height, width, generator=rng) * 5 + 1,
    )


def surface(views):
    return views.cameras.unproject(views.depth)


@pytest.mark.parametrize("batch", [(), (1,), (3,)], ids=str)
def test_without_noise_it_is_the_surface_in_another_frame(batch, rng):
    views = scenes(*batch, rng=rng)
    pointmap = DepthPointmap(noise=0.0)(views)
    assert pointmap.shape == (*batch, 2, 12, 16, 3)
    found = similarity_transform(pointmap.flatten(-4, -2), surface(views).flatten(-4, -2))
    assert_close(found.apply(pointmap.flatten(-4, -2)), surface(views).flatten(-4, -2), atol=1e-4, rtol=1e-4)
    assert ((found.scale > 0.5) & (found.scale < 2)).all()
    # The alignment has work to do.
    assert (found.rotation - torch.eye(3)).norm(dim=(-2, -1)).min() > 0.1
    assert found.translation.norm(dim=-1).min() > 0.01


def test_noise_is_a_share_of_the_depth_along_the_ray(rng):
    views = scenes(rng=rng, height=60, width=80)
    plain = {"largest_scale": 1.0, "largest_shift": 0.0, "seed": 4}
    exact, noisy = DepthPointmap(noise=0.0, **plain)(views), DepthPointmap(noise=0.05, **plain)(views)
    rotation = similarity_transform(surface(views).flatten(0, 2), exact.flatten(0, 2)).rotation
    centres = views.cameras.centers @ rotation.T
    away = exact - centres[:, None, None]
    factor = ((noisy - centres[:, None, None]) * away).sum(-1) / away.square().sum(-1)
    assert_close(noisy, centres[:, None, None] + factor[..., None] * away, atol=1e-3, rtol=1e-3)
    assert factor.mean().item() == pytest.approx(1, abs=0.003)
    assert factor.std().item() == pytest.approx(0.05, rel=0.05)


def test_immense_noise_stays_before_the_camera(rng):
    views = scenes(rng=rng)
    plain = {"largest_scale": 1.0, "largest_shift": 0.0}
    exact, noisy = DepthPointmap(noise=0.0, **plain)(views), DepthPointmap(noise=3.0, **plain)(views)
    rotation = similarity_transform(surface(views).flatten(0, 2), exact.flatten(0, 2)).rotation
    centres = (views.cameras.centers @ rotation.T)[:, None, None]
    assert (((noisy - centres) * (exact - centres)).sum(-1) > 0).all()


def test_the_same_scene_gives_the_same_pointmap_wherever_it_stands(rng):
    views = scenes(3, rng=rng)
    together = DepthPointmap(seed=1)(views)
    for item in range(3):
        assert torch.equal(DepthPointmap(seed=1)(views[item : item + 1])[0], together[item])
    assert torch.equal(DepthPointmap(seed=1)(views[1]), together[1])
    assert not torch.allclose(DepthPointmap(seed=2)(views), together)
    assert torch.equal(DepthPointmap(seed=1)(views, ("a", "b", "c")), together)


def test_every_scene_has_a_frame_of_its_own(rng):
    views = scenes(3, rng=rng)
    found = similarity_transform(surface(views).flatten(1, 3), DepthPointmap(noise=0.0)(views).flatten(1, 3))
    assert torch.cdist(found.rotation.flatten(1), found.rotation.flatten(1))[[0, 0, 1], [1, 2, 2]].min() > 0.1
    assert len({round(scale, 3) for scale in found.scale.tolist()}) == 3


def test_pm_loss_sees_noise_and_nothing_else(rng):
    views = scenes(2, rng=rng)
    means = surface(views).flatten(1, 3)
    assert PointmapLoss()(means, DepthPointmap(noise=0.0)(views).flatten(1, 3)) < 1e-9
    details = PointmapLoss().details(surface(views), DepthPointmap(noise=0.05)(views))
    assert (details.loss > 1e-4).all()
    assert not details.excluded.any()


def test_no_gradient_and_the_dtype_of_the_depth(rng):
    views = scenes(rng=rng)
    views.depth.requires_grad_()
    pointmap = DepthPointmap()(views)
    assert not pointmap.requires_grad
    assert pointmap.dtype == torch.float32
    assert DepthPointmap()(views.to(torch.float64)).dtype == torch.float64


def test_views_without_depth_are_refused(rng):
    views = scenes(rng=rng)
    blind = Views(views.images, views.cameras, views.near, views.far)
    with pytest.raises(ParameterError, match="kitchen has no known depth, expected it in"):
        DepthPointmap()(blind, "kitchen")


@pytest.mark.parametrize(
    "options", [{"noise": -0.1}, {"noise": float("nan")}, {"largest_scale": 0.5}, {"largest_shift": -1.0}]
)
def test_unusable_options_are_refused(options):
    with pytest.raises(ParameterError, match="DepthPointmap"):
        DepthPointmap(**options)


def test_a_source_of_the_wrong_shape_is_caught(rng):
    class Flat(PointmapSource):
        def pointmap(self, context, key):
            return Pointmap(torch.zeros(2, 5, 5, 3))

    with pytest.raises(
        ParameterError, match=r"Flat: returned points of shape \(2, 5, 5, 3\), expected \(2, 12, 16, 3\)"
    ):
        Flat()(scenes(rng=rng))


def test_registry():
    assert sorted(SOURCES) == ["cached", "depth", "depth-anything-3", "vggt", "vggt-depth"]
    assert build_pointmap_source("depth", noise=0.1, seed=7).seed == 7
    with pytest.raises(ParameterError, match="no source is called 'vggt2', expected one of depth, vggt"):
        build_pointmap_source("vggt2")
    with pytest.raises(ParameterError, match="depth has no option 'noize', expected some of noise"):
        build_pointmap_source("depth", noize=0.1)
