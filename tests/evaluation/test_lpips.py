"""LPIPS against the lpips package itself, on a file of the released layout with random weights."""

import hashlib
import warnings

import pytest
import torch

from pmgs_lib.errors import CheckpointError
from pmgs_lib.evaluation import lpips as lpips_of_package_root
from pmgs_lib.evaluation.lpips import WEIGHTS_NAME, LpipsUnavailable, load_lpips, lpips

# Index in torchvision's `features` -> channels in and out.
CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
CONVOLUTIONS |= {17: (256, 512)} | dict.fromkeys((19, 21, 24, 26, 28), (512, 512))
CLASSIFIER = {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}


def released_layout() -> dict[str, torch.Tensor]:
    generator, tensors = torch.Generator().manual_seed(3), {}
    for index, (inputs, outputs) in CONVOLUTIONS.items():
        scale = (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{index}.weight"] = scale * torch.randn(outputs, inputs, 3, 3, generator=generator)
        tensors[f"features.{index}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    for index, shape in CLASSIFIER.items():  # one stored number each: 59 MB instead of 528
        tensors[f"classifier.{index}.weight"] = torch.zeros(1).expand(shape)
        tensors[f"classifier.{index}.bias"] = torch.zeros(1).expand(shape[0])
    return tensors


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "checkpoints" / WEIGHTS_NAME
    path.parent.mkdir()
    torch.save(released_layout(), path)
    return path


@pytest.fixture(scope="module")
def network(weights):
    return load_lpips(weights, digest=digest(weights))


@pytest.fixture
def pair(rng):
    reference = torch.rand(2, 3, 32, 48, generator=rng)
    return (reference + 0.2 * torch.randn(2, 3, 32, 48, generator=rng)), reference


def test_equals_the_package_on_the_same_file(weights, network, pair, monkeypatch):
    import lpips as package

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(weights.parents[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the package says about torchvision's old arguments
        theirs = package.LPIPS(net="vgg", verbose=False)
    with torch.no_grad():
        expected = theirs(*pair, normalize=True).reshape(-1)
    torch.testing.assert_close(lpips(*pair, network), expected, atol=1e-5, rtol=0)
    assert expected.min() > 0.01


def test_reads_torchs_older_file_layout_too(weights, network, tmp_path):
    older = tmp_path / WEIGHTS_NAME
    torch.save(torch.load(weights, weights_only=True), older, _use_new_zipfile_serialization=False)
    read = load_lpips(older, digest=digest(older)).state_dict()
    assert all(torch.equal(read[name], value) for name, value in network.state_dict().items())


def test_equal_images_are_at_distance_zero_and_noise_moves_away(network, pair):
    image, reference = pair
    assert lpips(reference, reference, network).tolist() == [0, 0]
    assert (lpips(image, reference, network) > lpips(reference + 0.1 * (image - reference), reference, network)).all()


def test_without_the_file_there_is_a_reason_and_no_number(tmp_path, pair, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    answer = lpips(*pair)
    assert isinstance(answer, LpipsUnavailable)
    assert WEIGHTS_NAME in answer.reason
    assert str(tmp_path) not in answer.reason
    assert str(tmp_path / "checkpoints") in str(answer)


def test_a_file_that_is_not_the_released_one_is_refused(weights):
    with pytest.raises(CheckpointError, match=f"SHA-256 begins with {digest(weights)}, expected 397923af"):
        load_lpips(weights)


@pytest.mark.parametrize("fault", ["cut short", "no features", "one missing", "wrong shape", "a list", "not torch"])
def test_a_damaged_file_is_one_clear_error(fault, tmp_path):
    path, tensors = tmp_path / WEIGHTS_NAME, {f"features.{i}.bias": torch.zeros(1) for i in range(30)}
    if fault == "one missing":
        tensors = {key: value for key, value in released_layout().items() if key != "features.0.bias"}
    if fault == "wrong shape":
        tensors = released_layout() | {"features.0.bias": torch.zeros(65)}
    torch.save([1, 2] if fault == "a list" else {} if fault == "no features" else tensors, path)
    if fault == "cut short":
        path.write_bytes(path.read_bytes()[:-200])
    if fault == "not torch":
        path.write_bytes(b"<html>rate limited</html>")
    with pytest.raises(CheckpointError, match=WEIGHTS_NAME):
        load_lpips(path, digest=digest(path))


def test_loading_leaves_the_random_state_alone(weights):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    load_lpips(weights, digest=digest(weights)[:6])  # another digest length: not from the cache
    assert torch.equal(torch.rand(3), expected)


def test_the_public_name_is_the_function():
    assert lpips_of_package_root is lpips
