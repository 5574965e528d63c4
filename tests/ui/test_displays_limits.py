"""Rich views hold what they promise whatever they are given: small, quick, escaped, valid, the same everywhere."""

import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from pmgs_lib.evaluation import interval_over_seeds, paired_tests
from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.evaluation.results import EvaluationResult
from pmgs_lib.export.certification import Certificate
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.models.base import Prediction
from pmgs_lib.rasterizers.base import Rendering, RenderingSettings
from pmgs_lib.suite.closure import find_closure
from pmgs_lib.ui.displays import VIEWS_OF_TYPES, html_view, register_displays, text_view
from pmgs_lib.ui.displays_sketch import sketch_gaussians
from pmgs_lib.views import Example
from tests.ui.displays_cases import MOST_BYTES, assert_harmless, broken, make_evaluation, make_gaussians, make_record

MOST_SECONDS = 0.2
EVIL = '<script>alert("x")</script>'


@pytest.fixture
def values(example, output, tmp_path) -> dict[str, object]:
    gaussians = make_gaussians(500)
    batch = Gaussians(*(value[None] for value in vars(gaussians).values()))
    depth = example.target.depth[None]
    first, second = ({f"scene {i}": 20.0 + step * i for i in range(8)} for step in (0.1, 0.3))
    return {
        "Cameras": example.target.cameras,
        "Gaussians": gaussians,
        "Views": example.context,
        "Example": example,
        "Prediction": Prediction(batch, depth, RenderingSettings(near_plane_factor=0.2), confidence=depth / 16),
        "Rendering": Rendering(example.target.images, example.target.depth, torch.ones_like(example.target.depth)),
        "MethodOutput": MethodOutput(output.color, output.depth, example.context.depth, None, gaussians),
        "EvaluationResult": make_evaluation(),
        "PairedTest": paired_tests({"psnr": [first]}, {"psnr": [second]})[0],
        "Interval": interval_over_seeds([20.0, 20.4, 20.8]),
        "Certificate": Certificate(61.2, 61.2, 2e-4, 0.97, ("harmonics above degree 0",)),
        "RunRecord": make_record(tmp_path),
    }


def test_every_type_has_a_view_that_is_small_valid_and_loads_nothing(values):
    assert {name.rpartition(".")[2] for name in VIEWS_OF_TYPES} == set(values)
    for name, value in values.items():
        parsed = assert_harmless(html_view(value))
        assert "cannot be shown" not in parsed.words, name
        assert "unreadable" not in parsed.words, name
        assert text_view(value).startswith(name)
        assert "unreadable" not in text_view(value)


def test_ipython_shows_the_same_views(values):
    class Shell:
        display_formatter = DisplayFormatter()

    Shell.display_formatter.active_types = Shell.display_formatter.format_types
    register_displays(Shell)
    for value in values.values():
        shown = Shell.display_formatter.format(value)[0]
        assert shown["text/plain"] == text_view(value)
        assert shown["text/html"] == html_view(value)


def test_naming_a_type_does_not_make_every_notebook_depend_on_its_module():
    root = Path(__file__).parents[2]
    modules = find_closure("import pmgs_lib.ui.displays", {"pmgs_lib": root / "pmgs_lib"}).modules
    assert "pmgs_lib.ui.displays_scenes" in modules
    for unused in ("suite", "rasterizers", "models", "evaluation.results", "losses.pointmap", "export.ply"):
        assert f"pmgs_lib.{unused}" not in modules


def test_views_of_values_that_are_none_of_these_say_so():
    assert text_view(object()).startswith("object: cannot be shown (ParameterError: object has no rich view")
    assert_harmless(html_view(object()))


def test_a_subclass_is_shown_as_what_it_inherits_from():
    class Marked(Gaussians):
        pass

    assert text_view(Marked(*vars(make_gaussians(3)).values())).startswith("Gaussians: 3")


@pytest.mark.parametrize("view", [text_view, html_view])
def test_a_model_sized_view_takes_under_a_fifth_of_a_second_of_one_core(view):
    gaussians = make_gaussians(57_344)
    prediction = Prediction(
        Gaussians(*(value[None] for value in vars(gaussians).values())),
        1 + torch.rand(1, 2, 128, 224),
        RenderingSettings(),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for value in (gaussians, prediction):
            view(value)  # imports
            seconds = []
            for _ in range(3):
                start = time.process_time()
                shown = view(value)
                seconds.append(time.process_time() - start)
            assert min(seconds) < MOST_SECONDS
            assert len(shown) < MOST_BYTES
    finally:
        torch.set_num_threads(threads)


def test_many_large_noisy_pictures_stay_small(views, rng):
    noisy = views(10, height=256, width=448)
    noisy.images.copy_(torch.rand(noisy.images.shape, generator=rng))
    noisy.depth.copy_(1 + 20 * torch.rand(noisy.depth.shape, generator=rng))
    parsed = assert_harmless(html_view(Example(noisy, noisy, "noise")))
    assert parsed.seen.count("img") == 32


def test_huge_scenes_are_thinned_out_and_say_so():
    parsed = assert_harmless(html_view(make_gaussians(1_200_000, degree=0)))
    assert "20,000 of 1,200,000 drawn" in parsed.words
    assert "≈" in parsed.words


def test_what_comes_from_outside_cannot_become_markup(views, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / 'a"onerror=alert(1) .png')
    hostile = (
        Example(views(1), views(1), EVIL),
        make_evaluation(EVIL, EVIL, EVIL),
        make_record(tmp_path, EVIL),
        Certificate(61.2, 61.2, 2e-4, 0.97, (EVIL,)),
    )
    for value in hostile:
        assert EVIL in assert_harmless(html_view(value)).words.replace('\\"', '"')


def test_long_words_are_cut(tmp_path):
    assert len(html_view(make_record(tmp_path, "w" * 5000))) < 5000


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_gaussians_have_a_view(count):
    html = html_view(make_gaussians(count))
    assert_harmless(html)
    assert ("no sketch" in html) == (count == 0)


def test_values_that_are_not_finite_are_counted_and_not_drawn():
    gaussians = make_gaussians(100)
    gaussians.means[0] = torch.nan
    gaussians.scales[1] = torch.inf
    parsed = assert_harmless(html_view(gaussians))
    assert "(3 NaN OR INFINITE)" in parsed.words
    assert "98 of 100 drawn" in parsed.words
    for value in vars(gaussians).values():
        value.fill_(torch.nan)
    assert "none of 100 Gaussians can be seen" in assert_harmless(html_view(gaussians)).words
    assert "means none (300 NaN OR INFINITE) m" in text_view(gaussians)


def test_what_is_broken_shows_what_can_be_read_and_why_the_rest_cannot():
    whole = vars(make_gaussians(4))
    harmonics = broken(Gaussians, **(whole | {"harmonics": torch.zeros(4, 7, 3)}))
    assert "Gaussians: 4, degree unreadable (ParameterError: " in text_view(harmonics)
    assert "opacities" in assert_harmless(html_view(harmonics)).words
    elsewhere = broken(Gaussians, **{name: value.to("meta") for name, value in whole.items()})
    assert "means unreadable (" in text_view(elsewhere)
    assert "(4, 3)" in assert_harmless(html_view(elsewhere)).words
    short = broken(Gaussians, **(whole | {"opacities": torch.zeros(3)}))
    assert "no sketch (" in assert_harmless(html_view(short)).words
    absent = broken(Gaussians, **(whole | {"scales": None}))
    assert "scales unreadable (" in text_view(absent)
    assert "NoneType" in assert_harmless(html_view(absent)).words


def test_empty_shells_say_that_they_cannot_be_shown(values):
    for value in values.values():
        shell = broken(type(value))
        assert "(AttributeError: " in text_view(shell)
        assert_harmless(html_view(shell))


def test_errors_are_shown_without_addresses():
    class Trap:
        def __getattr__(self, name):
            raise ValueError(f"{name} of {object.__repr__(self)}")

    assert "0x…" in text_view(broken(EvaluationResult, method="a", control=False, settings=Trap(), ledger=Trap()))


def test_pictures_that_cannot_be_drawn_leave_the_words(views):
    given = views(1)
    given.depth.fill_(torch.nan)
    parsed = assert_harmless(html_view(given))
    assert "NaN OR INFINITE" in parsed.words
    assert parsed.seen.count("img") == 2
    assert "Views: 0 of 8x12" in assert_harmless(html_view(views(0))).words


def test_nothing_asks_for_a_graphics_card(values, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a display must not touch CUDA")

    for name in ("is_available", "current_device", "synchronize", "init"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    for value in values.values():
        assert "AssertionError" not in text_view(value) + html_view(value)


SCRIPT = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {folder!r})
from displays_cases import make_evaluation, make_gaussians, make_record
from pmgs_lib.ui.displays import html_view, text_view
for value in (make_gaussians(200), make_evaluation(), make_record(Path("elsewhere"))):
    print(text_view(value))
print(html_view(make_gaussians(200)))
"""


def test_texts_are_the_same_in_another_process(tmp_path):
    """Other hash seed, other addresses, other folder of the run: the same words, and the same picture."""
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        cwd=Path(__file__).parents[2],
    ).stdout
    shown = (*map(text_view, (make_gaussians(200), make_evaluation(), make_record(tmp_path))),
             html_view(make_gaussians(200)))  # fmt: skip
    assert elsewhere == "".join(f"{text}\n" for text in shown)


def test_a_record_says_its_origin_but_no_time_or_folder_in_its_text(tmp_path):
    text = text_view(make_record(tmp_path))
    assert text == (
        "RunRecord plain (0efb300741019760): notebooks/30_train.ipynb, experiment smoke, device cpu, 1 file made, "
        'needs train_scenes (a83ed156f4468bb3)\n  parameters: weights="plain", steps=20'
    )
    words = assert_harmless(html_view(make_record(tmp_path))).words
    assert "49.9 s, finished 2026-11-20" in words
    assert str(tmp_path) not in words
    (tmp_path / "metrics.json").write_text("{broken", encoding="utf-8")
    assert "metricsunreadable (JSONDecodeError" in assert_harmless(html_view(make_record(tmp_path))).words


def test_an_evaluation_says_its_means_and_what_is_missing():
    lines = text_view(make_evaluation(comparable="two scenes only")).splitlines()
    assert lines[0] == (
        "EvaluationResult room: protocol smoke (0123456789ab), 64x96 on cpu, 2 listed = 1 scored + 1 skipped"
    )
    assert lines[1:] == [
        "  not comparable: two scenes only",
        "  overall: PSNR [dB] 18.00, SSIM 0.500",
        "  inside: PSNR [dB] 20.00, SSIM 0.500",
        "  outside: PSNR [dB] 16.00",
    ]
    words = assert_harmless(html_view(make_evaluation())).words
    assert "lpips: too dark (1 scene)" in words
    assert "skipped other: too dark" in words


def test_a_certificate_says_when_nothing_differs():
    words = assert_harmless(html_view(Certificate(math.inf, math.inf, 0.0, 1.0, ()))).words
    assert "equal to the last bit" in words
    assert words.endswith("lostnothing")


def test_the_sketch_composites_front_to_back():
    """Two large Gaussians on one line of sight, and two at the corners that set the frame and the direction."""
    means = torch.tensor([[0.0, 0, -0.01], [0.0, 0, 0.01], [-2.0, -1, 0], [2, 1, 0], [-2, 1, 0], [2.0, -1, 0]])
    harmonics = torch.full((6, 1, 3), -10.0)  # black
    harmonics[0, 0, 0] = 10.0  # the near one is red
    turns = torch.tensor([[1.0, 0, 0, 0]]).repeat(6, 1)
    opacities = torch.tensor([0.5, 0.98, 0.1, 0.1, 0.1, 0.1])
    shown = sketch_gaussians(Gaussians(means, torch.full((6, 3), 0.2), turns, opacities, harmonics))
    height, width, _ = shown.pixels.shape
    assert width > height
    middle = shown.pixels[height // 2, width // 2].astype(int)
    assert abs(middle[0] - (0.5 * 255 + 0.01 * 255)) < 6  # half of it red, behind it black, then 1 % of white
    assert middle[1] == middle[2] < 12
    assert shown.drawn == 6
    assert shown.width_m == pytest.approx(4, rel=0.05)
