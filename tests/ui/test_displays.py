"""What a notebook shows of the library's types; tests and goldens read the text view."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from pmgs_lib.gaussians import Gaussians
from pmgs_lib.ui.displays import register_displays
from pmgs_lib.ui.plots import plot_views
from pmgs_lib.views import Example, Views


class Shell:
    """As much of IPython's shell as formatting needs."""

    def __init__(self) -> None:
        self.display_formatter = DisplayFormatter()
        self.display_formatter.active_types = self.display_formatter.format_types


@pytest.fixture
def shown():
    shell = Shell()
    assert register_displays(shell)
    return lambda value: shell.display_formatter.format(value)[0]


def gaussians(**changes) -> Gaussians:
    fields = {
        "means": torch.tensor([[0.0, -1, 2], [3, 0, 4]]),
        "scales": torch.full((2, 3), 0.01),
        "quaternions": torch.tensor([[1.0, 0, 0, 0]] * 2),
        "opacities": torch.tensor([0.25, 1.0]),
        "harmonics": torch.zeros(2, 4, 3),
    }
    return Gaussians(**(fields | changes))


def test_gaussians_say_count_degree_and_ranges(shown):
    assert shown(gaussians())["text/plain"] == (
        "Gaussians: 2, degree 1, means -1 to 4 m, scales 0.01 m, opacities 0.25 to 1, float32 on cpu"
    )
    html = shown(gaussians())["text/html"]
    assert "<td" in html
    assert "(2, 4, 3)" in html


def test_nan_is_loud(shown):
    means = torch.tensor([[0.0, torch.nan, 2], [torch.inf, 0, 4]])
    assert "means 0 to 4 (2 NaN OR INFINITE) m" in shown(gaussians(means=means))["text/plain"]


def test_a_batch_says_its_shape(shown):
    batch = Gaussians(*(value[None] for value in vars(gaussians()).values()))
    assert shown(batch)["text/plain"].startswith("Gaussians (1): 2, degree 1")


def test_cameras_say_field_of_view_and_span(shown, views):
    assert shown(views(3).cameras)["text/plain"] == (
        "Cameras (3): field of view 53.1° x 36.9°, centres span 1 m, float32 on cpu"
    )
    assert shown(views(3).cameras[0])["text/plain"].startswith("Cameras (): field of view")


def test_views_say_sizes_and_ranges_and_show_thumbnails(shown, views):
    known, unknown = views(2), views(2, depth=False)
    assert shown(known)["text/plain"] == (
        "Views: 2 of 8x12, images 0 to 1, near 0.5 m, far 40 m, exact depth 1 to 16 m, float32 on cpu"
    )
    assert "no exact depth" in shown(unknown)["text/plain"]
    for value, count in ((known, 4), (unknown, 2), (views(10), 16)):
        assert len(thumbnails(shown(value)["text/html"])) == count
    assert "and 2 more" in shown(views(10))["text/html"]


def thumbnails(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_a_thumbnail_shows_the_picture(shown, views):
    bytes_shown = thumbnails(shown(views(1))["text/html"])[0]
    np.testing.assert_allclose(bytes_shown, views(1).images[0].movedim(0, -1) * 255, atol=0.51)


def test_an_example_shows_both_sets_and_its_key(shown, example):
    lines = shown(example)["text/plain"].splitlines()
    assert lines[0] == "Example room"
    assert lines[1].startswith("  context: Views: 2 of 8x12")
    assert lines[2].startswith("  target:  Views: 3 of 8x12")
    assert len(thumbnails(shown(example)["text/html"])) == 10


def test_a_batch_of_examples_is_told_in_words(shown, example):
    batch = shown(Example.collate([example, example]))
    assert batch["text/plain"].splitlines()[0] == "Example room, room"
    assert not thumbnails(batch["text/html"])


def test_a_key_cannot_become_markup(shown, views):
    html = shown(Example(views(1), views(1), "<script>"))["text/html"]
    assert "<script>" not in html


def test_a_figure_is_shown_as_a_picture_without_pyplot(shown, views):
    picture = shown(plot_views(views(2)))["image/png"]
    data = picture if isinstance(picture, bytes) else base64.b64decode(picture)
    assert Image.open(io.BytesIO(data)).size[0] > 300


def test_the_html_loads_nothing(shown, example):
    for value in (example, gaussians(), example.context.cameras):
        html = shown(value)["text/html"]
        assert not re.search(r"https?:|<script|<link|<iframe", html)


def test_outside_ipython_nothing_happens():
    assert not InteractiveShell.initialized()
    assert register_displays() is False


def test_an_empty_scene_has_a_text(shown):
    empty = Gaussians(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 1, 3))
    assert shown(empty)["text/plain"].startswith("Gaussians: 0, degree 0, means none m")
    assert isinstance(shown(Views)["text/plain"], str)
