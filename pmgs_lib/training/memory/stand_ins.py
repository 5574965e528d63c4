"""A step on a GPU, played without one: fake tensors, and stand-ins for what only a GPU runs.

Fake tensors are those of the CPU on every machine: torch's autograd engine takes CUDA ones only where a CUDA driver is,
and a prediction should not depend on where it is made. What a GPU does otherwise is put in its place here, by
replacing functions of this process while a prediction runs; nothing of it reaches into models or losses.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import _lru_cache_wrapper, cache, wraps
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry import nearest
from pmgs_lib.losses.perceptual import PerceptualLoss
from pmgs_lib.losses.pointmap import PointmapLoss
from pmgs_lib.models.matching import cost_volume, sweep
from pmgs_lib.rasterizers import dispatch
from pmgs_lib.rasterizers.base import Rasterizer, Rendering
from pmgs_lib.rasterizers.gsplat import GsplatRasterizer
from pmgs_lib.training.memory import gsplat_shapes
from pmgs_lib.training.memory.counter import MemoryCounter

aten = torch.ops.aten
HALVES = (torch.float16, torch.bfloat16)
OWN = "pmgs_lib.training.memory"
CACHING = ("pmgs_lib.", "roma.")  # modules whose functions remember tensors
KERNEL_FILE = "pmgs_lib.models.matching.sweep_kernels"  # needs Triton
FLASH_WIDTH = 256  # the widest head that flash attention takes
# Operators that only a CPU's autocast takes up to float32, as torch names them.
FLOAT32_ON_CPU_ONLY = frozenset({"grid_sample", "grid_sampler", "pad"})


@contextmanager
def played_on_gpu(counter: MemoryCounter) -> Iterator[None]:
    """Tensors made inside are fake, and `counter` counts what a GPU would hold."""
    with ExitStack() as stack:
        for target, name, replacement in [*_replacements(counter), *_without_caches()]:
            stack.enter_context(patch.object(target, name, replacement))
        stack.enter_context(_kernels_not_loaded())
        # Constants of modules are real, and become fake where they are used.
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(counter)
        stack.enter_context(_GpuFunctions())
        yield


@contextmanager
def _kernels_not_loaded() -> Iterator[None]:
    """The plane sweep's kernels are names only, so that Triton need not be here."""
    before = sys.modules.get(KERNEL_FILE)
    # One entry: putting all of `sys.modules` back would unload what is loaded meanwhile.
    sys.modules[KERNEL_FILE] = SimpleNamespace(plane_sweep=None, plane_sweep_gradient=None)
    try:
        yield
    finally:
        del sys.modules[KERNEL_FILE]
        if before is not None:
            sys.modules[KERNEL_FILE] = before


def _replacements(counter: MemoryCounter) -> list[tuple[Any, str, Any]]:
    from gsplat.cuda import _wrapper

    return [
        (PerceptualLoss, "per_item", _counted(counter, "perceptual", PerceptualLoss.per_item)),
        (PointmapLoss, "details", _counted(counter, "pointmap", PointmapLoss.details)),
        (cost_volume, "fused_sweep_serves", lambda features: True),
        (sweep, "_launch", lambda kernel, features, geometry, *buffers: None),
        (nearest, "_search_function", lambda backend: _search),
        (dispatch, "_pick", lambda backend, device: _CountedGsplat(counter)),
        (_wrapper, "_make_lazy_cuda_func", gsplat_shapes.kernel),
        (_wrapper, "_make_lazy_cuda_obj", gsplat_shapes.kernel_option),
    ]


def _counted(counter: MemoryCounter, part: str, function: Callable) -> Callable:
    """The function, with what it makes counted as `part`."""

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        with counter.part(part):
            return function(*args, **kwargs)

    return counted


def _without_caches() -> list[tuple[Any, str, Any]]:
    """Functions that remember results, as they are without: real and fake tensors must not meet.

    Those of the library and of roma, which remembers a constant of its own.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith(CACHING) and OWN not in name]
    entries = [(module, name, value) for module in modules for name, value in vars(module).items()]
    return [(*entry[:2], entry[2].__wrapped__) for entry in entries if isinstance(entry[2], _lru_cache_wrapper)]


class _CountedGsplat(Rasterizer):
    """gsplat, with what it makes counted as rendering."""

    camera_gradients = GsplatRasterizer.camera_gradients

    def __init__(self, counter: MemoryCounter) -> None:
        self.counter = counter

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def render(self, gaussians: Gaussians, cameras: Cameras, height: int, width: int, near_plane: float) -> Rendering:
        with self.counter.part("rendering"):
            return GsplatRasterizer().render(gaussians, cameras, height, width, near_plane)


def _search(query: Tensor, reference: Tensor) -> Tensor:
    """What the Triton search makes: both clouds along a Morton curve with their places; boxes are small."""
    kept = []
    for cloud in (query, reference):
        codes = cloud.new_empty(len(cloud), dtype=torch.int64)
        order = codes.argsort()
        kept.append((cloud[order].mT.contiguous(), order.int()))
    return query.new_empty(len(query), dtype=torch.int64)


class _GpuFunctions(TorchFunctionMode):
    """Autocast and attention as on a GPU.

    torch's tables of what autocast takes down and up differ between devices: what CUDA's takes up to float32 and the
    CPU's leaves alone is taken up here, read off torch's own dispatcher.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "").strip("_")
        autocast = torch.is_autocast_enabled("cpu")
        if name == "scaled_dot_product_attention":
            return _attention(*args, **kwargs)
        if autocast and name in FLOAT32_ON_CPU_ONLY:
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        if autocast and _float32_on_gpu("upsample_bilinear2d" if name == "interpolate" else name):
            args, kwargs = tree_map(_single, (args, kwargs))
        return func(*args, **kwargs)


@cache
def _float32_on_gpu(name: str) -> bool:
    """Whether autocast takes the operator up to float32 on CUDA, and leaves it alone on a CPU."""
    try:
        packet = getattr(aten, name)
    except (AttributeError, RuntimeError):
        return False
    schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
    names = [s.name + ("." + s.overload_name if s.overload_name else "") for s in schemas]
    known, has = torch._C._dispatch_has_kernel, torch._C._dispatch_has_kernel_for_dispatch_key
    return any(known(n) and has(n, "AutocastCUDA") and not has(n, "AutocastCPU") for n in names)


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **options: Any) -> Tensor:
    """Flash attention in half precision, memory-efficient attention in single: neither keeps the weights."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        if query.dtype in HALVES and query.shape[-1] <= FLASH_WIDTH and attn_mask is None:
            return aten._scaled_dot_product_flash_attention(query, key, value)[0]
        keep = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
        return aten._scaled_dot_product_efficient_attention(query, key, value, attn_mask, keep)[0]


@contextmanager
def forward_pass(precision: str) -> Iterator[None]:
    """Autocast of a training precision, and checks of numbers left out as a compiled graph leaves them out."""
    half = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
    with half, patch.object(torch.compiler, "is_compiling", lambda: True):
        yield


def backward(total: Tensor) -> None:
    """`total.backward()` straight at the engine: torch's own function would leave the modes of `played_on_gpu`, which
    blocks that are recomputed need as they did in the forward pass.
    """
    start = torch.ones_like(total)
    _engine_run_backward((total,), (start,), False, False, (), allow_unreachable=True, accumulate_grad=True)
