"""What stands behind a number: scenes in a table that sorts; the worst of them; where weights come from."""

import json

import pandas as pd
import pytest
import torch

from pmgs_lib.evaluation import WorstScenes, psnr
from pmgs_lib.evaluation.methods import MethodOutput
from pmgs_lib.models import build_model, load_for_size, save_checkpoint, weight_facts
from pmgs_lib.suite.papers import scene_frame, sortable


def result() -> dict:
    rows = [("b", 1, 20.0), ("b", 2, 22.0), ("a", 1, 18.0)]
    targets = [{"scene": s, "view": v, "split": "inside", "psnr": p, "ssim": 0.5} for s, v, p in rows]
    return {"targets": targets, "scenes": [{"scene": "b", "overall_m": 0.1}, {"scene": "a"}]}


class TestScenes:
    def test_means_by_scene_the_worst_first(self):
        frame = scene_frame(result())
        assert frame.index.tolist() == ["a", "b"]
        assert frame["psnr"].tolist() == [18.0, 21.0]
        assert frame["targets"].tolist() == [1, 2]
        assert frame.loc["b", "overall_m"] == 0.1
        assert "lpips" not in frame

    def test_nothing_scored(self):
        assert scene_frame({"targets": [], "scenes": []}).empty

    def test_the_table_is_the_same_text_for_the_same_numbers_and_hostile_names_stay_text(self):
        frame = pd.DataFrame({"psnr": [1.25, float("nan")]}, index=["<script>x", "b"])
        html = sortable(frame, "a & b")._repr_html_()
        assert html == sortable(frame.copy(), "a & b")._repr_html_()
        assert "<script>x" not in html
        assert "a &amp; b" in html
        assert "n/a" in html
        assert "PSNR [dB]</button>" in html
        assert "http" not in html


@pytest.mark.prove
def test_a_click_sorts_the_table(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    from shutil import which

    chromium = which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: make system")
    page_file = tmp_path / "page.html"
    frame = pd.DataFrame({"psnr": [9.5, 10.25, 8.0]}, index=["one", "two", "three"])
    page_file.write_text(f"<html><body>{sortable(frame, 'scenes')._repr_html_()}</body></html>")
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(page_file.as_uri())
        names = lambda: page.locator("tbody th").all_inner_texts()  # noqa: E731
        assert names() == ["one", "two", "three"]
        button = page.get_by_role("button", name="PSNR [dB]")
        button.click()
        assert names() == ["three", "one", "two"]
        button.press("Enter")
        assert names() == ["two", "one", "three"]
        assert page.locator("th[aria-sort=descending]").count() == 1
        browser.close()


def test_worst_scenes_are_kept_and_no_others(tiny_example):
    worst, found = WorstScenes(2), {}
    for place, noise in enumerate((0.1, 0.4, 0.05, 0.3)):
        generator = torch.Generator().manual_seed(place)
        color = tiny_example.target.images + noise * torch.randn(tiny_example.target.images.shape, generator=generator)
        worst.keep(f"scene{place}", tiny_example, MethodOutput(color))
        found[f"scene{place}"] = psnr(color, tiny_example.target.images).mean().item()
    assert [key for key, *_ in worst.scenes] == ["scene1", "scene3"]
    assert [value for _, value, *_ in worst.scenes] == [found["scene1"], found["scene3"]]


@pytest.fixture
def tiny_example():
    from pmgs_lib.data import make_scene
    from pmgs_lib.views import Example

    scene = make_scene(3, frames=4, height=16, width=24)
    return Example(scene.views([0, 3]), scene.views([1, 2]), "scene")


class TestWeights:
    def test_embedded_weights_have_a_name_and_no_training_of_ours(self):
        facts = weight_facts("depthsplat-tiny")
        assert (facts["model"], facts["training"], facts["file_sha256"]) == ("depthsplat-tiny", None, None)
        assert facts["config"]["kind"] == "depthsplat"

    def test_weights_trained_here_say_how_and_name_no_path(self, tmp_path):
        objective = {"pointmap_weight": 0.005}
        run = {
            "model": "gslrm-tiny", "weights": str(tmp_path / "stage1.safetensors"), "protocol": "embedded-smoke",
            "scenes": str(tmp_path), "training": {"steps": 3, "batch_size": 2, "seed": 1, "objective": objective},
        }  # fmt: skip
        path = save_checkpoint(
            tmp_path / "m.safetensors", build_model("gslrm-tiny"), {"training": run, "trained_steps": 5}
        )
        facts = weight_facts(path)
        assert facts["training"] == {
            "start": None, "protocol": "embedded-smoke", "steps": 3, "batch_size": 2, "pointmap_weight": 0.005,
            "seed": 1,
        }  # fmt: skip
        assert (facts["model"], facts["trained_steps"], facts["config"]["kind"]) == (None, 5, "gslrm")
        assert str(tmp_path) not in json.dumps(facts)

    def test_a_model_of_the_zoo_gets_the_configuration_of_the_size(self):
        assert load_for_size("depthsplat-tiny", 64, 112).config == load_for_size("depthsplat-tiny", 512, 960).config
