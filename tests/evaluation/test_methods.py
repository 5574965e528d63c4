"""The controls do what their names say, and a model is left as it was found."""

import pytest
import torch
from torch import nn

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.evaluation import METHODS, build_method
from pmgs_lib.evaluation.methods import ExactDepth, GaussianMethod, NearestInput, surface_depth, unprojected_gaussians
from pmgs_lib.evaluation.metrics import depth_errors, psnr
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers.base import Rendering, RenderingSettings
from pmgs_lib.views import Example


class Unprojecting(nn.Module):
    """Stands for a model: unprojects the exact depth, batch by batch, and notes the mode it was called in."""

    def __init__(self, settings: RenderingSettings = RenderingSettings()) -> None:  # noqa: B008  (frozen)
        super().__init__()
        self.frozen, self.settings = nn.Linear(1, 1).eval(), settings
        self.seen: list[bool] = []

    def forward(self, context):
        self.seen.append(self.training or torch.is_grad_enabled())
        gaussians = unprojected_gaussians(context[0])
        batched = Gaussians(*(value[None] for value in vars(gaussians).values()))
        return Prediction(batched, context.depth, self.settings)


@pytest.fixture
def example(views):
    return Example(views([0, 0.4]), views([0.1, 0.2, 0.4]), "plane")


def test_nearest_input_copies_the_nearest_picture(example):
    color = NearestInput()(example).color
    torch.testing.assert_close(color[0], example.context.images[0])
    torch.testing.assert_close(color[2], example.context.images[1])


def test_nearest_input_minds_the_viewing_direction(views):
    context, target = views([0.0, 0.0]), views([0.0])
    turned = context.cameras.world_from_camera.clone()
    turned[0, :3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    cameras = type(context.cameras)(turned, context.cameras.intrinsics)
    example = Example(type(context)(context.images, cameras, context.near, context.far), target, "turned")
    marked = Example(
        type(context)(context.images * torch.tensor([0.0, 1])[:, None, None, None], cameras, context.near, context.far),
        target,
        "turned",
    )
    torch.testing.assert_close(NearestInput()(example).color[0], context.images[1])
    assert NearestInput()(marked).color.max() > 0.1


def test_exact_depth_renders_the_seen_plane(example):
    output = ExactDepth(backend="reference")(example)
    inner = (..., slice(3, -3), slice(4, -4))  # beyond that no input saw the plane
    assert psnr(output.color[:2][inner], example.target.images[:2][inner]).min() > 25
    assert output.centers.shape == (2 * 24 * 32, 3)
    torch.testing.assert_close(output.context_depth, example.context.depth)
    assert depth_errors(output.depth[:2][inner], example.target.depth[:2][inner]).abs_rel.max() < 0.01


def test_exact_depth_without_depth_is_a_data_error(dataset):
    with pytest.raises(DataError, match="no exact depth to unproject"):
        ExactDepth()(dataset(blind=("a",)).example("a", [0, 4], [1], 24, 32))


def test_a_model_that_unprojects_equals_the_control(example):
    ours = GaussianMethod(Unprojecting(), backend="reference", name="unprojecting")(example)
    theirs = ExactDepth(backend="reference")(example)
    for field in ("color", "depth", "context_depth", "centers"):
        torch.testing.assert_close(getattr(ours, field), getattr(theirs, field))


def test_the_models_own_rendering_settings_are_used(example):
    red = RenderingSettings(background=(1.0, 0.0, 0.0))
    far_target = Example(example.context, example.target, "plane")
    far_target.target.cameras.world_from_camera[:, 0, 3] += 30  # looks past the plane's seen part
    color = GaussianMethod(Unprojecting(red), backend="reference")(far_target).color
    torch.testing.assert_close(color[:, 0].mean(), torch.tensor(1.0))


def test_a_model_is_called_in_evaluation_mode_without_gradients_and_left_as_it_was(example):
    model = Unprojecting().train()
    model.frozen.eval()
    GaussianMethod(model, backend="reference")(example)
    assert model.seen == [False]
    assert model.training
    assert not model.frozen.training


def test_a_model_that_fails_is_left_as_it_was_too(example):
    model = Unprojecting().train()
    model.forward = lambda context: 1 / 0
    with pytest.raises(ZeroDivisionError):
        GaussianMethod(model)(example)
    assert model.training


def test_a_model_of_depth_only_is_refused(example):
    model = Unprojecting()
    model.forward = lambda context: Prediction(None, context.depth, RenderingSettings())
    with pytest.raises(ParameterError, match="predicts depth only"):
        GaussianMethod(model)(example)


def test_surface_depth_divides_by_what_was_drawn():
    alpha = torch.tensor([[1.0, 0.5, 0.0, 1e-3]])
    rendering = Rendering(torch.zeros(3, 1, 4), 3 * alpha, alpha)
    torch.testing.assert_close(surface_depth(rendering), torch.tensor([[3.0, 3.0, 0.0, 0.0]]))


def test_the_registry_builds_every_method():
    for name in METHODS:
        options = {"model": Unprojecting()} if name == "model" else {}
        assert build_method(name, **options).name == name
    with pytest.raises(ParameterError, match="no method is called 'nearest'"):
        build_method("nearest")
