"""The rasterizer for machines without a GPU: numba kernels, forward and backward, no compiler needed to install it."""

import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pmgs_lib.cameras import Cameras
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.rasterizers.base import VIEW_MARGIN, Rasterizer, Rendering, refuse_unusable
from pmgs_lib.rasterizers.cpu_blend_gradient_kernels import SUMS, blend_gradient
from pmgs_lib.rasterizers.cpu_blend_kernels import LARGEST_TILE, Images, blend
from pmgs_lib.rasterizers.cpu_project_gradient_kernels import project_gradient
from pmgs_lib.rasterizers.cpu_project_kernels import SHAPE, Canvas, Scene, Splats, View, project
from pmgs_lib.rasterizers.cpu_tile_kernels import Tiles, list_entries

# Small pictures are cut into small tiles, so that all threads have work and few pixels wait for the last one.
SMALL_TILE = 16
SMALL_PICTURE = 128 * 128

# numba's workqueue layer, which serves where there is no OpenMP, aborts the process when two Python threads enter it.
_ONE_AT_A_TIME = threading.Lock()


class CpuRasterizer(Rasterizer):
    def obstacle(self, device: torch.device) -> str | None:
        return None if device.type == "cpu" else f"the numba kernels draw CPU tensors only, these are on {device}"

    def render(self, gaussians: Gaussians, cameras: Cameras, height: int, width: int, near_plane: float) -> Rendering:
        edge = SMALL_TILE if height * width <= SMALL_PICTURE else LARGEST_TILE
        plan = Plan(Canvas(height, width, edge), _views(cameras, height, width, near_plane))
        return Rendering(*_Draw.apply(plan, *(getattr(gaussians, f.name) for f in fields(gaussians))))


class Plan(NamedTuple):
    """What to draw: the picture's size, and for every scene its views."""

    canvas: Canvas
    views: list[list[View]]


class _Draw(torch.autograd.Function):
    """Colour (scene, view, 3, h, w), depth and alpha (scene, view, h, w) of Gaussians (scene, gaussian, ...)."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *gaussians: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scenes = _scenes(gaussians)
        shape = (len(scenes), len(plan.views[0]) if plan.views else 0)
        size = (plan.canvas.height, plan.canvas.width)
        images = [gaussians[0].new_empty(*shape, *axes, *size) for axes in ((3,), (), ())]
        lists = {}
        with _ONE_AT_A_TIME:
            for s, v in np.ndindex(shape):
                pictures = Images(*(image[s, v].numpy() for image in images))
                lists[s, v] = _draw(plan.views[s][v], scenes[s], plan.canvas, pictures)
                if not any(ctx.needs_input_grad):
                    del lists[s, v]
        ctx.plan, ctx.lists = plan, lists
        ctx.save_for_backward(*gaussians, *images)
        return tuple(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        *gaussians, color, depth, alpha = ctx.saved_tensors
        scenes, dtype = _scenes(gaussians), color.detach().numpy().dtype
        totals = [torch.from_numpy(np.zeros(g.shape, dtype)) for g in gaussians]
        gradients, upstream = _scenes(totals), [u.contiguous() for u in upstream]
        with _ONE_AT_A_TIME:
            for (s, v), (splats, tiles) in ctx.lists.items():
                pictures = [
                    Images(*(i[s, v].detach().numpy() for i in three)) for three in ((color, depth, alpha), upstream)
                ]
                sums = np.empty((splats.entries[-1], SUMS), splats.paints.dtype)
                threads = numba.get_num_threads()
                blend_gradient(splats, tiles, ctx.plan.canvas, *pictures, sums, threads)
                project_gradient(ctx.plan.views[s][v], scenes[s], splats, sums, gradients[s], threads)
        return None, *totals


def _draw(view: View, scene: Scene, canvas: Canvas, images: Images) -> tuple[Splats, Tiles]:
    """Draw one picture; return the lists that its gradient needs."""
    count, threads = len(scene.means), numba.get_num_threads()
    splats = Splats(
        shapes=np.empty((count, SHAPE)),
        paints=np.empty((count, 4), scene.means.dtype),
        boxes=np.empty((count, 4), np.int32),
        entries=np.empty(count + 1, np.int64),
    )
    refuse_unusable(project(view, scene, canvas, splats, threads), count)
    np.cumsum(splats.entries, out=splats.entries)
    rows, columns = -(-canvas.height // canvas.edge), -(-canvas.width // canvas.edge)
    tiles = Tiles(starts=np.empty(rows * columns + 1, np.int64), entries=np.empty(splats.entries[-1], np.uint64))
    list_entries(splats, columns, tiles, threads)
    blend(splats, tiles, canvas, images, threads)
    return splats, tiles


def _scenes(gaussians: Sequence[Tensor]) -> list[Scene]:
    """Each scene's arrays, sharing memory with the tensors where these are contiguous."""
    arrays = [tensor.detach().contiguous().numpy() for tensor in gaussians]
    return [Scene(*scene) for scene in zip(*arrays, strict=True)]


def _views(cameras: Cameras, height: int, width: int, near_plane: float) -> list[list[View]]:
    cameras = cameras.to(torch.float64)
    poses, centers = cameras.camera_from_world.detach().numpy(), cameras.centers.detach().numpy()
    intrinsics, extent = cameras.pixel_intrinsics(height, width).detach().numpy(), np.array([width, height])

    def view(index: tuple[int, int]) -> View:
        focal, principal = intrinsics[index].diagonal()[:2].copy(), intrinsics[index][:2, 2].copy()
        margin = VIEW_MARGIN * 0.5 * extent / focal
        return View(
            rotation=poses[index][:3, :3].copy(),
            translation=poses[index][:3, 3].copy(),
            center=centers[index].copy(),
            focal=focal,
            principal=principal,
            low=-principal / focal - margin,
            high=(extent - principal) / focal + margin,
            near_plane=float(near_plane),
        )

    scenes, views = cameras.batch_shape
    return [[view((s, v)) for v in range(views)] for s in range(scenes)]
