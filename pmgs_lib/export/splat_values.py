"""What all files of Gaussians ask of the values that they are to hold."""

import numpy as np
import torch
from torch import Tensor

from pmgs_lib.errors import ParameterError
from pmgs_lib.gaussians import Gaussians

CHUNK_ROWS = 16_384  # Gaussians converted at once: their rows stay in the cache of a core


def require_writable(writer: str, gaussians: Gaussians) -> None:
    """Raise `ParameterError`, in the name of `writer`, for a batch of scenes and for values that no file can hold."""
    if gaussians.batch_shape != ():
        raise ParameterError(
            f"{writer}: Gaussians of batch shape {tuple(gaussians.batch_shape)}, expected one scene; pass gaussians[0]"
        )
    for name, values in vars(gaussians).items():
        if not bool(values.float().isfinite().all()):  # as files hold them
            raise ParameterError(f"{writer}: {name} hold NaN or infinity, expected finite numbers; check the model")
    if bool(((gaussians.opacities < 0) | (gaussians.opacities > 1)).any()):
        raise ParameterError(f"{writer}: opacities lie outside [0, 1]; pass them after the activation, not as logits")
    if bool((gaussians.scales < 0).any()):
        raise ParameterError(
            f"{writer}: scales are negative, expected standard deviations; pass them after the activation"
        )
    if not bool(gaussians.quaternions.any(dim=-1).all()):
        raise ParameterError(f"{writer}: a quaternion has length zero, expected a rotation; check the model")


def numpy_of(values: Tensor) -> np.ndarray:
    """Numbers of a tensor on any device; a view where that is possible. Half precision becomes float32."""
    kept = values.dtype in (torch.float32, torch.float64)
    return (values if kept else values.float()).detach().cpu().numpy()


def unit_quaternions(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions of length one, in double. Some viewers do not normalise, ours does: the same rotation for both."""
    exact = quaternions.astype(np.float64)
    exact /= np.abs(exact).max(axis=1, keepdims=True)  # first: squares of very small or large numbers have no place
    return exact / np.sqrt(np.einsum("gc,gc->g", exact, exact))[:, None]
