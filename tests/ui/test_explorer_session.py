"""The explorer's session: answers to a page, stills, several explorers, a missing GPU, memory over many requests."""

import base64
import gc
import io
import json
from dataclasses import replace

import numba
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from pmgs_lib.errors import ParameterError
from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.suite.recorder import FOLDER_VARIABLE
from pmgs_lib.ui.explorer import ExplorerState, explore
from pmgs_lib.ui.explorer.widget import ExplorerWidget
from pmgs_lib.views import Example

REQUESTS = 500
MORE_MB, MORE_OBJECTS = 40.0, 2000  # the process keeps pages for reuse; objects are those that Python collects


def some_gaussians(seed: int, count: int = 300, degree: int = 1) -> Gaussians:
    rng = torch.Generator().manual_seed(seed)
    means = torch.rand(count, 3, generator=rng) * torch.tensor([2.0, 1.0, 2.0]) + torch.tensor([-0.7, -0.5, 2.0])
    return Gaussians(
        means,
        0.02 + 0.1 * torch.rand(count, 3, generator=rng),
        torch.randn(count, 4, generator=rng),
        torch.rand(count, generator=rng),
        torch.randn(count, (degree + 1) ** 2, 3, generator=rng),
    )


@pytest.fixture(autouse=True)
def one_thread():
    """These pictures are tiny: on a busy machine threads would wait for each other most of the time."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


@pytest.fixture
def room(views) -> Example:
    return Example(views(2, height=32, width=48), views(3, height=32, width=48), "room")


@pytest.fixture
def explorer(room):
    return explore(room, gaussians={"one": some_gaussians(1), "two": some_gaussians(2)}, device="cpu")


class Page:
    """Stands in for the browser: sends messages to a widget and keeps what comes back."""

    def __init__(self, explorer) -> None:
        self.widget, self.received = explorer.widget, []
        self.widget.send = lambda content, buffers=None: self.received.append((content, buffers))

    def ask(self, message):
        self.widget._handle_custom_msg(message, [])
        return self.received.pop()


# ---- answers


def test_a_request_is_answered_with_its_number_a_picture_and_facts(explorer):
    page = Page(explorer)
    reply, buffers = page.ask({"n": 7, "coarse": False, "changes": [{"kind": "orbit", "dx": 0.1, "dy": 0.0}]})
    json.dumps(reply, allow_nan=False)
    assert reply["n"] == 7
    assert reply["values"]["yaw_deg"] == explorer.state.yaw_deg != 0
    assert reply["controls"]["subjects"] == ["one", "two"]
    picture = Image.open(io.BytesIO(buffers[0]))
    assert (picture.height, picture.width) == (reply["frame"]["height"], reply["frame"]["width"]) == (32, 48)
    assert np.asarray(picture).std() > 0
    coarse, _ = page.ask({"n": 8, "coarse": True, "changes": []})
    assert "controls" not in coarse
    assert coarse["frame"]["psnr"] == {}


@pytest.mark.parametrize(
    "changes",
    [[{"kind": "orbit", "dx": 0.1, "dy": 0}, {"kind": "jump"}], [7], "abc", [{"kind": "set", "name": "left"}]],
)
def test_every_request_is_answered_and_a_bad_one_changes_nothing(explorer, changes):
    page, before = Page(explorer), explorer.state
    reply, buffers = page.ask({"n": 3, "changes": changes})
    assert reply["n"] == 3
    assert reply["error"]
    assert buffers == []
    assert explorer.state == before
    assert "error" not in page.ask({"n": 4, "changes": []})[0]


def test_a_failure_while_drawing_is_told_and_given_up(room):
    def fails(example):
        raise RuntimeError("the weights are gone\nand more")

    explorer = explore(room, gaussians={"one": some_gaussians(1)}, device="cpu")
    explorer.stage.makers["broken"] = fails
    reply, _ = explorer.answer({"n": 1, "changes": [{"kind": "set", "name": "right", "value": "broken"}]})
    assert reply == {"n": 1, "error": "RuntimeError: the weights are gone"}
    assert explorer.state.right is None


def test_a_message_that_is_none_is_answered_too(explorer):
    assert "frame" in Page(explorer).ask("hello")[0]


def test_a_state_set_from_a_cell_reaches_the_page(explorer):
    page = Page(explorer)
    explorer.state = replace(explorer.state, mode="depth")
    assert page.received == [({"changed": True}, None)]
    with pytest.raises(ParameterError, match="nobody"):
        explorer.state = replace(explorer.state, left="nobody")
    assert explorer.state.left == "one"


def test_equal_pictures_have_an_infinite_score_that_a_page_can_read(room):
    explorer = explore(room, gaussians={"one": some_gaussians(1)}, device="cpu")
    explorer.stage.scores.get(("room", "one", 0.0, None, 0), lambda: float("inf"))
    explorer.state = replace(explorer.state, target=0)
    assert json.loads(json.dumps(explorer.answer({"n": 1})[0], allow_nan=False))["frame"]["psnr"] == {"one": "infinite"}


# ---- stills


def png_of(bundle) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("RGB"))


def test_a_still_stands_beside_the_widget_and_alone_in_a_run(explorer, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    alone = explorer._repr_mimebundle_()[0]
    assert set(alone) == {"text/plain", "image/png"}
    assert explorer._widget is None  # no widget was opened, whose state would be saved
    assert png_of(alone).std() > 0
    monkeypatch.delenv(FOLDER_VARIABLE)
    beside = explorer._repr_mimebundle_()[0]
    assert set(beside) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert np.array_equal(png_of(beside), png_of(alone))
    assert "one" in beside["text/plain"]


def test_nothing_that_is_drawn_is_synchronised(explorer):
    page = Page(explorer)
    before = page.widget.get_state()
    for n in range(5):
        page.ask({"n": n, "changes": [{"kind": "orbit", "dx": 0.1, "dy": 0.05}]})
    after = page.widget.get_state()
    assert after == before
    assert len(json.dumps({k: v for k, v in after.items() if k not in ("_esm", "_css")}, default=str)) < 1000


# ---- several, devices, memory


def test_two_explorers_live_apart(room):
    both = [explore(room, gaussians={"one": some_gaussians(1)}, device="cpu") for _ in range(2)]
    first, second = (Page(explorer) for explorer in both)
    assert first.widget.model_id != second.widget.model_id
    still = second.ask({"n": 1})
    first.ask({"n": 1, "changes": [{"kind": "orbit", "dx": 0.2, "dy": 0.1}]})
    assert second.ask({"n": 1})[1] == still[1]
    assert both[0].state != both[1].state


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_replaced_and_the_page_says_so(room):
    explorer = explore(room, gaussians={"one": some_gaussians(1)}, device="cuda")
    note = explorer.answer({"n": 1})[0]["controls"]["note"]
    assert note.startswith("cuda was asked for, but no GPU is available here: drawn on the CPU")
    assert "asked for" not in explore(room, gaussians={"one": some_gaussians(1)}).stage.note


def test_scenes_are_opened_when_they_are_picked(room, views):
    other = Example(views(3, height=32, width=48), views(1, height=32, width=48), "hall")
    opened = set()  # the shape checker of the tests looks into maps, too

    class Scenes(dict):
        def __getitem__(self, key):
            opened.add(key)
            return super().__getitem__(key)

    class Model(torch.nn.Module):
        def forward(self, context):
            from pmgs_lib.models.base import Prediction
            from pmgs_lib.rasterizers.base import RenderingSettings

            g = some_gaussians(context.count)
            return Prediction(Gaussians(*(v[None] for v in vars(g).values())), None, RenderingSettings())

    explorer = explore(Scenes(room=room, hall=other), {"tiny": Model()}, device="cpu")
    assert opened == {"room"}
    explorer.state = replace(explorer.state, time=0.4, yaw_deg=3.0)
    reply, _ = explorer.answer({"n": 1, "changes": [{"kind": "set", "name": "scene", "value": "hall"}]})
    assert opened == {"room", "hall"}
    assert reply["controls"]["ranges"]["time"] == (0.0, 2.0)
    assert explorer.state == ExplorerState("hall", "tiny")


def test_memory_does_not_grow_over_many_requests(explorer):
    page, process = Page(explorer), psutil.Process()

    def interact(n: int) -> None:
        modes = ("colour", "depth", "alpha", "error")
        changes = [{"kind": "orbit", "dx": 0.013 * (n % 7), "dy": 0.01}]
        changes += [{"kind": "set", "name": "opacity_from", "value": (n * 0.37) % 0.9}]
        changes += [{"kind": "set", "name": "mode", "value": modes[n // 3 % 4]}]
        reply, _ = page.ask({"n": n, "coarse": n % 3 != 0, "changes": changes})
        assert "error" not in reply

    for n in range(60):
        interact(n)
    gc.collect()
    held, seen = len(gc.get_objects()), process.memory_info().rss
    for n in range(REQUESTS):
        interact(n)
    gc.collect()
    assert len(gc.get_objects()) - held < MORE_OBJECTS
    assert (process.memory_info().rss - seen) / 1e6 < MORE_MB
    assert len(explorer.stage.scores.values) <= 256


# ---- what cannot be explored


def test_what_cannot_be_explored_says_why(room, views):
    good = some_gaussians(1)
    batched = Gaussians(*(torch.stack([v, v]) for v in vars(good).values()))
    cases = [
        (lambda: explore([], gaussians={"x": good}), "no scene"),
        (lambda: explore(room), "nothing to show"),
        (lambda: explore([room, room], {"m": "depthsplat-tiny"}), "different keys"),
        (lambda: explore({"a": room, "b": room}, gaussians={"x": good}), "belong to one scene"),
        (lambda: explore(room, {"x": "depthsplat-tiny"}, {"x": good}), "given twice"),
        (lambda: explore(room, gaussians={"x": batched}), "batch shape"),
        (lambda: explore(room, gaussians={"x": good.select(torch.zeros(300, dtype=torch.bool))}), "holds 0 Gaussians"),
        (lambda: explore(room, gaussians={"x": MethodOutput(room.target.images)}), "no Gaussians"),
        (lambda: explore(room, gaussians={"x": "somewhere.ply"}), "a str"),
        (lambda: explore(Example.collate([room]), gaussians={"x": good}), "batch shape"),
        (lambda: explore(room, gaussians={"x": good}, device="tpu"), "'tpu' cannot draw"),
        (lambda: explore(room, gaussians={"x": good}, state=ExplorerState("room", "y")), "'y'"),
    ]
    for attempt, words in cases:
        with pytest.raises(ParameterError, match=words) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_the_front_ships_with_the_library():
    widget_class = ExplorerWidget
    assert "export default" in str(widget_class._esm)
    assert ".pmgs-picture" in str(widget_class._css)
