"""The one call that draws: checks its arguments, picks a backend and says which, puts the background behind."""

import difflib
import logging
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from pmgs_lib._lazy import load_object
from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers import BACKENDS
from pmgs_lib.rasterizers.base import Rasterizer, Rendering, RenderingSettings

logger = logging.getLogger(__name__)

# Backends for tensors on a device, best first; `reference` draws anywhere, slowly.
PREFERENCES = {"cuda": ("gsplat", "reference"), "cpu": ("cpu", "reference")}


@lru_cache
def build_rasterizer(name: str) -> Rasterizer:
    """The backend called `name` (`gsplat`, `cpu` or `reference`); `ParameterError` with suggestions for other names."""
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "use 'auto' to let the library choose"
        raise ParameterError(
            f"backend: {name!r} is unknown (expected 'auto', {', '.join(map(repr, BACKENDS))}): {hint}"
        )
    return load_object(BACKENDS[name])()


@lru_cache
def choose_backend(device: torch.device | str) -> tuple[str, str]:
    """Name of the backend that `auto` means for tensors on `device`, and the reason in words; draws nothing."""
    device = torch.device(device)
    passed_over = []
    for name in PREFERENCES.get(device.type, ("reference",)):
        obstacle = _obstacle(name, device)
        if obstacle is None:
            reason = "; ".join([*passed_over, f"{name} is the fastest that serves tensors on {device}"])
            logger.info("rasterizer backend for %s: %s (%s)", device, name, reason)
            return name, reason
        passed_over.append(f"not {name}: {obstacle}")
    raise BackendError(
        f"rasterize: no backend serves tensors on {device} ({'; '.join(passed_over)}): move them to the CPU"
    )


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    height: int,
    width: int,
    *,
    background: Sequence[float] | Float[Tensor, "3"] | None = None,
    near_plane: float = 0.01,
    backend: str = "auto",
) -> Rendering:
    """Colour, depth and alpha of Gaussians seen by cameras, differentiable in every field of the Gaussians.

    `gaussians.batch_shape` is a prefix of `cameras.batch_shape` (*c): () draws one scene for all cameras, (b,) with
    (b, v) draws every scene for its own v cameras. `background` is RGB behind everything (black if None); `near_plane`
    culls nearer Gaussians, in world units. Depth is the sum of weight * z, not divided by alpha. Intrinsics without
    skew. Method: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023. Raises
    `ParameterError` for unusable arguments, `BackendError` where a backend cannot serve.

    >>> import torch
    >>> camera = Cameras(torch.eye(4), torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]))
    >>> size, turn = torch.full((1, 3), 0.3), torch.eye(4)[:1]
    >>> ball = Gaussians(torch.tensor([[0.0, 0, 2]]), size, turn, torch.ones(1), torch.ones(1, 1, 3))
    >>> rasterize(ball, camera, 8, 8, backend="reference").color.shape
    torch.Size([3, 8, 8])
    """
    _check_arguments(gaussians, cameras, height, width, near_plane)
    rasterizer = _pick(backend, gaussians.means.device)
    _refuse_missing_camera_gradients(rasterizer, cameras)
    one, many = gaussians.batch_shape, cameras.batch_shape
    scenes, views = math.prod(one), math.prod(many[len(one) :])
    flat = rasterizer.render(
        Gaussians(*(_reshape(getattr(gaussians, f.name), one, (scenes,)) for f in fields(gaussians))),
        Cameras(*(_reshape(getattr(cameras, f.name), many, (scenes, views)) for f in fields(cameras))),
        *(height, width, near_plane),
    )
    color, depth, alpha = (_reshape(image, (scenes, views), many) for image in (flat.color, flat.depth, flat.alpha))
    if background is not None:
        behind = torch.as_tensor(background, dtype=color.dtype, device=color.device)
        if behind.shape != (3,):
            raise ParameterError(f"background: {background} is no colour: give red, green and blue")
        color = color + (1 - alpha)[..., None, :, :] * behind[:, None, None]
    return Rendering(color, depth, alpha)


def render_with_settings(
    gaussians: Gaussians,
    cameras: Cameras,
    height: int,
    width: int,
    settings: RenderingSettings,
    near: Float[Tensor, "*batch"] | float,
    backend: str = "auto",
) -> Rendering:
    """`rasterize` as a model's settings ask for it; `near` is the near distance of each scene, in world units.

    `near` is a number or has the Gaussians' batch shape; it matters only with `settings.near_plane_factor`.
    """
    if settings.centered_principal_point:
        cameras = replace(cameras, intrinsics=symmetric_frustum(cameras.intrinsics))
    if settings.max_degree is not None:
        gaussians = replace(gaussians, harmonics=gaussians.harmonics[..., : (settings.max_degree + 1) ** 2, :])
    background = settings.background if any(settings.background) else None
    options = {"background": background, "backend": backend}
    planes = _near_planes(settings, near, gaussians.batch_shape)
    if len(set(planes)) == 1:
        return rasterize(gaussians, cameras, height, width, near_plane=planes[0], **options)
    # Scenes with near planes of their own are drawn one by one: backends take one plane a call.
    axes, scenes = gaussians.batch_shape, []
    for index, plane in zip(torch.cartesian_prod(*map(torch.arange, axes)).view(-1, len(axes)), planes, strict=True):
        at = tuple(index.tolist())
        scenes.append(rasterize(gaussians[at], cameras[at], height, width, near_plane=plane, **options))
    return Rendering(*(torch.stack([getattr(s, f.name) for s in scenes]).unflatten(0, axes) for f in fields(Rendering)))


def symmetric_frustum(intrinsics: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Normalised intrinsics with the principal point in the middle and the same opening angles, as pixelSplat's code
    and its descendants render: the angles are those between the rays at the middles of opposite borders.

    A camera whose principal point is in the middle stays as it is; another one loses its shift, and a shift changes the
    angles a little.
    """
    borders = intrinsics.new_tensor([[0, 0.5, 1], [1, 0.5, 1], [0.5, 0, 1], [0.5, 1, 1]], dtype=torch.float64)
    rays = torch.nn.functional.normalize(borders @ torch.linalg.inv(intrinsics.double()).mT, dim=-1)
    first, last = rays[..., 0::2, :], rays[..., 1::2, :]
    half_tangents = (last - first).norm(dim=-1) / (last + first).norm(dim=-1)
    middle = torch.full_like(half_tangents, 0.5)
    columns = torch.cat([torch.diag_embed(0.5 / half_tangents), middle[..., None]], dim=-1)
    return torch.cat([columns.to(intrinsics), intrinsics[..., 2:, :]], dim=-2)


@lru_cache
def _obstacle(name: str, device: torch.device) -> str | None:
    return build_rasterizer(name).obstacle(device)


def _pick(backend: str, device: torch.device) -> Rasterizer:
    if backend == "auto":
        return build_rasterizer(choose_backend(device)[0])
    rasterizer, obstacle = build_rasterizer(backend), _obstacle(backend, device)
    if obstacle is not None:
        raise BackendError(f"rasterize: backend {backend!r} cannot draw: {obstacle}; backend='auto' picks one that can")
    return rasterizer


def _near_planes(settings: RenderingSettings, near: Tensor | float, scenes: torch.Size) -> list[float]:
    if settings.near_plane_factor is None or not isinstance(near, Tensor):
        return [settings.near_plane if settings.near_plane_factor is None else settings.near_plane_factor * near]
    if near.shape != scenes:
        raise ParameterError(
            f"near: shape {tuple(near.shape)} does not fit Gaussians with batch shape {tuple(scenes)}: "
            "give one distance for each scene"
        )
    return (settings.near_plane_factor * near).flatten().tolist()


def _reshape(tensor: Tensor, batch: Sequence[int], target: Sequence[int]) -> Tensor:
    return tensor.reshape(*target, *tensor.shape[len(batch) :])


def _check_arguments(gaussians: Gaussians, cameras: Cameras, height: int, width: int, near_plane: float) -> None:
    scenes, views = tuple(gaussians.batch_shape), tuple(cameras.batch_shape)
    if views[: len(scenes)] != scenes:
        raise ParameterError(
            f"rasterize: Gaussians with batch shape {scenes} are no prefix of cameras with batch shape {views}: "
            "give every scene its own cameras, or one scene to all"
        )
    if height < 1 or width < 1:
        raise ParameterError(
            f"rasterize: a picture of {height} x {width} pixels is empty: give a height and width of 1 or more"
        )
    if not 0 < near_plane < math.inf:
        raise ParameterError(
            f"near_plane: {near_plane} is not a positive distance: give one in world units, such as 0.01"
        )
    kinds = {(t.dtype, t.device) for t in (getattr(gaussians, f.name) for f in fields(gaussians))}
    if len(kinds) > 1 or gaussians.means.dtype not in (torch.float32, torch.float64):
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ParameterError(
            f"rasterize: Gaussians are {found} (expected all float32 or all float64 on one device): use .to"
        )
    if (
        cameras.world_from_camera.device != gaussians.means.device
        or cameras.intrinsics.device != gaussians.means.device
    ):
        raise ParameterError(
            f"rasterize: cameras on {cameras.world_from_camera.device}, Gaussians on {gaussians.means.device} "
            "(expected one device): use cameras.to(device)"
        )
    gaussians.degree  # noqa: B018  (raises for a number of coefficients that no degree has)


def _refuse_missing_camera_gradients(rasterizer: Rasterizer, cameras: Cameras) -> None:
    if not torch.is_grad_enabled():
        return
    for field in fields(cameras):
        if getattr(cameras, field.name).requires_grad and field.name not in rasterizer.camera_gradients:
            raise BackendError(
                f"rasterize: {type(rasterizer).__name__} has no gradient for cameras.{field.name}, which requires one: "
                "detach it, or use backend='reference'"
            )
