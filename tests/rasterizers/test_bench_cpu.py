"""How many times faster than gsplat's own torch maths the compiled kernels are, forward and backward.

Ours and the peer alternate in one process, so that whatever else the machine does hits both. What had to be supplied to
make the peer run on a CPU is left out of its time. Colour and depth, degree 0.
"""

import sys
import time
import warnings

import numpy as np
import pytest
import torch

from pmgs_lib import Cameras, Gaussians
from pmgs_lib.rasterizers import rasterize

ROUNDS = 7


@pytest.fixture
def peer(shared, monkeypatch):
    """The modules `scene` and `gsplat_torch` of the development data."""
    pytest.importorskip("gsplat")
    pytest.importorskip("nerfacc")
    monkeypatch.setattr(sys, "path", [str(shared / "peers"), *sys.path])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party packages, imported here only
        import gsplat_torch
        import scene
    return scene, gsplat_torch


def leaves_of(scene: dict) -> dict[str, torch.Tensor]:
    return {name: scene[name].clone().requires_grad_() for name in ("means", "scales", "quats", "opac", "cols")}


def time_ours(scene: dict, leaves: dict, upstream: tuple) -> tuple[float, torch.Tensor]:
    harmonics = ((leaves["cols"] - 0.5) * 2 * np.sqrt(np.pi))[:, None].detach().requires_grad_()
    gaussians = Gaussians(leaves["means"], leaves["scales"], leaves["quats"], leaves["opac"], harmonics)
    size = (scene["H"], scene["W"])
    cameras = Cameras.from_pixels(torch.linalg.inv(scene["vm"]), scene["K"], *size)
    start = time.perf_counter()
    image = rasterize(gaussians, cameras, *size, backend="cpu")
    torch.autograd.backward([image.color, image.depth], upstream)
    return time.perf_counter() - start, image.color.detach()


def time_peer(gsplat_torch, scene: dict, leaves: dict, upstream: tuple) -> tuple[float, torch.Tensor]:
    arguments = [leaves[name] for name in ("means", "quats", "scales", "opac", "cols")]
    parts = {}
    image, _ = gsplat_torch.render(*arguments, scene["vm"], scene["K"], scene["W"], scene["H"], timings=parts)
    gradient = torch.cat([upstream[0].permute(1, 2, 0), upstream[1][..., None]], dim=-1)
    start = time.perf_counter()
    image.backward(gradient)
    return time.perf_counter() - start + parts["proj"] + parts["isect"] + parts["accum"], image[..., :3].detach()


@pytest.mark.prove
@pytest.mark.timing
@pytest.mark.parametrize(("height", "width", "count", "bound"), [(256, 448, 229_376, 6.0), (64, 112, 14_336, 4.0)])
def test_faster_than_gsplats_torch_maths(height, width, count, bound, peer, capsys):
    scenes, gsplat_torch = peer
    scene = scenes.make_scene(H=height, W=width)
    assert len(scene["means"]) == count
    rng = torch.Generator().manual_seed(0)
    upstream = (torch.randn(3, height, width, generator=rng), torch.randn(height, width, generator=rng))
    ours, theirs = [], []
    for _ in range(ROUNDS + 1):  # the first round warms up
        mine = leaves_of(scene)
        ours.append(time_ours(scene, mine, upstream))
        its = leaves_of(scene)
        theirs.append(time_peer(gsplat_torch, scene, its, upstream))
    assert (ours[0][1].permute(1, 2, 0) - theirs[0][1]).abs().mean() < 1e-5
    for name in ("means", "scales", "quats", "opac"):
        cosine = torch.nn.functional.cosine_similarity(mine[name].grad.flatten(), its[name].grad.flatten(), dim=0)
        assert cosine > 0.999, name
    one, two = (np.median([seconds for seconds, _ in rounds[1:]]) for rounds in (ours, theirs))
    with capsys.disabled():
        print(f"\n{count} Gaussians, {height}x{width}: {1e3 * one:.1f} ms, peer {1e3 * two:.0f}: {two / one:.1f}x")
    assert two / one >= bound
