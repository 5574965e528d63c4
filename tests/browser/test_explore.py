"""Notebook 80 in a real JupyterLab: every control changes the picture, and scores are those of the pixels shown."""

import json

import numpy as np
import pytest
from explorer_page import ExplorerPage
from notebook_page import decoded

NAME = "80_explore"
FEWEST_FRAMES = 3.0  # a second, coarse, 57,344 Gaussians, beside other tests; `make prove` asks for more
SLIDERS = {  # name -> the key that moves it, and how often: one press is a tenth of the way
    "time": ("PageUp", 3),
    "yaw": ("PageUp", 1),
    "pitch": ("PageDown", 1),
    "closer": ("PageUp", 1),
    "shift-right": ("PageUp", 1),
    "shift-up": ("PageDown", 1),
    "opacity": ("PageUp", 5),
    "scale": ("PageDown", 5),
}
MODES = ["depth", "alpha", "error", "match probability", "colour"]


@pytest.fixture(scope="module")
def notebook(opened, laboratory):
    with opened(laboratory.copy_notebook(NAME)) as found:
        found.run_all()
        yield found


@pytest.fixture(scope="module")
def one(notebook) -> ExplorerPage:
    """The explorer of one model and two scenes."""
    return ExplorerPage(notebook)


@pytest.fixture(scope="module")
def two(notebook) -> ExplorerPage:
    """The explorer of two methods."""
    found = ExplorerPage(notebook, 1)
    if found.part("mode").input_value() != "colour":
        found.after(lambda: found.choose("mode", "colour"), "mode colour")
    return found


def test_a_drag_turns_the_scene_and_home_undoes_it(one):
    start = one.settled()
    one.expect_change(lambda: one.drag(120, 40), "a drag")
    one.page.keyboard.down("Shift")
    one.expect_change(lambda: one.drag(60), "a drag with shift")
    one.page.keyboard.up("Shift")
    one.notebook.screenshot("dragged")
    home = one.expect_change(lambda: one.push("home"), "home")
    assert home.pixels == start.pixels


def test_the_wheel_comes_closer_and_the_notebook_stays_put(one):
    one.picture.hover()
    place = one.picture.bounding_box()
    one.expect_change(lambda: one.page.mouse.wheel(0, -300), "the wheel")
    assert one.picture.bounding_box() == place
    one.push("home")


@pytest.mark.parametrize("key", ["ArrowLeft", "Shift+ArrowUp", "+"])
def test_keys_move_the_camera(one, key):
    start = one.settled()
    one.expect_change(lambda: one.picture.press(key), key)
    home = one.expect_change(lambda: one.picture.press("Home"), "Home")
    assert home.pixels == start.pixels


@pytest.mark.parametrize("name", SLIDERS)
def test_each_slider_changes_the_picture_and_goes_back(one, name):
    start, value = one.settled(), one.part(name).input_value()
    key, times = SLIDERS[name]
    one.expect_change(lambda: one.slide(name, key, times), name)
    assert one.part(name).input_value() != value
    back = {"PageUp": "PageDown", "PageDown": "PageUp"}[key]
    assert one.expect_change(lambda: one.slide(name, back, times), f"{name} back").pixels == start.pixels


def test_each_mode_has_a_picture_of_its_own(one):
    assert sorted(one.options("mode")) == sorted(MODES)
    found = {}
    for mode in MODES:
        found[mode] = one.expect_change(lambda mode=mode: one.choose("mode", mode), mode).pixels
        assert (one.text("legend") != "") == (mode != "colour")
        one.notebook.screenshot(mode.replace(" ", "_"))
    assert len(set(found.values())) == len(MODES)


def test_the_path_plays_and_the_scene_can_be_another(one):
    frames, time = int(one.fact("frames")), one.part("time").input_value()
    one.part("play").click()
    one.notebook.await_change(lambda: int(one.fact("frames")) > frames + 3, False, "playing")
    one.after(lambda: one.part("play").click(), "the end of playing")
    assert one.part("time").input_value() != time
    first, second = one.options("scene")
    one.expect_change(lambda: one.choose("scene", second), "another scene")
    one.expect_change(lambda: one.choose("scene", first), "the first scene")


def test_the_score_is_that_of_the_pixels_on_the_page_and_of_the_evaluation(notebook, two, laboratory):
    """The picture at a held-out view is read from the page, and scored here against the truth that the kernel has."""
    two.after(lambda: two.push("snap"), "snap")
    two.expect_change(lambda: two.push("next"), "next")
    two.expect_change(lambda: two.choose("right", ""), "one subject")
    method, target = two.part("left").input_value(), int(two.fact("target"))
    assert two.fact("at-target") == "true"
    metrics = json.loads((laboratory.place / "runs" / "interactive" / NAME / "metrics.json").read_text())
    shown = json.loads(two.fact("psnr"))
    assert shown == {method: metrics["psnr"][method][target]}
    assert f"{shown[method]:.2f} dB" in two.text("psnr")

    file = laboratory.folder / "truth.npy"
    notebook.run_cell(f"import numpy; numpy.save('truth.npy', example.target.images[{target}].cpu().numpy())")
    truth = np.load(file).transpose(1, 2, 0)
    on_page = np.asarray(decoded(two.settled().pixels)) / 255
    psnr = -10 * np.log10(((on_page - truth) ** 2).mean())
    assert abs(psnr - shown[method]) < 0.02  # the page has 256 levels


def test_two_methods_share_a_picture_by_a_wipe_or_side_by_side(two):
    methods = two.options("left")
    assert len(methods) == 2
    two.expect_change(lambda: two.choose("right", methods[1]), "the second method")
    two.expect_change(lambda: two.slide("wipe", "PageUp", 3), "the wipe")
    two.notebook.screenshot("wipe")
    wide = decoded(two.expect_change(lambda: two.choose("split", "side by side"), "side by side").pixels)
    narrow = decoded(two.expect_change(lambda: two.choose("split", "wipe"), "wipe").pixels)
    assert wide.width > 2 * narrow.width
    two.expect_change(lambda: two.choose("left", methods[1]), "the other method on the left")


def test_pictures_follow_the_hand(one, record_property):
    rate = one.frames_a_second(seconds=3)
    record_property("coarse_frames_a_second", rate)
    print(f"\nexplorer: {rate:.1f} coarse frames a second reach the page")
    assert rate >= FEWEST_FRAMES


def test_no_picture_lands_in_the_saved_notebook_and_a_reload_keeps_it_usable(notebook, one, laboratory):
    file = laboratory.folder / f"{NAME}.ipynb"
    notebook.execute("docmanager:save")
    size = file.stat().st_size
    one.expect_change(lambda: one.drag(100, steps=20), "a drag")
    notebook.execute("docmanager:save")
    assert abs(file.stat().st_size - size) < 200
    notebook.page.reload(wait_until="domcontentloaded")
    notebook.wait_until_ready()
    again = ExplorerPage(notebook)
    again.expect_change(lambda: again.drag(80), "a drag after the reload")
    notebook.check_quiet()
