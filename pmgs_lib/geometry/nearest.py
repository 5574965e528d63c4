"""Exact nearest neighbours between point clouds, one call over several backends."""

import functools
import importlib.util
import logging
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.geometry.similarity import largest_coordinate

logger = logging.getLogger(__name__)

# Pairs that brute force holds at a time: 48 MB of differences in float32.
BRUTE_FORCE_PAIRS = 2**22


class NearestNeighbors(NamedTuple):
    """For each query point: the index of the nearest reference point and the squared distance to it."""

    indices: Int[Tensor, "*batch query"]
    squared_distances: Float[Tensor, "*batch query"]


def nearest_neighbors(
    query: Float[Tensor, "*batch query 3"], reference: Float[Tensor, "*batch reference 3"], *, backend: str = "auto"
) -> NearestNeighbors:
    """The reference point nearest to each query point, exactly: never an approximation, never the expanded square.

    Squared distances (in squared units of the points) are direct differences to the returned points, differentiable in
    both clouds; the indices are constant. Of equally near points any one may be returned. The search compares distances
    rounded in the promoted dtype of the clouds, at least float32.

    backend: `kdtree` (numba, all cores; CUDA tensors travel to the host and back), `triton` (a box tree on the GPU,
    CUDA tensors only), `scipy` (cKDTree, all cores, float64), `brute` (all pairs, the oracle), `pytorch3d` (its kernel
    in float32 about a common centre, when installed), or `auto`: `triton` on CUDA, else `kdtree`. `auto` reports its
    choice through `logging`, as a warning where points have to leave their device. Raises `ParameterError` for empty,
    NaN, infinite or immense points and shapes that do not belong together, `BackendError` for a backend that is not
    installed or does not serve the device.

    >>> nearest_neighbors(torch.tensor([[0.9, 0, 0]]), torch.tensor([[0.0, 0, 0], [1, 0, 0]])).indices
    tensor([1])
    """
    indices = nearest_indices(query, reference, backend=backend)
    matched = reference.gather(-2, indices[..., None].expand(*indices.shape, 3))
    return NearestNeighbors(indices, (query - matched).square().sum(-1))


@torch.no_grad()
def nearest_indices(
    query: Float[Tensor, "*batch query 3"], reference: Float[Tensor, "*batch reference 3"], *, backend: str = "auto"
) -> Int[Tensor, "*batch query"]:
    """The indices of `nearest_neighbors` alone."""
    _check(query, reference)
    dtype = torch.promote_types(torch.promote_types(query.dtype, reference.dtype), torch.float32)
    search = _search_function(choose_backend(query.device.type)[0] if backend == "auto" else backend)
    queries = query.detach().to(dtype).reshape(-1, *query.shape[-2:]).contiguous()
    references = reference.detach().to(dtype).reshape(-1, *reference.shape[-2:]).contiguous()
    indices = [search(*clouds) for clouds in zip(queries, references, strict=True)]
    return torch.stack(indices).reshape(query.shape[:-1])


@functools.cache
def choose_backend(device_type: str) -> tuple[str, str]:
    """Name of the backend that `auto` means for tensors on such a device, and the reason in words; searches nothing."""
    if device_type == "cpu":
        name, level, reason = "kdtree", logging.INFO, "the k-d tree is the fastest exact search on a CPU"
    elif device_type == "cuda" and _installed("triton"):
        name, level, reason = "triton", logging.INFO, "the box tree stays on the GPU"
    else:
        name, level = "kdtree", logging.WARNING
        reason = "no installed backend searches on this device: points travel to the host and indices back"
    logger.log(level, "nearest neighbours of %s tensors: %s (%s)", device_type, name, reason)
    return name, reason


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _search_function(backend: str):
    if backend not in BACKENDS:
        raise ParameterError(
            f"nearest_neighbors: no backend is called {backend!r}, expected auto, {', '.join(BACKENDS)}"
        )
    return BACKENDS[backend]


def _search_kdtree(query: Tensor, reference: Tensor) -> Tensor:
    from pmgs_lib.geometry.kdtree_kernels import find_nearest

    return torch.from_numpy(find_nearest(query.cpu().numpy(), reference.cpu().numpy())).to(query.device)


def _search_triton(query: Tensor, reference: Tensor) -> Tensor:
    if query.device.type != "cuda":
        raise BackendError(
            f"nearest_neighbors: backend 'triton' searches CUDA tensors, these are on {query.device}: "
            "move them, or use backend='auto'"
        )
    if not _installed("triton"):
        raise BackendError(
            "nearest_neighbors: backend 'triton' needs the package triton, which comes with torch's CUDA builds: "
            "install one, or use backend='auto'"
        )
    from pmgs_lib.geometry.nearest_triton_kernels import find_nearest

    with torch.cuda.device(query.device):
        return find_nearest(query, reference)


def _search_scipy(query: Tensor, reference: Tensor) -> Tensor:
    from scipy.spatial import cKDTree

    _, indices = cKDTree(reference.cpu().numpy()).query(query.cpu().numpy(), workers=-1)
    return torch.from_numpy(np.asarray(indices, np.int64)).to(query.device)


def _search_brute(query: Tensor, reference: Tensor) -> Tensor:
    chunk = max(1, BRUTE_FORCE_PAIRS // len(reference))
    found = [(part[:, None] - reference).square().sum(-1).argmin(-1) for part in query.split(chunk)]
    return torch.cat(found)


def _search_pytorch3d(query: Tensor, reference: Tensor) -> Tensor:
    if not _installed("pytorch3d"):
        raise BackendError(
            "nearest_neighbors: backend 'pytorch3d' needs the package pytorch3d, which is not installed: "
            "build it from its source, or use backend='auto'"
        )
    from pytorch3d.ops import knn_points

    # Its kernels are float32 only and it takes no thought for an offset: a common centre keeps their digits.
    centre = reference.mean(0)
    return knn_points((query - centre).float()[None], (reference - centre).float()[None], K=1).idx[0, :, 0]


BACKENDS = {
    "kdtree": _search_kdtree,
    "triton": _search_triton,
    "scipy": _search_scipy,
    "brute": _search_brute,
    "pytorch3d": _search_pytorch3d,
}


def _check(query: Tensor, reference: Tensor) -> None:
    for name, points in (("query", query), ("reference", reference)):
        if points.ndim < 2 or points.shape[-1] != 3 or points.numel() == 0 or not points.is_floating_point():
            raise ParameterError(
                f"nearest_neighbors: {name} is {points.dtype} of shape {tuple(points.shape)}, "
                "expected floats of shape (..., point, 3) with at least one point"
            )
        largest = largest_coordinate(torch.promote_types(points.dtype, torch.float32))
        # One pass: NaN and infinity pass into the norm.
        if not (torch.linalg.vector_norm(points, dtype=torch.float64) <= largest):
            raise ParameterError(
                f"nearest_neighbors: {name} holds NaN, infinite or immense numbers (above {largest:.0e}), "
                f"expected squares that {points.dtype} can hold: remove those points first"
            )
    if query.shape[:-2] != reference.shape[:-2] or query.device != reference.device:
        raise ParameterError(
            f"nearest_neighbors: query {tuple(query.shape)} on {query.device} and reference {tuple(reference.shape)} "
            f"on {reference.device}, expected equal batch axes and one device"
        )
