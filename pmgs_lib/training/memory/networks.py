"""Networks of which only the sizes are asked: built without numbers, then given fake tensors."""

import copy
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from pmgs_lib._lazy import load_object
from pmgs_lib.losses import perceptual
from pmgs_lib.losses.perceptual import PerceptualLoss, PerceptualOptions, build_perceptual
from pmgs_lib.models import build_model, named_config
from pmgs_lib.models.acceleration import Accelerated, accelerate
from pmgs_lib.models.base import ModelConfig
from pmgs_lib.models.zoo import ARCHITECTURES
from pmgs_lib.pointmaps import build_pointmap_source
from pmgs_lib.pointmaps.base import Pointmap, PointmapSource
from pmgs_lib.pointmaps.vggt import source as vggt_source
from pmgs_lib.pointmaps.vggt.config import SIZES
from pmgs_lib.pointmaps.vggt.model import Vggt
from pmgs_lib.views import Views

# Sources of pointmaps whose network runs within the step; the others bring points from elsewhere.
NETWORK_SOURCES = ("vggt", "vggt-depth")


def known_model(model: nn.Module | ModelConfig | str) -> nn.Module | ModelConfig:
    """The model, or its configuration with the code of its network loaded.

    Modules are not to be loaded where tensors are fake: what they keep would be fake for ever.
    """
    config = named_config(model) if isinstance(model, str) else model
    if isinstance(config, ModelConfig):
        load_object(ARCHITECTURES[config.kind][1])
    return config


def played_model(model: nn.Module | ModelConfig) -> nn.Module:
    """A model on fake tensors, frozen where the given one is; call it where tensors are fake.

    Regions that are compiled run one operator after the other here.
    """
    if isinstance(model, ModelConfig):
        return build_model(model)
    if not isinstance(model, Accelerated):
        return fake_twin(model)
    # Compiled regions are bound to the weights that they were made for, so these cannot be copied with them.
    twin, settings = build_model(model.config), model.settings
    for own, other in zip(twin.parameters(), model.parameters(), strict=True):
        own.requires_grad_(other.requires_grad)
    return accelerate(twin, precision=settings.precision, compile=False, views_at_once=settings.views_at_once)


def fake_twin(module: nn.Module) -> nn.Module:
    """A copy in which every weight and buffer is a new tensor of the same kind; call it where tensors are fake.

    It is on its device already and stays as it is: torch cannot convert fake weights in place.
    """
    twins: dict[int, Tensor] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
        is_weight = isinstance(tensor, nn.Parameter)
        twins[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
    twin = copy.deepcopy(module, twins)
    twin.to = lambda *_, **__: twin
    return twin


def sized_perceptual(options: PerceptualOptions) -> PerceptualLoss | None:
    """The perceptual term of an objective, on the meta device: no file is opened."""
    if options.perceptual_weight == 0:
        return None
    _import_networks()
    with (
        torch.device("meta"),
        patch.object(perceptual, "load_lpips_network", lambda path, digest: _sized_lpips()),
        patch.object(perceptual, "load_trunk", lambda path, file, digest: _sized_trunk(file.layers)),
    ):
        return build_perceptual(options, __file__)  # any file that is there


def sized_pointmaps(name: str, options: Mapping[str, Any]) -> PointmapSource:
    """A source of pointmaps: with its network on the meta device where it has one, else of points from elsewhere."""
    if name not in NETWORK_SOURCES:
        return _PointsFromElsewhere()
    with torch.device("meta"), patch.object(vggt_source, "load_vggt", _sized_vggt):
        return build_pointmap_source(name, **{**options, "compile": False})


class _PointsFromElsewhere(PointmapSource):
    """Points as a cache or known depth bring them."""

    def pointmap(self, context: Views, key: str | tuple[str, ...]) -> Pointmap:
        shape = (*context.batch_shape, context.count, context.height, context.width)
        return Pointmap(torch.ones(*shape, 3), torch.ones(shape))


def _import_networks() -> None:
    """Load, on no device, what takes a second or more."""
    import lpips  # noqa: F401
    import torchvision  # noqa: F401


def _sized_lpips() -> nn.Module:
    import lpips

    with warnings.catch_warnings():
        # lpips 0.1.4 still says `pretrained=` to torchvision, which warns about it.
        warnings.filterwarnings("ignore", module="torchvision")
        return lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)


def _sized_trunk(layers: int) -> nn.Sequential:
    import torchvision

    return getattr(torchvision.models, f"vgg{layers}")(weights=None, init_weights=False).features


def _sized_vggt(settings: Any, heads: tuple[str, ...]) -> tuple[Vggt, Any]:
    model = Vggt(SIZES[settings.size].model_copy(update={"heads": heads}))
    return model.requires_grad_(False).eval().set_precision(settings.precision), SimpleNamespace(sha256="")
