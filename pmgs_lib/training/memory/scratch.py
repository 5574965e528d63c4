"""What CUDA kernels need beside their inputs and outputs, and only while they run: statements, not counts.

Each number is either read off the kernel's source (named beside it) or was measured on a GPU; all others are 0.
"""

import math
from typing import Any

import torch

aten = torch.ops.aten

# cuDNN's tensor-core kernels want the channels last. Where ours come first, it turns input and output around in a
# workspace that torch's allocator hands out: so many copies of both.
CONVOLUTION_COPIES = 1.0
# cuBLAS keeps a workspace from its first product on (torch's default on Hopper), cuBLASLt uses the same.
LIBRARY_WORKSPACE = 32 * 2**20
FLASH_BLOCK = 128  # sequences are padded to it in the buffers of the backward pass


def scratch_bytes(func: Any, args: tuple, result: Any) -> int:
    """Bytes that an operator holds while it runs, beside its arguments and its result."""
    state = _KERNELS.get(func)
    return state(args, result) if state else 0


def _convolution(args: tuple, result: torch.Tensor) -> int:
    image, weight = args[0], args[1]
    return _turned(image, weight, result)


def _convolution_backward(args: tuple, result: Any) -> int:
    """Gradients of input and weight are taken one after the other."""
    grad, image, weight = args[:3]
    return _turned(image, weight, grad)


def _turned(image: torch.Tensor, weight: torch.Tensor, output: torch.Tensor) -> int:
    if _channels_last(image) or _channels_last(weight):
        return 0 if _channels_last(image) else _size(image)
    return int(CONVOLUTION_COPIES * (_size(image) + _size(weight) + _size(output)))


def _channels_last(x: torch.Tensor) -> bool:
    return x.ndim == 4 and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)


def _size(x: torch.Tensor) -> int:
    return x.numel() * x.element_size()


def _flash_backward(args: tuple, result: Any) -> int:
    """Sums of the query's gradient in float32, and one number a query (flash_api.cpp, mha_bwd)."""
    query = args[1]
    batch, heads, length, width = query.shape
    padded = math.ceil(length / FLASH_BLOCK) * FLASH_BLOCK
    return batch * heads * padded * (math.ceil(width / 32) * 32 + 1) * 4


def _sort(args: tuple, result: Any) -> int:
    """cub's radix sort works between two buffers of keys and places."""
    return sum(map(_size, result))


_KERNELS = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten._scaled_dot_product_flash_attention_backward.default: _flash_backward,
    aten.sort.default: _sort,
    aten.sort.stable: _sort,
}
