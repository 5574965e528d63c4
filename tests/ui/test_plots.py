"""Figures show what they are given, on shared scales, without touching the reader's matplotlib."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import LogNorm
from PIL import Image

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.evaluation.metrics import METRICS, psnr
from pmgs_lib.ui import (
    plot_comparison,
    plot_loss_curve,
    plot_metrics,
    plot_point_clouds,
    plot_prediction,
    plot_views,
    style,
)
from pmgs_lib.views import Views


def rendered(figure) -> np.ndarray:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=60)
    return np.asarray(Image.open(stream).convert("RGB"))


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def pictures(figure) -> list:
    return [axes.images[0] for axes in figure.axes if axes.images]


def test_views_stand_in_a_row_over_their_depth_on_one_scale(views):
    figure = plot_views(views(3), titles=["first"])
    assert titles(figure) == ["first", "view 1", "view 2", "exact depth"]
    shown = pictures(figure)
    np.testing.assert_allclose(shown[1].get_array(), views(3).images[1].movedim(0, -1))
    norms = {id(picture.norm) for picture in shown[3:6]}
    assert len(norms) == 1
    assert (shown[3].norm.vmin, shown[3].norm.vmax) == (1, 16)


def test_views_without_depth_and_beyond_six_are_fine(views):
    assert len(pictures(plot_views(views(9, depth=False)))) == 6


def test_pictures_are_not_distorted_whatever_their_shape(views):
    for height, width in ((8, 12), (16, 9)):
        figure = plot_views(views(2, height=height, width=width))
        inches = figure.get_size_inches()
        for axes in figure.axes[:4]:
            box = axes.get_position()
            assert box.height * inches[1] / (box.width * inches[0]) == pytest.approx(height / width, rel=1e-6)


def test_a_prediction_shows_input_target_render_error_and_both_depths(example, output):
    figure = plot_prediction(example, output, targets=(0, 2))
    value = psnr(output.color[0], example.target.images[0]).item()
    assert titles(figure)[:6] == [
        "nearest input",
        "target",
        f"rendering, {value:.2f} dB",
        "error",
        "exact depth",
        "rendered depth",
    ]
    shown = pictures(figure)
    error = (output.color[0] - example.target.images[0]).abs().mean(dim=0)
    np.testing.assert_allclose(shown[3].get_array(), error, rtol=1e-5)
    depth_norms = [p.norm for p in shown if isinstance(p.norm, LogNorm)]
    assert len(depth_norms) == 4
    assert len({id(n) for n in depth_norms}) == 1
    assert depth_norms[0].vmax == 32  # the rendered depth is twice the exact one
    assert (shown[3].norm.vmin, shown[3].norm.vmax) == (shown[9].norm.vmin, shown[9].norm.vmax) == (0, 0.5)


def test_a_prediction_without_any_depth_is_four_pictures(views, example, output):
    blind = type(example)(views(2, depth=False), views(3, depth=False), "room")
    assert len(pictures(plot_prediction(blind, MethodOutput(output.color)))) == 4


def test_a_comparison_says_who_predicts_no_depth(example, output):
    figure = plot_comparison(example, {"ours": output, "copy": MethodOutput(output.color)}, target=1)
    assert len(pictures(figure)) == 8
    assert "predicts no depth" in [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "depth of ours" in titles(figure)


def test_missing_depth_is_white_on_a_depth_scale(views):
    holes = views(1)
    depth = holes.depth.clone()
    depth[0, :4] = 0
    depth[0, 4, 0] = torch.nan
    figure = plot_views(Views(holes.images, holes.cameras, holes.near, holes.far, depth))
    shown = pictures(figure)[1].get_array()
    assert shown.mask.sum() == 4 * 12 + 1
    assert pictures(figure)[1].norm.vmin > 1


def test_a_batch_is_refused_with_the_next_step(views):
    with pytest.raises(ParameterError, match=r"pass views\[0\]"):
        plot_views(Views.stack([views(2), views(2)]))


ROWS = {"ours": {"psnr": 20.0, "abs_rel": 0.1}, "copy": {"psnr": 12.0, "abs_rel": None}}


def test_metric_bars_grey_the_controls_and_say_what_is_missing():
    figure = plot_metrics(ROWS, ["psnr", "abs_rel"], controls={"copy"})
    first, second = figure.axes
    assert titles(figure) == ["PSNR [dB], higher is better", "AbsRel, lower is better"]
    assert [bar.get_width() for bar in first.patches] == [20, 12]
    colors = [mpl.colors.to_hex(bar.get_facecolor()).upper() for bar in first.patches]
    assert colors == [style.CYCLE[0], style.CONTROL.upper()]
    assert [text.get_text() for text in second.texts] == ["0.100", "not available"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["ours", "copy"]


def test_metric_bars_of_nothing_but_zeros_or_nothing_at_all_are_drawn():
    rows = {"a": {"overall_m": 0.0, "lpips": None}}
    assert rendered(plot_metrics(rows, ["overall_m", "lpips"])).std() > 5


@pytest.mark.parametrize(("rows", "metrics"), [({}, ["psnr"]), (ROWS, []), (ROWS, ["pnsr"])])
def test_metric_bars_need_rows_and_known_metrics(rows, metrics):
    with pytest.raises(ParameterError, match=", ".join(list(METRICS)[:2])):
        plot_metrics(rows, metrics)


def history(steps: int, **columns) -> pd.DataFrame:
    base = {"step": range(steps), "photometric": np.linspace(1, 0.1, steps), "total": np.linspace(2, 0.2, steps)}
    return pd.DataFrame(base | columns)


def test_the_loss_curve_draws_each_term_and_its_running_mean():
    figure = plot_loss_curve(history(100, gradient_norm=1.0, learning_rate=np.linspace(1, 0, 100)))
    losses, norm, rate = figure.axes
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["photometric", "total"]
    assert len(losses.lines) == 4
    np.testing.assert_allclose(losses.lines[0].get_ydata(), np.linspace(1, 0.1, 100))
    np.testing.assert_allclose(losses.lines[1].get_ydata()[50], losses.lines[0].get_ydata()[50], atol=0.01)
    assert (losses.get_yscale(), norm.get_yscale(), rate.get_yscale()) == ("log", "log", "linear")
    assert len(rate.lines) == 1


def test_a_loss_curve_of_one_step_or_with_zeros_is_drawn():
    assert rendered(plot_loss_curve(history(1))).std() > 1
    assert plot_loss_curve(history(5, pointmap=0.0)).axes[0].get_yscale() == "linear"


def test_skipped_steps_are_marked_and_are_no_loss():
    frame = history(40, skipped=np.arange(40) % 10 == 9, gradient_norm=1.0)
    frame.loc[frame["skipped"], "photometric"] = np.nan
    losses = plot_loss_curve(frame).axes[0]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["photometric", "total", "skipped"]
    np.testing.assert_array_equal(losses.lines[-1].get_xdata(), frame["step"][frame["skipped"]])
    assert losses.get_yscale() == "log"
    assert len(plot_loss_curve(history(5, skipped=0)).axes[0].lines) == len(plot_loss_curve(history(5)).axes[0].lines)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), history(0), pd.DataFrame({"step": [0, 1]}), history(3).drop(columns="step")]
)
def test_a_loss_curve_needs_steps_and_terms(frame):
    with pytest.raises(ParameterError, match="expected 'step' and losses"):
        plot_loss_curve(frame)


def test_clouds_are_drawn_in_the_first_cameras_frame_at_one_scale(views):
    cameras = views(2).cameras
    cameras.world_from_camera[:, 1, 3] += 5  # the world's origin is elsewhere
    points = torch.tensor([[0.0, 5, 2], [1, 5, 4], [0, 6, 3], [0.5, 4, 8]])
    figure = plot_point_clouds({"cloud": points}, cameras)
    above, side = figure.axes
    np.testing.assert_allclose(sorted(above.collections[0].get_offsets()[:, 0]), [2, 3, 4, 8])
    np.testing.assert_allclose(sorted(side.collections[0].get_offsets()[:, 1]), [-1, 0, 0, 1], atol=1e-6)
    inches = figure.get_size_inches()
    scales = []
    for axes in (above, side):
        box, (left, right), (bottom, top) = axes.get_position(), axes.get_xlim(), axes.get_ylim()
        assert bottom > top  # right and down point downwards on paper
        scales += [box.width * inches[0] / (right - left), box.height * inches[1] / (bottom - top)]
    np.testing.assert_allclose(scales, scales[0])


def test_clouds_share_one_distance_scale_and_say_when_they_are_thinned(views, rng):
    cameras = views(1).cameras
    clouds = {"a": torch.rand(50_000, 3, generator=rng) + 1, "b": torch.rand(100, 3, generator=rng) + 1}
    colors = {"a": torch.rand(50_000, generator=rng), "b": 2 * torch.rand(100, generator=rng)}
    figure = plot_point_clouds(clouds, cameras, colors=colors, limit_m=30)
    assert titles(figure) == ["a (1 point in 3)", "b"]
    scatters = [axes.collections[0] for axes in figure.axes[:4]]
    assert len({id(scatter.norm) for scatter in scatters}) == 1
    assert len(scatters[0].get_offsets()) <= 20_000
    assert "distance [m]" in [text.get_text() for text in figure.texts]


def test_the_limit_cuts_the_cloud_and_an_empty_one_is_refused(views):
    points = torch.tensor([[0.0, 0, 2], [0, 1, 3], [1, 0, 90]])
    figure = plot_point_clouds({"cloud": points}, views(1).cameras, limit_m=10)
    assert len(figure.axes[0].collections[0].get_offsets()) == 2
    with pytest.raises(ParameterError, match="'cloud' has no point within limit_m=1"):
        plot_point_clouds({"cloud": points}, views(1).cameras, limit_m=1)
    with pytest.raises(ParameterError, match="expected at least one cloud"):
        plot_point_clouds({}, views(1).cameras)


def test_every_figure_draws_something_and_leaves_the_readers_settings_alone(example, output):
    before = dict(mpl.rcParams)
    for figure in (
        plot_views(example.context),
        plot_prediction(example, output),
        plot_comparison(example, {"a": output}),
    ):
        assert rendered(figure).std() > 20
    assert dict(mpl.rcParams) == before
