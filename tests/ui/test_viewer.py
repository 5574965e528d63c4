"""The 3D viewer: what it shows, what it leaves out, and that it says so; headless, offline and without leftovers."""

import html
import json
import math
import re
import socket
import threading
from dataclasses import replace
from io import BytesIO

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from pmgs_lib.cameras import Cameras
from pmgs_lib.errors import BackendError, ParameterError
from pmgs_lib.evaluation.metrics import psnr
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.geometry.harmonics import CONSTANT_HARMONIC
from pmgs_lib.rasterizers import rasterize
from pmgs_lib.suite.recorder import FOLDER_VARIABLE
from pmgs_lib.ui import ViewSettings, view_3d
from pmgs_lib.ui.viewer import LAB_VARIABLE
from pmgs_lib.ui.viewer_picture import BACKGROUND, starting_camera
from pmgs_lib.ui.viewer_scene import LEAST_FOOTPRINT, thinned, viser_splats

SMALL = ViewSettings(height_px=96)


def sheet(side: int = 24, depth: float = 4.0, degree: int = 0, scale: float = 0.05) -> Gaussians:
    """A coloured wall of `side` x `side` Gaussians, 4 wide, before a camera at the origin."""
    line = torch.linspace(-2, 2, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    count = side * side
    harmonics = torch.zeros(count, (degree + 1) ** 2, 3)
    harmonics[:, 0] = (torch.rand(count, 3) - 0.5) / CONSTANT_HARMONIC
    return Gaussians(
        means=torch.stack([x, y, torch.full_like(x, depth)], dim=-1).reshape(-1, 3),
        scales=torch.full((count, 3), scale),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        opacities=torch.linspace(0.2, 1.0, count),
        harmonics=harmonics,
    )


def camera() -> Cameras:
    return Cameras(torch.eye(4)[None], torch.tensor([[[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]]]))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("most", [1, 7, 100, 575])
def test_thinning_keeps_exactly_as_many_as_are_allowed(most):
    assert thinned(sheet(), most).count == most


def test_nothing_is_thinned_that_fits():
    whole = sheet()
    assert thinned(whole, whole.count) is whole


def test_thinning_keeps_opacity_times_area_and_prefers_what_is_opaque():
    whole = sheet(40)
    part = thinned(whole, 600)
    cover = [(g.opacities * g.scales[:, 0].square()).sum().item() for g in (whole, part)]
    assert cover[1] == pytest.approx(cover[0], rel=0.02)
    assert part.opacities.mean() > whole.opacities.mean() + 0.05


def test_what_is_invisible_goes_first():
    whole = sheet(10)
    whole = replace(whole, opacities=torch.where(torch.arange(100) % 2 == 0, 0.0, 0.7))
    part = thinned(whole, 60)
    assert part.count == 50
    assert torch.equal(part.scales, whole.scales[1::2])


def test_a_thinned_scene_looks_more_like_the_whole_than_its_largest_gaussians_do():
    near, far = sheet(40, 2.0, scale=0.03), sheet(40, 8.0, scale=0.12)
    whole = Gaussians.concatenate([replace(near, means=near.means * torch.tensor([0.25, 0.25, 1])), far])
    largest = whole.select((whole.opacities * whole.scales[:, 0]).topk(1600).indices.sort().values)
    truth, ours, theirs = (rasterize(g, camera()[0], 64, 64).color for g in (whole, thinned(whole, 1600), largest))
    assert psnr(ours, truth) > psnr(theirs, truth) + 3


def test_the_caption_counts_what_is_shown_and_what_there_is():
    cloud = torch.rand(1000, 3) + torch.tensor([0.0, 0, 3])
    cloud[::10] = torch.nan
    settings = ViewSettings(most_splats=100, most_points=450, height_px=96)
    view = view_3d(sheet(), camera(), {"point map": cloud}, hidden=["point map"], settings=settings)
    assert view.caption().startswith(
        "Gaussians: 100 of 576; point map: 450 of 1,000 points; cameras: 1 cameras; hidden at first: point map."
    )
    assert view.scene.clouds["point map"].points.isfinite().all()


def test_the_caption_says_what_viser_draws_otherwise():
    view = view_3d(sheet(60, degree=2, scale=0.001), embed=True, settings=SMALL)
    caption = view.caption()
    assert "Harmonics of degree 2: viser draws one colour" in caption
    assert "3,600 small ones are blurred" in caption
    megabytes = float(re.search(r"Adds ([0-9.]+) MB", caption)[1])
    assert megabytes == pytest.approx(len(view.page.encode()) / 1e6, abs=0.05)
    assert "viser draws one colour" not in view_3d(sheet(), embed=True, settings=SMALL).caption()


def test_colours_are_those_seen_from_the_start():
    gaussians = sheet(degree=1)
    gaussians.harmonics[:, 1:] = 0.2 * torch.randn(576, 3, 3)
    view = view_3d(gaussians, camera(), settings=SMALL)
    found = viser_splats(gaussians, view.scene.start, 96)
    lone = gaussians.select(torch.tensor([300]))
    solid = replace(lone, opacities=torch.ones(1), scales=torch.full((1, 3), 3.0))
    drawn = rasterize(solid, view.scene.start, 96, 96)
    x, y = view.scene.start.project(lone.means, 96, 96)[0][0].round().int().tolist()
    expected = (drawn.color / drawn.alpha)[:, y, x]
    assert torch.allclose(torch.from_numpy(found.colors[300]), expected, atol=0.01)


@pytest.mark.parametrize("scale", [1e-4, 0.003, 0.01, 0.2])
def test_every_opaque_gaussian_passes_visers_threshold(scale):
    gaussians = replace(sheet(scale=scale), opacities=torch.linspace(0.3, 1, 576))
    start, _ = starting_camera(gaussians.means, [camera()], 1.0)
    splats = viser_splats(gaussians, start, 420)
    meters = torch.from_numpy(splats.covariances) * splats.unit_m**2
    pixel = (gaussians.means - start.centers).norm(dim=-1) / 420
    flat = meters[:, :2, :2] / pixel.square()[:, None, None] + 0.3 * torch.eye(2)
    assert (gaussians.opacities * torch.linalg.det(flat) > 0.95 * LEAST_FOOTPRINT).all()
    kept = torch.from_numpy(splats.centers) * splats.unit_m
    assert torch.allclose(kept, gaussians.means, atol=1e-5)
    if scale == 0.2:
        assert splats.blurred == 0
        assert torch.allclose(meters, gaussians.covariances(), rtol=1e-4)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_half_floats_hold_the_covariances_of_a_scene_of_any_size(size):
    gaussians = replace(sheet(), means=size * sheet().means, scales=size * sheet().scales)
    start, _ = starting_camera(gaussians.means, [camera()], 1.0)
    splats = viser_splats(gaussians, start, 96)
    assert np.allclose(splats.covariances.astype(np.float16).astype(np.float32), splats.covariances, rtol=1e-3)


def test_the_start_is_behind_the_middle_camera_and_looks_at_the_middle_of_the_points():
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-1.0, 0, 1])
    given = Cameras(poses, camera().intrinsics.expand(3, 3, 3))
    start, distance = starting_camera(sheet(depth=5.0).means, [given], 16 / 9)
    assert torch.allclose(start.centers, torch.tensor([0, 0, -1.5]))
    assert distance == pytest.approx(6.5)
    pixel, depth = start.project(torch.tensor([[0.0, 0, 5]]), 90, 160)
    assert pixel[0].tolist() == pytest.approx([80, 45])
    assert depth.item() == pytest.approx(distance)


def test_without_cameras_the_start_sees_most_points():
    points = torch.randn(5000, 3) + torch.tensor([10.0, -4, 7])
    start, _ = starting_camera(points, [], 16 / 9)
    pixel, depth = start.project(points, 90, 160)
    inside = (depth > 0) & (pixel >= 0).all(-1) & (pixel < torch.tensor([160, 90])).all(-1)
    assert inside.float().mean() > 0.9


def test_the_picture_is_the_librarys_own_rendering_of_all_gaussians():
    gaussians = sheet(40, degree=1)
    view = view_3d(gaussians, settings=ViewSettings(most_splats=200, height_px=90))
    expected = rasterize(gaussians, view.scene.start, 90, 160, background=BACKGROUND).color
    assert np.abs(pixels(view.picture) / 255 - expected.movedim(0, -1).numpy().clip(0, 1)).max() < 0.5 / 255 + 1e-6


def test_frusta_and_points_are_in_the_picture_unless_hidden(views):
    cloud = {"wall": sheet().means}
    plain = view_3d(points=cloud, cameras={"inputs": views(2)}, hidden=["wall", "inputs"], settings=SMALL)
    assert (pixels(plain.picture) == 20).all()
    for hidden in ("wall", "inputs"):
        shown = view_3d(points=cloud, cameras={"inputs": views(2)}, hidden=[hidden], settings=SMALL)
        assert (pixels(shown.picture) != 20).any(axis=-1).mean() > 0.01, hidden


def test_the_page_stands_alone_and_leaves_no_server_and_no_words(capfd, monkeypatch):
    bound = []
    bind = socket.socket.bind
    monkeypatch.setattr(socket.socket, "bind", lambda self, address: (bound.append(address), bind(self, address))[1])
    threads = set(threading.enumerate())
    page = view_3d(sheet(), camera(), embed=True, settings=SMALL).page
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "__VISER_EMBED_DATA__" in page
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page)
    assert bound
    assert {address[0] for address in bound if address} == {"127.0.0.1"}
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= threads
    assert capfd.readouterr() == ("", "")


def test_a_splat_costs_about_36_bytes():
    sizes = [len(view_3d(sheet(side), embed=True, settings=SMALL).page) for side in (20, 120)]
    assert (sizes[1] - sizes[0]) / (120**2 - 20**2) < 40
    assert sizes[0] < 1e6


def shown_outputs(view, monkeypatch) -> list:
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda value, raw=False: outputs.append(value))
    view._ipython_display_()
    return outputs


def test_the_picture_comes_first_and_then_the_frame(monkeypatch):
    view = view_3d(sheet(), embed=True, settings=SMALL)
    picture, framed = shown_outputs(view, monkeypatch)
    assert picture.data == view.picture
    inside = re.search(r'srcdoc="([^"]*)"', framed["text/html"])[1]
    assert html.unescape(inside) == view.page
    assert framed["text/plain"] == view.caption()


def test_a_batch_run_keeps_the_notebook_small_and_starts_no_server(monkeypatch):
    monkeypatch.setattr("pmgs_lib.ui.viewer.build_page", lambda scene: pytest.fail("a page was made"))
    outputs = shown_outputs(view_3d(sheet(), camera(), settings=SMALL), monkeypatch)
    assert "iframe" not in outputs[1]["text/html"]
    assert "left out" in outputs[1]["text/plain"]
    assert len(outputs[0].data) + len(json.dumps(outputs[1])) < 100_000


@pytest.mark.parametrize(
    ("lab", "runner", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_the_viewer_is_put_in_where_somebody_looks(monkeypatch, lab, runner, expected):
    for name, there in ((LAB_VARIABLE, lab), (FOLDER_VARIABLE, runner)):
        monkeypatch.setenv(name, "x") if there else monkeypatch.delenv(name, raising=False)
    assert view_3d(sheet(), settings=SMALL).embed is expected
    assert view_3d(sheet(), settings=SMALL, embed=not expected).embed is not expected


def test_a_kernel_shows_the_picture_and_the_frame_and_not_a_word_of_viser():
    """In a kernel viser's banner is a display, not printed: only a kernel can show that it is swallowed."""
    code = (
        "import torch\nfrom pmgs_lib.ui import ViewSettings, view_3d\n"
        "view_3d(points={'cube': torch.rand(500, 3)}, embed=True, settings=ViewSettings(height_px=96))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    kinds = [sorted(output.get("data", {"stream": output})) for output in outputs]
    assert kinds == [["image/png", "text/plain"], ["text/html", "text/plain"]]
    assert "<iframe" in outputs[1]["data"]["text/html"]


def test_a_saved_page_is_the_page(tmp_path):
    view = view_3d(sheet(4), settings=SMALL)
    view.save_page(tmp_path / "scene.html")
    assert (tmp_path / "scene.html").read_text(encoding="utf-8") == view.page


def test_gradients_and_doubles_are_no_obstacle():
    gaussians = sheet(8).to(torch.float64)
    gaussians = replace(gaussians, means=gaussians.means.requires_grad_())
    assert view_3d(gaussians, camera(), embed=True, settings=SMALL).page


def test_frusta_reach_the_same_depth_in_viser_and_in_the_picture():
    from pmgs_lib.ui.viewer_scene import _viser_scale

    fov, aspect = 0.9, 1.7
    half_height = math.tan(fov / 2)
    volume = (half_height * aspect * half_height / 3) ** (1 / 3)  # as viser's client divides by
    assert _viser_scale(0.4, fov, aspect) / volume == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "nothing to show"),
        ({"gaussians": Gaussians(*(v[None] for v in vars(sheet(2)).values()))}, "pass gaussians\\[0\\]"),
        ({"cameras": Cameras(torch.eye(4), torch.eye(3))}, "expected \\(camera,\\)"),
        ({"points": {"a/b": torch.zeros(3, 3)}}, "names 'a/b'"),
        ({"points": {"wall": torch.zeros(3, 3)}, "hidden": ["walls"]}, "names 'walls'"),
        ({"points": {"wall": torch.zeros(3, 3)}, "cameras": {"wall": camera()}}, "names 'wall', 'wall'"),
        ({"points": {"wall": torch.zeros(3, 3)}, "colors": {"wall": torch.zeros(2, 3)}}, "one RGB colour"),
        ({"gaussians": sheet(2), "colors": {"gaussians": torch.zeros(4, 3)}}, "names 'gaussians'"),
    ],
)
def test_what_cannot_be_shown_is_said(arguments, words):
    with pytest.raises(ParameterError, match=words):
        view_3d(**arguments)


def test_a_missing_viser_is_said_and_the_picture_is_still_there(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    view = view_3d(sheet(4), settings=SMALL, embed=True)
    assert view.picture
    with pytest.raises(BackendError, match="embed=False"):
        view.page  # noqa: B018
