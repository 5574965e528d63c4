"""A small real input for every plot function of the library, and the figures that they make of them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from pmgs_lib.cameras import Cameras
from pmgs_lib.data.inspection.base import Finding
from pmgs_lib.data.inspection.diagnosis import Diagnosis
from pmgs_lib.data.inspection.readings import OURS, MatchedPair, Reading
from pmgs_lib.data.inspection.scene import SceneReport
from pmgs_lib.evaluation import interval_over_seeds, paired_tests
from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.losses import PointmapLoss, measure_health
from pmgs_lib.suite.performance import Comparison, Target
from pmgs_lib.training import Descent
from pmgs_lib.ui import (
    ablation_plots,
    cloud_plots,
    depth_plots,
    edge_plots,
    health_plots,
    performance_plots,
    plots,
    scene_plots,
    statistics_plots,
    timing_plots,
)
from pmgs_lib.views import Example, Views

HEIGHT, WIDTH = 48, 64


def make_views(count: int, *, offset: float = 0.0) -> Views:
    """A slanted wall with a box before it, painted with waves."""
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = offset + 0.4 * torch.arange(count)
    poses[:, 2, 3] = 0.1 * torch.arange(count)
    cameras = Cameras(poses, torch.tensor([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]]).repeat(count, 1, 1))
    rows, columns = torch.meshgrid(torch.linspace(0, 1, HEIGHT), torch.linspace(0, 1, WIDTH), indexing="ij")
    waves = torch.stack([torch.sin(9 * columns), torch.cos(7 * rows), torch.sin(5 * (rows + columns))])
    depth = (4 + 3 * columns).where((rows - 0.6).abs() + (columns - 0.5).abs() > 0.3, 2.0)
    images = (0.5 + 0.35 * waves).where(depth > 2, 0.8 * waves.flip(0).abs())
    many = lambda value: value.repeat(count, *(1,) * value.ndim)  # noqa: E731
    return Views(many(images), cameras, torch.tensor(0.5), torch.tensor(20.0), many(depth))


def make_example() -> tuple[Example, MethodOutput, MethodOutput]:
    example = Example(make_views(2), make_views(3, offset=0.2), "wall")
    noise = 0.15 * torch.randn(example.target.images.shape, generator=torch.Generator().manual_seed(0))
    shifted = example.target.images.roll(3, dims=-1)
    good = MethodOutput(example.target.images + noise, 1.1 * example.target.depth)
    return example, good, MethodOutput(shifted)


def clouds() -> Figure:
    views = make_views(2)
    points = views.cameras.unproject(views.depth)[0].reshape(-1, 3)
    noisy = points * (1 + 0.03 * torch.randn(len(points), 1, generator=torch.Generator().manual_seed(0)))
    distances = (noisy - points).norm(dim=-1)
    colors = {"predicted": distances, "worse": 2 * distances}
    return cloud_plots.plot_point_clouds(
        {"predicted": noisy, "worse": 2 * noisy - points}, views.cameras, colors=colors
    )


def plain_clouds() -> Figure:
    views = make_views(2)
    return cloud_plots.plot_point_clouds(
        {"exact": views.cameras.unproject(views.depth)[0].reshape(-1, 3)}, views.cameras
    )


def depths() -> Figure:
    views = make_views(2)
    return depth_plots.plot_depths(views, 1.2 * views.depth)


def depth_errors() -> Figure:
    errors = {
        2: {"abs_rel": 0.3, "delta1": 0.7},
        4: {"abs_rel": 0.2, "delta1": 0.8},
        8: {"abs_rel": 0.1, "delta1": 0.9},
    }
    return depth_plots.plot_errors_by_views(errors, ["abs_rel", "delta1"])


def edge_maps() -> Figure:
    views = make_views(1)
    edges = views.depth[0].diff(dim=1, prepend=views.depth[0][:, :1]).abs() > 0.5
    maps = {"exact depth": views.depth[0], "predicted depth": 1.2 * views.depth[0]}
    return edge_plots.plot_edge_maps(views.images[0], maps, edges, 0.1 * views.depth[0], row=29)


def pixel_rows() -> Figure:
    views = make_views(1)
    surface = views.cameras.unproject(views.depth)[0, 29]
    floating = torch.zeros(WIDTH, dtype=torch.bool)
    floating[18:22] = True
    points = surface * (1 + 0.2 * floating[:, None])
    rows = {
        "before": edge_plots.PixelRow(points, floating, surface - points),
        "after": edge_plots.PixelRow(surface, ~floating & floating),
    }
    return edge_plots.plot_pixel_rows(rows, surface, views.cameras[0])


def descents() -> Figure:
    points, steps = torch.zeros(1, 2, 3), np.arange(40)
    made = {name: Descent(points, tuple(np.exp(-rate * steps).tolist()), tuple((1.3 - rate * steps / 40).tolist()))
            for name, rate in (("absolute", 0.05), ("squared", 0.1), ("robust", 0.2))}  # fmt: skip
    return edge_plots.plot_descents(made, 1.25)


def health() -> Figure:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(5, 60, 3, generator=generator)
    spread = torch.linspace(0.02, 0.3, 5)[:, None, None]
    pointmap = points + spread * torch.randn(points.shape, generator=generator)
    pointmap[4, 0] = torch.nan
    measured = measure_health(PointmapLoss(threshold=0.03), points, pointmap, [f"scene {i}" for i in range(5)])
    return health_plots.plot_health(measured)


def alignment() -> Figure:
    views = make_views(2)
    surface = views.cameras.unproject(views.depth)
    noise = 0.05 * torch.randn(surface.shape, generator=torch.Generator().manual_seed(0))
    details = PointmapLoss().details(surface[None], (1.5 * surface + noise + 1)[None], per_pixel=True)
    return health_plots.plot_alignment(surface, 1.5 * surface + noise + 1, details.pixels.aligned[0], views.cameras)


def performance() -> Figure:
    targets = [
        Target("forward pass", ("a",), "ms", at_most=150.0, released=793.0),
        Target("loss", ("b",), "ms", at_most=10.0),
    ]
    return performance_plots.plot_performance(
        [Comparison(targets[0], (120.0, 130.0, 160.0)), Comparison(targets[1])], "ms"
    )


def losses() -> Figure:
    steps = np.arange(80)
    wobble = 1 + 0.1 * np.sin(steps)
    terms = {name: size * np.exp(-steps / slow) * wobble for name, size, slow in (
        ("photometric", 1.0, 40), ("perceptual", 0.6, 60), ("pointmap", 0.3, 30), ("total", 2.0, 40))}  # fmt: skip
    beside = {"gradient_norm": wobble, "learning_rate": np.linspace(1e-3, 0, 80), "skipped": steps == 30}
    frame = pd.DataFrame({"step": steps, **terms, **beside})
    return plots.plot_loss_curve(frame)


def make_diagnosis() -> Diagnosis:
    cameras = make_views(2).cameras.to(torch.float64)
    points = torch.rand(30, 3, generator=torch.Generator().manual_seed(2)).double()
    pixels, _ = cameras.project(
        (points * torch.tensor([2.0, 1.5, 3]) + torch.tensor([-0.8, -0.8, 3.0]))[None], HEIGHT, WIDTH
    )
    shares = {OURS: 0.9, Reading("camera-from-world", "OpenGL", "shares"): 0.1}
    return Diagnosis((), shares, OURS, (MatchedPair(0, 1, pixels),), (HEIGHT, WIDTH), cameras)


def epipolar_lines() -> Figure:
    pictures = [(255 * image.movedim(0, -1)).clamp(0, 255).byte() for image in make_views(2).images]
    return scene_plots.plot_epipolar_lines(pictures, make_diagnosis())


def walk() -> Figure:
    cameras = make_views(8).cameras
    cameras.world_from_camera[:, 0, 3] = torch.linspace(0, 3, 8)
    cameras.world_from_camera[:, 2, 3] = torch.linspace(0, 3, 8).sin()
    facts = dict.fromkeys(["horizontal_fov_deg", "vertical_fov_deg", "step", "span", "turn_deg"], 1.0)
    report = SceneReport(
        key="a", split="test", frames=8, height=HEIGHT, width=WIDTH, near=None, far=None,
        findings=(Finding("blurred", "frame 3 is blurred", (3,)),), off_center=0.0,
        sharpness=(1.0, 0.9, 1.1, 0.2, 1.0, 0.95, 1.05, 1.0), depth_range=None, depth_seen=None, depth_source="",
        **facts,
    )  # fmt: skip
    return scene_plots.plot_walk(cameras, report)


def changes() -> Figure:
    rows = [("mask", "two views", 0.0, 0.0), ("mask", "many views", 0.012, -1.5), ("rays", "two views", 0.05, 2.9),
            ("rays", "many views", 0.03, -2.9), ("near plane", "two views", 0.002, 0.4)]  # fmt: skip
    names = ["behaviour", "situation", "depth_change", "psnr_change"]
    return ablation_plots.plot_changes(pd.DataFrame(rows, columns=names))


def growth() -> Figure:
    loads = [(views, 400) for views in (2, 4, 8)] + [(2, pixels) for pixels in (100, 900)]
    rows = [{"setting": setting, "views": views, "pixels": pixels, "median_s": factor * views * pixels**0.5 / 100,
             "peak_bytes": factor * views * 2.0**28} for views, pixels in loads
            for setting, factor in (("exact", 2.0), ("fast", 1.0), ("compiled", 0.6))]  # fmt: skip
    table = pd.DataFrame(rows)
    return timing_plots.plot_growth(table.assign(low_s=0.9 * table["median_s"], high_s=1.2 * table["median_s"]))


def seed_means() -> Figure:
    arms = {name: {"psnr": interval_over_seeds([20.0 + shift, 20.4 + shift, 20.9 + shift])}
            for name, shift in (("plain", 0.0), ("PM-Loss", 0.7), ("PM-Loss, squared", 0.4))}  # fmt: skip
    return statistics_plots.plot_seed_means(arms, ["psnr"])


def paired_differences() -> Figure:
    first = {f"scene {i}": {"psnr": 20.0, "lpips": 0.2} for i in range(8)}
    by = {name: {scene: row[name] for scene, row in first.items()} for name in ("psnr", "lpips")}
    changed = {
        name: {scene: value + 0.01 * (i - 3) for i, (scene, value) in enumerate(row.items())}
        for name, row in by.items()
    }
    tests = paired_tests({name: [row] for name, row in by.items()}, {name: [row] for name, row in changed.items()})
    return statistics_plots.plot_paired_differences(tests, "PM-Loss", "plain")


def prediction() -> Figure:
    example, good, _ = make_example()
    return plots.plot_prediction(example, good, targets=(0, 2))


def comparison() -> Figure:
    example, good, shifted = make_example()
    return plots.plot_comparison(example, {"noisy": good, "shifted": shifted}, target=1)


def metrics() -> Figure:
    rows = {
        "ours": {"psnr": 24.7, "lpips": None},
        "ours, longer": {"psnr": 25.5, "lpips": 0.2},
        "copy": {"psnr": 18.0, "lpips": 0.4},
    }
    return plots.plot_metrics(rows, ["psnr", "lpips"], controls={"copy"})


# Name of a plot function -> figures that it makes.
CASES: dict[str, list[Callable[[], Figure]]] = {
    "plot_views": [lambda: plots.plot_views(make_views(3))],
    "plot_prediction": [prediction],
    "plot_comparison": [comparison],
    "plot_metrics": [metrics],
    "plot_loss_curve": [losses],
    "plot_depths": [depths],
    "plot_errors_by_views": [depth_errors],
    "plot_point_clouds": [clouds, plain_clouds],
    "plot_health": [health],
    "plot_alignment": [alignment],
    "plot_edge_maps": [edge_maps],
    "plot_pixel_rows": [pixel_rows],
    "plot_descents": [descents],
    "plot_changes": [changes],
    "plot_epipolar_lines": [epipolar_lines],
    "plot_readings": [lambda: scene_plots.plot_readings(make_diagnosis())],
    "plot_walk": [walk],
    "plot_growth": [growth],
    "plot_performance": [performance],
    "plot_seed_means": [seed_means],
    "plot_paired_differences": [paired_differences],
}
