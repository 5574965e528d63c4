"""Unusual views: each works, or the error says why it cannot."""

from dataclasses import replace

import pytest
import torch
from depthsplat_tiny import GENERATIONS, HEIGHT, WIDTH, assert_same, context, disturbed, tensors

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.models.checks import ROUNDING, check_context
from pmgs_lib.models.matching.transformer import nearest_views
from pmgs_lib.views import Views


@pytest.fixture(scope="module", params=GENERATIONS)
def model(request) -> torch.nn.Module:
    return disturbed(**GENERATIONS[request.param]).eval()


def with_poses(views: Views, poses: torch.Tensor) -> Views:
    return replace(views, cameras=Cameras(poses, views.cameras.intrinsics))


def spoilt(field: str, value: float, at: tuple[int, ...]) -> Views:
    """Two scenes of three views with one number replaced."""
    views = context(batch=2, views=3)
    whole = {"images": views.images.clone(), "near": views.near.clone(), "far": views.far.clone()}
    poses, intrinsics = views.cameras.world_from_camera.clone(), views.cameras.intrinsics.clone()
    (whole | {"pose": poses, "intrinsics": intrinsics})[field][at] = value
    return Views(**whole, cameras=Cameras(poses, intrinsics))


NAN, INFINITE = float("nan"), float("inf")
REFUSED = {
    "one view": (context(views=1), "1 context view; expected at least 2, since depth comes from matching"),
    "rows that do not divide": (context(height=60), r"images of 60 x 48; .* multiples of 16: .* example to 48 x 48"),
    "columns that do not divide": (context(width=50), r"images of 32 x 50; .* multiples of 16: .* example to 32 x 48"),
    "too small": (context(height=8), "images of 8 x 48; expected multiples of 16: .* for example to 16 x 48"),
    "no batch": (context()[0], r"have batch shape \(\); expected \(batch,\): stack scenes with Views.stack"),
    "near equals far": (
        spoilt("far", 0.5, (1,)),
        r"depth ranges 0\.5\.\.40, 0\.5\.\.0\.5; expected finite 0 < near < far",
    ),
    "near behind the camera": (spoilt("near", -1.0, (0,)), r"depth ranges -1\.\.40, 0\.5\.\.40; expected finite 0 <"),
    "near unknown": (spoilt("near", NAN, (0,)), r"depth ranges nan\.\.40"),
    "far without end": (spoilt("far", INFINITE, (0,)), r"depth ranges 0\.5\.\.inf"),
    "image with a hole": (spoilt("images", NAN, (1, 2, 0, 3, 4)), "the image of scene 1, view 2 has NaN or infinite"),
    "pose unknown": (spoilt("pose", NAN, (1, 0, 1, 3)), "scene 1: camera 0 has a NaN or infinite pose"),
    "intrinsics unknown": (spoilt("intrinsics", INFINITE, (0, 2, 0, 0)), "scene 0: camera 2 has a NaN or infinite"),
    "negative focal length": (spoilt("intrinsics", -0.9, (0, 1, 1, 1)), "scene 0: camera 1 has a focal length that is"),
    "stretched rotation": (spoilt("pose", 1.01, (0, 2, 1, 1)), "scene 0: camera 2 has no rotation in its pose"),
    "mirrored rotation": (spoilt("pose", -1.0, (0, 2, 1, 1)), "scene 0: camera 2 is mirrored"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_unusable_views_are_refused_in_one_line(model, what):
    views, message = REFUSED[what]
    with pytest.raises((ParameterError, DataError), match=message) as caught:
        model(views)
    assert str(caught.value).startswith("DepthSplat: ")
    assert "\n" not in str(caught.value)


def test_good_views_are_looked_at_once(monkeypatch):
    """Each look at a number makes the host wait for the device: one is what the checks may cost."""
    looks, truth = [], torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: looks.append(self) or truth(self))
    for name in ("item", "tolist", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, n=name: pytest.fail(f"{n} of a tensor"))
    check_context("Model", context(batch=2, views=5), 16)
    assert len(looks) == 1


@pytest.mark.parametrize("size", [(64, 32), (48, 16), (16, 48)])
@torch.no_grad()
def test_portrait_and_other_sizes(model, size):
    prediction = model(context(height=size[0], width=size[1]))
    assert prediction.depth.shape[-2:] == size
    assert all(value.isfinite().all() for value in tensors(prediction).values())


@pytest.mark.parametrize("turned", [True, False], ids=["turned on the spot", "all the same"])
@torch.no_grad()
def test_views_with_identical_centres(model, turned):
    views = context(views=5)
    poses = views.cameras.world_from_camera.clone() if turned else torch.eye(4).repeat(1, 5, 1, 1)
    poses[..., :3, 3] = 0.3
    neighbours = nearest_views(poses[..., :3, 3], model.config.nearest_views, model.config.all_pairs_up_to)
    assert (neighbours != torch.arange(5)[:, None]).all()
    prediction = model(with_poses(views, poses))
    assert all(value.isfinite().all() for value in tensors(prediction).values())


@pytest.mark.parametrize("generation", GENERATIONS)
@torch.no_grad()
def test_mixed_focal_lengths_are_swept_with_the_intrinsics_of_each_view(generation):
    mended, released = (disturbed(**GENERATIONS[generation], reference_intrinsics=r).eval() for r in (False, True))
    views = context(views=3)
    torch.testing.assert_close(mended(views).depth, released(views).depth, atol=1e-5, rtol=1e-5)
    intrinsics = views.cameras.intrinsics.clone()
    intrinsics[:, 1, :2, :2] *= 1.5
    mixed = replace(views, cameras=Cameras(views.cameras.world_from_camera, intrinsics))
    assert mended(mixed).depth.isfinite().all()
    assert (1 / mended(mixed).depth - 1 / released(mixed).depth).abs().max() > 1e-3


@torch.no_grad()
def test_slightly_skewed_rotations_count_as_the_nearest_rotation(model):
    views = context(batch=2, views=3)
    skew = 1e-4 * torch.randn(2, 3, 3, 3)
    poses = views.cameras.world_from_camera.clone()
    poses[..., :3, :3] = poses[..., :3, :3] @ (torch.eye(3) + skew)
    found = model(with_poses(views, poses))
    torch.testing.assert_close(found.gaussians.quaternions.norm(dim=-1), torch.ones(2, 3 * HEIGHT * WIDTH))
    left, _, right = torch.linalg.svd(poses[..., :3, :3].double())
    exact = poses.clone()
    exact[..., :3, :3] = (left @ right).float()
    assert_same(found, model(with_poses(views, exact)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("skew", [0.9e-3, 3e-4, 2 * ROUNDING])
def test_nearest_rotation_is_that_of_the_singular_value_decomposition(skew):
    views = context(views=4).to(torch.float64)
    poses = views.cameras.world_from_camera.clone()
    noise = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    noise = noise + noise.mT
    poses[..., :3, :3] @= torch.eye(3) + 0.49 * skew * noise / noise.abs().amax()
    rotation = check_context("Model", with_poses(views, poses), 16).cameras.world_from_camera[..., :3, :3]
    left, _, right = torch.linalg.svd(poses[..., :3, :3])
    torch.testing.assert_close(rotation, left @ right, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(1, 4).double(), atol=3 * ROUNDING, rtol=0)


def test_rounded_rotations_stay_as_they_are():
    views = context(views=4)
    assert torch.equal(check_context("Model", views, 16).cameras.world_from_camera, views.cameras.world_from_camera)


@torch.no_grad()
def test_scenes_of_one_batch_may_have_different_depth_ranges(model):
    views = replace(context(batch=2, views=3), near=torch.tensor([0.5, 2.0]), far=torch.tensor([40.0, 6.0]))
    together = model(views)
    for scene in range(2):
        alone = model(views[scene : scene + 1])
        for name, value in tensors(alone).items():
            torch.testing.assert_close(tensors(together)[name][scene], value[0], atol=1e-4, rtol=1e-3)
    # The range is that of the matched depth, which stands for the length of the ray with `unit_rays`.
    assert together.depth[0].min() < 1.5 < together.depth[1].min()
    assert together.depth[1].max() <= 6.001


@torch.no_grad()
def test_twelve_views(model):
    prediction = model(context(views=12))
    assert prediction.depth.shape == (1, 12, HEIGHT, WIDTH)
    assert prediction.gaussians.means.shape == (1, 12 * HEIGHT * WIDTH, 3)
    assert all(value.isfinite().all() for value in tensors(prediction).values())


@pytest.mark.parametrize("views", [2, 5])
@torch.no_grad()
def test_permuted_views_give_the_permuted_prediction(model, views):
    given, order = context(views=views), torch.randperm(views)
    turned = replace(given, images=given.images[:, order], cameras=given.cameras[:, order])
    expected, found = tensors(model(given)), tensors(model(turned))
    for name, value in expected.items():
        by_view = value if name in ("depth", "confidence") else value.unflatten(1, (views, HEIGHT * WIDTH))
        turned_by_view = found[name].reshape(by_view.shape)
        torch.testing.assert_close(turned_by_view, by_view[:, order], atol=1e-4, rtol=1e-3, msg=name)
