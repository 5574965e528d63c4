"""Notebook 00 in a real JupyterLab: it runs whole, the clip plays, the 3D viewer draws and turns, a reload keeps it."""

import nbformat
import pytest
from notebook_page import NotebookPage, drag, on_screen
from playwright.sync_api import Locator

NAME = "00_start_here"
SMALL = {"height": 64, "width": 112, "row": 35, "steps": 3, "orbit_frames": 12}
FEWEST_COLORS = 500  # in what the viewer draws; the frame without Gaussians has a handful
VIEWER = ".jp-OutputArea iframe"


@pytest.fixture(scope="module")
def notebook(opened, laboratory):
    with opened(laboratory.copy_notebook(NAME, **SMALL)) as found:
        found.run_all()
        yield found


def viewer_canvas(notebook: NotebookPage) -> Locator:
    """The viewer's canvas, once Gaussians are drawn on it."""
    frame = notebook.page.locator(VIEWER)
    notebook.show(frame)
    canvas = notebook.page.frame_locator(VIEWER).locator("canvas").first
    canvas.wait_for()
    notebook.await_change(lambda: colors(canvas) >= FEWEST_COLORS, False, "waiting for the viewer")
    return canvas


def colors(canvas: Locator) -> int:
    return len(on_screen(canvas).getcolors(1 << 24))


def steady(notebook: NotebookPage, canvas: Locator) -> bytes:
    """What the viewer shows, when two looks see the same: it sorts its splats for some time."""
    seen = [b"", on_screen(canvas).tobytes()]

    def look() -> bool:
        notebook.page.wait_for_timeout(300)
        seen[:] = seen[1], on_screen(canvas).tobytes()
        return seen[0] == seen[1]

    notebook.await_change(look, False, "waiting for a steady viewer")
    return seen[1]


def test_00_runs_and_leaves_what_it_promises(notebook, laboratory):
    run = laboratory.place / "runs" / "interactive" / NAME
    for promised in ("artifacts/scene.ply", "artifacts/orbit.mp4", "metrics.json"):
        assert (run / promised).stat().st_size > 0, promised
    figures = notebook.page.locator(".jp-RenderedImage img")
    assert figures.count() >= 4
    for figure in figures.all():
        assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300


def test_the_clip_plays(notebook):
    clip = notebook.page.locator(".jp-OutputArea video")
    notebook.show(clip)
    clip.evaluate("video => video.play()")
    notebook.await_change(lambda: clip.evaluate("video => video.currentTime > 0"), False, "waiting for the clip")
    assert clip.evaluate("video => video.videoWidth") == SMALL["width"]
    notebook.screenshot("clip")


def test_each_part_of_the_viewer_can_be_shown_and_hidden(notebook):
    canvas, frame = viewer_canvas(notebook), notebook.page.frame_locator(VIEWER)
    frame.get_by_label("Show scene tree").first.click()

    def below_the_list() -> bytes:
        picture = on_screen(canvas)
        return picture.crop((0, round(0.6 * picture.height), picture.width, picture.height)).tobytes()

    parts = {"gaussians": False, "exact surface": True, "PM-Loss off": True, "PM-Loss on": True, "inputs": False}
    for part, appears in parts.items():
        eye = frame.locator(f"[data-scene-node='/{part}'] [class*=tabler-icon-eye]").first
        assert ("eye-off" in eye.get_attribute("class")) == appears, part
        before = below_the_list()
        eye.click()
        notebook.await_change(below_the_list, before, f"the eye of {part}")
    notebook.screenshot("parts")
    frame.locator("[data-scene-node='/gaussians'] [class*=tabler-icon-eye]").first.click()
    frame.get_by_label("Hide scene tree").first.click()


def test_the_viewer_draws_and_turns(notebook):
    canvas = viewer_canvas(notebook)
    before = steady(notebook, canvas)
    notebook.screenshot("viewer")
    drag(notebook.page, canvas, 150, 40)
    notebook.await_change(lambda: on_screen(canvas).tobytes(), before, "a drag in the viewer")
    assert colors(canvas) >= FEWEST_COLORS
    notebook.screenshot("viewer_turned")


def test_a_reload_keeps_the_viewer_and_the_kernel(notebook):
    notebook.execute("docmanager:save")
    notebook.page.reload(wait_until="domcontentloaded")
    notebook.wait_until_ready()
    viewer_canvas(notebook)
    assert [output["text"] for output in notebook.run_cell("print(made.gaussians.count)")] == ["14336\n"]
    notebook.check_quiet()


def test_an_untrusted_copy_shows_the_picture_instead_of_the_viewer(notebook, opened, laboratory):
    """As a notebook that somebody sent: JupyterLab drops the viewer from it without a word."""
    saved = nbformat.read(laboratory.folder / f"{NAME}.ipynb", as_version=4)
    saved.metadata["sent_by"] = "somebody"  # no signature fits any more
    with opened(laboratory.write_notebook("00_untrusted", saved)) as copy:
        pictures = copy.page.locator(".jp-RenderedImage img")
        assert pictures.count() == notebook.page.locator(".jp-RenderedImage img").count()
        copy.show(pictures.last)
        assert pictures.last.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
        assert copy.page.locator(VIEWER).count() == 0
