"""Perceptual terms against torchvision's own layers and the lpips package, on files of the released layout."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close
from vgg_files import random_features, write_features

from pmgs_lib.errors import CheckpointError, ParameterError
from pmgs_lib.losses import LpipsLoss, PerceptualLoss, Vgg19Loss, build_perceptual
from pmgs_lib.losses.vgg import VGG16, VGG19, VGG19_ORIGINAL, load_lpips_network, load_trunk

LAYERS = {"lpips": 16, "vgg19": 19}


def options(kind: str, **changes) -> SimpleNamespace:
    """The fields of `ObjectiveConfig` that are asked for."""
    given = {"perceptual": kind, "perceptual_weight": 0.5, "perceptual_precision": "float32", "rendering": "kept"}
    return SimpleNamespace(**(given | changes))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple]:
    """Kind of term -> its weight file, the digest of it, and the layers that are in it."""
    folder, made = tmp_path_factory.mktemp("hub") / "checkpoints", {}
    folder.mkdir()
    for kind, file in (("lpips", VGG16), ("vgg19", VGG19)):
        features = random_features(file.layers)
        made[kind] = (folder / file.name, write_features(folder / file.name, features), features)
    return made


@pytest.fixture(scope="module")
def losses(files) -> dict[str, PerceptualLoss]:
    return {kind: build_perceptual(options(kind), path, digest=digest) for kind, (path, digest, _) in files.items()}


@pytest.fixture
def pair(rng):
    true = torch.rand(3, 3, 32, 48, generator=rng)
    return (true + 0.2 * torch.randn(3, 3, 32, 48, generator=rng)), true


def chen_koltun(features, rendered, true):
    """The sum written out over torchvision's own modules, picture by picture."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=rendered.dtype)[:, None, None]
    # after relu1_2, relu2_2, relu3_2, relu4_2, relu5_2
    divisors = {3: 2.6, 8: 4.8, 13: 3.7, 22: 5.6, 31: 0.15}
    first, second = 255 * (rendered - mean), 255 * (true - mean)
    total = (first - second).abs().mean()
    for index, layer in enumerate(features):
        pooled = isinstance(layer, torch.nn.MaxPool2d)
        first, second = (torch.nn.functional.avg_pool2d(x, 2) if pooled else layer(x.clone()) for x in (first, second))
        total = total + sum((first - second).abs().mean() / by for at, by in divisors.items() if at == index)
    return total / 255


def test_vgg19_equals_a_direct_evaluation(files, losses, pair):
    pairs = zip(*(images.split(1) for images in pair), strict=True)
    expected = torch.stack([chen_koltun(files["vgg19"][2], *one) for one in pairs])
    assert_close(losses["vgg19"].per_item(*pair), expected, rtol=1e-5, atol=0)
    assert expected.min() > 0.1


def test_lpips_equals_the_package(losses, pair):
    network = losses["lpips"].network
    with torch.no_grad():
        expected = network(*pair, normalize=True).reshape(-1)
    assert_close(losses["lpips"].per_item(*pair), expected, rtol=1e-5, atol=1e-7)
    assert expected.min() > 0.01


def test_the_gradient_of_lpips_is_that_of_the_package(losses, pair):
    rendered, true = pair
    gradients = []
    for distance in (losses["lpips"], lambda r, t: losses["lpips"].network(r, t, normalize=True).mean()):
        leaf = rendered.clone().requires_grad_()
        distance(leaf, true).backward()
        gradients.append(leaf.grad)
    assert_close(*gradients, rtol=1e-3, atol=1e-4 * gradients[1].abs().max().item())
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("kind", LAYERS)
def test_the_gradient_is_right_in_double_precision(kind, files):
    path, digest, _ = files[kind]
    loss = build_perceptual(options(kind, rendering="deferred"), path, digest=digest).double()
    generator = torch.Generator().manual_seed(1)
    rendered, true = (torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.tensor([0.3, 2.0], dtype=torch.float64)
    leaf = rendered.clone().requires_grad_()
    (loss.per_item(leaf, true) * weights).sum().backward()
    # Along random directions: all 1,536 single ones would take minutes.
    for _ in range(3):
        direction = torch.randn(rendered.shape, generator=generator, dtype=torch.float64)
        step = 1e-7 * direction
        change = loss.per_item(rendered + step, true) - loss.per_item(rendered - step, true)
        assert_close((leaf.grad * direction).sum(), (weights * change).sum() / 2e-7, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", LAYERS)
def test_equal_pictures_are_at_distance_zero_with_gradient_zero(kind, losses, pair):
    leaf = pair[1].clone().requires_grad_()
    values = losses[kind].per_item(leaf, pair[1])
    values.sum().backward()
    assert values.tolist() == [0, 0, 0]
    assert leaf.grad.abs().max() == 0


@pytest.mark.parametrize("kind", LAYERS)
def test_pictures_are_measured_alone_whatever_the_chunk(kind, files, pair):
    """In double precision: the gradient of an absolute difference jumps where rounding changes its sign."""
    path, digest, _ = files[kind]
    loss = build_perceptual(options(kind, rendering="deferred"), path, digest=digest).double()
    assert loss.chunk == 1
    rendered, true = (images.double() for images in pair)
    results = []
    for loss.chunk, order in ((None, [0, 1, 2]), (1, [0, 1, 2]), (2, [0, 1, 2]), (None, [2, 0, 1])):
        leaf = rendered[order].clone().requires_grad_()
        values = loss.per_item(leaf, true[order])
        values.sum().backward()
        back = torch.tensor(order).argsort()
        results.append((values.detach()[back], leaf.grad[back]))
    for values, gradient in results[1:]:
        assert_close(values, results[0][0], rtol=1e-12, atol=0)
        assert_close(gradient, results[0][1], rtol=1e-10, atol=1e-14)
    assert_close(loss(rendered, true), results[0][0].mean())


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("where", ["rendered", "true"])
def test_nan_is_never_hidden_and_stays_with_its_picture(kind, where, losses, pair):
    spoilt = [images.clone() for images in pair]
    spoilt[where == "true"][1, 0, 3, 4] = torch.nan
    assert losses[kind].per_item(*spoilt).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("kind", LAYERS)
def test_black_pictures_have_a_finite_gradient(kind, losses):
    leaf = torch.zeros(1, 3, 16, 16, requires_grad=True)
    losses[kind](leaf, torch.ones(1, 3, 16, 16)).backward()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("kind", LAYERS)
def test_the_network_is_frozen_and_never_in_training_mode(kind, losses, pair):
    loss = losses[kind].train()
    assert not any(module.training for module in loss.modules())
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert torch.equal(loss(*pair), loss(*pair))
    assert not loss(*pair).requires_grad
    true = pair[1].clone().requires_grad_()
    rendered = pair[0].clone().requires_grad_()
    loss(rendered, true).backward()
    assert true.grad is None


@pytest.mark.parametrize("kind", LAYERS)
def test_half_precision_is_an_option_and_not_taken_from_around(kind, files, losses, pair):
    path, digest, _ = files[kind]
    half = build_perceptual(options(kind, perceptual_precision="bfloat16"), path, digest=digest)
    exact = losses[kind].per_item(*pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(losses[kind].per_item(*pair), exact)
    rounded = half.per_item(*pair)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert_close(rounded, exact, rtol=0.03, atol=0)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_missing_file_is_told_with_the_next_step(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = {"lpips": VGG16, "vgg19": VGG19}[kind].name
    with pytest.raises(CheckpointError, match=rf"needs {name} .*put the file there, or train with perceptual_weight 0"):
        build_perceptual(options(kind))
    assert build_perceptual(options(kind, perceptual_weight=0.0)) is None


def test_other_weights_are_never_taken_silently(files, tmp_path, monkeypatch):
    path, digest, features = files["vgg19"]
    with pytest.raises(CheckpointError, match=f"SHA-256 begins with {digest}, expected dcbb9e9d"):
        build_perceptual(options("vgg19"), path)
    # The original weights are known by their name, and only when asked for.
    (tmp_path / "checkpoints").mkdir()
    original = tmp_path / "checkpoints" / VGG19_ORIGINAL.name
    found = write_features(original, features)
    with pytest.raises(CheckpointError, match=f"SHA-256 begins with {found}, expected c7bc9f4a"):
        build_perceptual(options("vgg19"), original)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match=f"needs {VGG19.name}"):
        build_perceptual(options("vgg19"))


@pytest.mark.parametrize(
    "fault", ["one missing", "one more", "wrong shape", "another network", "no tensor", "cut short"]
)
def test_a_file_of_another_layout_is_refused(fault, files, tmp_path):
    stored = torch.load(files["vgg19"][0], weights_only=True)
    if fault == "one missing":
        del stored["features.0.bias"]
    if fault == "one more":
        stored["features.99.bias"] = torch.zeros(1)
    if fault == "wrong shape":
        stored["features.0.bias"] = torch.zeros(65)
    if fault == "another network":
        stored = torch.load(files["lpips"][0], weights_only=True)
    if fault == "no tensor":
        stored["features.0.bias"] = "64 numbers"
    path = tmp_path / VGG19.name
    torch.save(stored, path)
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[:-300])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=r"not a readable VGG-19 weight file .*download it again"):
        load_trunk(path, VGG19, digest=digest)


def test_loading_leaves_the_random_state_alone(files):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    load_trunk(files["vgg19"][0], VGG19, digest=files["vgg19"][1])
    load_lpips_network(files["lpips"][0], digest=files["lpips"][1])
    assert torch.equal(torch.rand(3), expected)


def test_unusable_arguments_are_refused(losses):
    with pytest.raises(ParameterError, match="precision is 'half', expected one of float32, bfloat16"):
        Vgg19Loss(random_features(19), precision="half")
    with pytest.raises(ParameterError, match="chunk is 0, expected a positive number"):
        LpipsLoss(losses["lpips"].network, chunk=0)
    with pytest.raises(ParameterError, match="perceptual is 'vgg', expected one of lpips, vgg19"):
        build_perceptual(options("vgg"))
    with pytest.raises(ParameterError, match="expected two tensors of equal shape"):
        losses["lpips"](torch.zeros(2, 3, 16, 16), torch.zeros(1, 3, 16, 16))
