"""The fast setting of a model predicts what the model predicts, within the rounding that it says it has."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from accelerated_twins import context, differences

from pmgs_lib.errors import ParameterError
from pmgs_lib.models import load_checkpoint
from pmgs_lib.models.acceleration import accelerate, require_finite
from pmgs_lib.models.aligned import AlignedConv2d
from pmgs_lib.models.by_views import by_views

ROOT = Path(__file__).parents[2]
SINGLE, HALF = 1e-5, 2e-2  # what float32 and half precision may change, as `differences` counts


@pytest.fixture
def model():
    return load_checkpoint("depthsplat-tiny")


@pytest.mark.parametrize("at_once", [1, 2])
def test_few_views_at_a_time_predict_the_same(model, at_once):
    fast = accelerate(model, precision="float32", compile=False, views_at_once=at_once)
    with torch.no_grad():
        assert max(differences(fast(context(3)), model(context(3))).values()) < SINGLE


def test_half_precision_stays_close(model):
    fast = accelerate(model, compile=False)
    with torch.no_grad():
        prediction = fast(context(2))
        assert 0 < max(differences(prediction, model(context(2))).values()) < HALF
    assert prediction.depth.dtype == torch.float32
    assert {part.dtype for part in vars(prediction.gaussians).values()} == {torch.float32}


def test_parameters_are_shared_and_the_model_is_left_as_it_is(model):
    expected = model(context(2))
    fast = accelerate(model, compile=False, views_at_once=1)
    assert fast.config == model.config
    assert fast.state_dict().keys() == model.state_dict().keys()
    assert {id(p) for p in fast.parameters()} == {id(p) for p in model.parameters()}
    assert torch.equal(model(context(2)).depth, expected.depth)


def test_training_it_trains_the_model(model):
    fast = accelerate(model, compile=False).train()
    prediction = fast(context(2))
    (prediction.gaussians.harmonics.square().mean() + prediction.depth.log().mean()).backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_numbers_beyond_half_precision_are_not_handed_on(model):
    with torch.no_grad():
        prediction = model(context(2))
    require_finite(prediction)
    prediction.gaussians.scales[0, 3, 1] = torch.inf
    with pytest.raises(ParameterError, match=r"scales not finite.*precision='bfloat16'"):
        require_finite(prediction)
    with pytest.raises(ParameterError, match="depth, scales"):
        require_finite(replace(prediction, depth=prediction.depth * torch.nan))


@pytest.mark.parametrize("options", [{"precision": "half"}, {"views_at_once": 0}, {"graphs": True, "compile": False}])
def test_settings_that_make_no_sense_are_refused(model, options):
    with pytest.raises(ParameterError, match=f"accelerate: {next(iter(options))}"):
        accelerate(model, **options)


def assert_compiled_is_close(device: str) -> None:
    program = [sys.executable, str(ROOT / "tests/models/accelerated_twins.py"), device]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    printed = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    difference, trained = (float(line) for line in printed.stdout.splitlines())
    assert 0 < difference < HALF
    assert trained == 1


@pytest.mark.prove
def test_compiled_for_a_cpu():
    assert_compiled_is_close("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_compiled_for_a_gpu():
    assert_compiled_is_close("cuda")


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_filled_convolution_is_the_convolution(padding_mode, rng):
    filled = AlignedConv2d(5, 3, 3, padding=1, padding_mode=padding_mode)
    plain = torch.nn.Conv2d(5, 3, 3, padding=1, padding_mode=padding_mode)
    plain.load_state_dict(filled.state_dict())
    x = torch.randn(2, 5, 6, 7, generator=rng)
    assert torch.equal(filled(x), plain(x))
    half = filled.to(torch.bfloat16)(x.to(torch.bfloat16)).float()
    torch.testing.assert_close(half, plain(x), atol=0.03, rtol=0.03)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@pytest.mark.parametrize("at_once", [None, 1, 2, 3, 7])
def test_groups_of_frames_make_the_whole(at_once, rng):
    x = torch.randn(5, 2, generator=rng)
    sizes = []

    def function(y, named):
        sizes.append(len(y))
        return Pair(y + named["more"], 2 * y)

    result = by_views(function, at_once, x, {"more": x**2})
    assert isinstance(result, Pair)
    assert torch.equal(result.first, x + x**2)
    assert torch.equal(result.second, 2 * x)
    assert max(sizes) <= (at_once or 5)
    assert max(sizes) - min(sizes) <= 1
