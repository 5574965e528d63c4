"""Paper tables: what may enter, what is shown, what is never shown."""

import copy
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pmgs_lib.data import load_protocol
from pmgs_lib.data.published_protocols import PUBLISHED
from pmgs_lib.errors import ParameterError, RunError
from pmgs_lib.suite.papers import DEPTHSPLAT, GSLRM_MVSPLAT, PM_LOSS, fill_table, open_page
from pmgs_lib.suite.papers.evidence import Evidence, published_digests, read_evidence
from pmgs_lib.training.recipes import load_recipe

TABLE_1 = DEPTHSPLAT[0]
SMALL = "depthsplat-gs-small-re10k-256x256-20f39ed8"
ALL = (*DEPTHSPLAT, *PM_LOSS, *GSLRM_MVSPLAT)
OURS = 26.413


def metrics_for(protocol: str, weights: dict) -> dict:
    """What `40_evaluate` leaves for a whole run by a published protocol."""
    facts = PUBLISHED[protocol]
    keys = [f"scene{i}" for i in range(facts["expected"]["scenes"])]
    settings = {
        "protocol": protocol, "protocol_digest": published_digests()[protocol], "height": facts["height"],
        "width": facts["width"], "limit_m": None, "device": "cuda", "not_comparable": None,
    }  # fmt: skip
    ledger = {"listed": len(keys) + 2, "scored": keys, "skipped": [{"scene": s, "reason": "r"} for s in "ab"]}
    means = {"overall": {"psnr": OURS, "ssim": 0.8701, "lpips": 0.1234}}
    result = {"method": "m", "control": False, "settings": settings, "ledger": ledger, "means": means, "missing": {}}
    control = {**result, "control": True, "means": {"overall": {"psnr": 99.0}}}
    return {"weights": weights, "results": [control, {**result, "targets": [], "scenes": []}]}


def released(model: str) -> dict:
    return {"model": model, "config": {}, "file_sha256": "0" * 64, "trained_steps": None, "training": None}


@pytest.fixture
def good() -> dict:
    return metrics_for("depthsplat-re10k-256", released(SMALL))


def psnr_cell(metrics: dict, row: str = "table1_small", table=TABLE_1):
    return fill_table(table, {row: Evidence(metrics, "key/executed.html")}).cells[row]["PSNR"]


class TestWhatMayEnter:
    def test_a_whole_run_is_judged(self, good):
        assert psnr_cell(good).text == "26.41 (paper 26.84, -0.43: CLOSE)"

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("settings.protocol", "embedded-smoke", "measured on other scenes"),
            ("settings.protocol", "own-capture", "measured on other scenes"),
            ("settings.protocol", "mvsplat-re10k-256", "by protocol mvsplat-re10k-256"),
            ("settings.protocol_digest", "f" * 64, "another one"),
            ("settings.height", 128, "pictures of 128x256"),
            ("settings.not_comparable", "every 100th scene", "every 100th scene"),
            ("ledger.scored", ["scene0"], "1 scenes scored"),
            ("ledger.skipped", [], "0 skipped"),
        ],
    )
    def test_anything_else_is_named_and_its_number_is_nowhere(self, good, path, value, reason):
        part, name = path.split(".")
        good["results"][1][part][name] = value
        cell = psnr_cell(good)
        assert cell.verdict == "NOT COMPARABLE"
        assert reason in cell.reason
        assert cell.ours is None
        filled = fill_table(TABLE_1, {"table1_small": Evidence(good, "key/executed.html")})
        shown = repr(filled) + filled._repr_html_() + json.dumps(filled.to_json())
        assert "26.41" not in shown
        assert "26.413" not in shown

    @pytest.mark.parametrize(
        ("weights", "reason"),
        [
            (released("depthsplat-tiny"), "weights depthsplat-tiny, the row is about"),
            (released(SMALL) | {"file_sha256": None}, "does not say which file"),
            (released(SMALL) | {"training": {"steps": 3}}, "weights trained here"),
            ({}, "of unknown origin"),
        ],
    )
    def test_other_weights_are_shown_and_not_judged(self, good, weights, reason):
        good["weights"] = weights
        cell = psnr_cell(good)
        assert cell.text == "26.41 (paper 26.84: NOT COMPARABLE)"
        assert reason in cell.reason

    def test_weights_that_replaced_the_papers_are_never_judged(self):
        metrics = metrics_for("depthsplat-re10k-256", released("depthsplat-gs-small-re10k-256x256"))
        cell = psnr_cell(metrics, "table1_small_april")
        assert (cell.verdict, cell.ours) == ("NOT COMPARABLE", OURS)
        assert "trained again after the paper" in cell.reason
        assert psnr_cell(metrics, "table1_small").verdict == "NOT COMPARABLE"

    def test_no_run_of_other_rows_protocol_enters_any_row(self):
        for table in ALL:
            for row in table.rows:
                for metric, cell in fill_table(table, {row.id: Evidence(smoke_metrics(), "k/e")}).cells[row.id].items():
                    assert cell.ours is None, (row.id, metric)
                    assert cell.verdict in ("NOT COMPARABLE", "NOT RUN")

    def test_training_is_compared_with_the_recipe(self):
        gslrm = GSLRM_MVSPLAT[0]
        wanted = gslrm.rows[1].required.trained
        training = {"protocol": wanted.protocol, "steps": wanted.steps, "batch_size": wanted.batch_size, "start": None}
        weights = released("x") | {
            "model": None, "file_sha256": None, "training": training | {"pointmap_weight": 0.0},
            "config": {"kind": "gslrm", "width": 1024, "layers": 24},
        }  # fmt: skip
        metrics = metrics_for("mvsplat-re10k-256", weights)
        assert psnr_cell(metrics, "gslrm", gslrm).verdict == "MISS"
        rehearsed = copy.deepcopy(metrics)
        rehearsed["weights"]["training"]["steps"] = 3
        rehearsed["weights"]["config"]["width"] = 128
        cell = psnr_cell(rehearsed, "gslrm", gslrm)
        assert cell.verdict == "NOT COMPARABLE"
        assert "steps 3 instead of 80000, width 128 instead of 1024" in cell.reason
        assert "not trained here" in psnr_cell(metrics_for("mvsplat-re10k-256", released("x")), "gslrm", gslrm).reason

    def test_a_metric_without_value_says_why(self, good):
        good["results"][1]["means"]["overall"]["lpips"] = None
        good["results"][1]["missing"] = {"lpips": {"LPIPS not computed: no VGG": 6474}}
        cell = fill_table(TABLE_1, {"table1_small": Evidence(good, "k/e")}).cells["table1_small"]["LPIPS"]
        assert (cell.verdict, cell.reason) == ("NOT RUN", "LPIPS not computed: no VGG")


def smoke_metrics() -> dict:
    metrics = metrics_for("depthsplat-re10k-256", released("depthsplat-tiny"))
    metrics["results"][1]["settings"] |= {"protocol": "embedded-smoke", "protocol_digest": "e" * 64}
    return metrics


class TestNothingRun:
    @pytest.mark.parametrize("table", ALL, ids=lambda table: table.title)
    def test_every_cell_says_not_run_and_why(self, table):
        filled = fill_table(table, {})
        assert filled.counts == {"NOT RUN": len(table.rows) * len(table.metrics)}
        for row in table.rows:
            for cell in filled.cells[row.id].values():
                assert cell.reason
                if row.required:
                    assert f"pmgs run experiments/{table.experiment}.yaml --profile full" in cell.reason

    def test_rows_have_one_name_each(self):
        names = [row.id for table in ALL for row in table.rows]
        assert len(set(names)) == len(names)

    def test_pm_loss_has_no_number_and_the_missing_arm(self):
        for table in PM_LOSS:
            cells = fill_table(table, {}).cells
            texts = {cell.text for row in cells.values() for cell in row.values()}
            assert texts == {"NOT RUN (paper: not retrievable)", "NOT RUN (not in the paper)"}
            assert any(row.endswith("_unconstrained") for row in cells)


class TestFacts:
    def test_digests_are_those_of_the_published_index_files(self, monkeypatch):
        shared = os.environ.get("PMGS_SHARED")
        if not shared:
            pytest.skip("PMGS_SHARED names no folder with the index files")
        monkeypatch.setenv("PMGS_INDEXES", str(Path(shared) / "assets" / "indexes"))
        assert published_digests() == {name: load_protocol(name).digest for name in PUBLISHED}

    @pytest.mark.parametrize("trained", [
        row.required.trained for table in ALL for row in table.rows if row.required and row.required.trained
    ], ids=lambda trained: trained.recipe)  # fmt: skip
    def test_trainings_are_the_recipes(self, trained):
        recipe = load_recipe(trained.recipe)
        config = recipe.config().model_dump(mode="json")
        assert trained.steps == recipe.training.steps
        assert trained.batch_size == recipe.training.batch_size
        assert (trained.protocol, trained.start) == (recipe.protocol, recipe.weights)
        assert trained.pointmap_weight == recipe.training.objective.pointmap_weight
        for name, value in trained.config.items():
            found = config
            for part in name.split("."):
                found = found[part]
            assert found == value, name


class TestPage:
    def test_ids_that_no_row_has_are_refused(self, tmp_path):
        with pytest.raises(ParameterError, match="no row is called table1_smal; expected some of table1_small"):
            open_page(DEPTHSPLAT, {"table1_smal": ""}, Path)

    def test_a_folder_without_evaluation_is_refused(self, tmp_path):
        with pytest.raises(RunError, match="no readable metrics"):
            read_evidence(tmp_path)
        (tmp_path / "metrics.json").write_text('{"loss": 1}')
        with pytest.raises(RunError, match="0 methods beside the controls"):
            open_page(DEPTHSPLAT, {"table1_small": str(tmp_path)}, Path)

    def test_a_run_for_several_rows_stands_there_once(self, tmp_path, good):
        folder = tmp_path / "0123456789abcdef"
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(good))
        rows = {"table1_small": str(folder), "table1_small_april": str(folder), "table1_base": ""}
        page = open_page(DEPTHSPLAT, rows, Path)
        (shown,) = page.runs
        assert shown.rows == ("table1_small", "table1_small_april")
        assert shown.caption.endswith("protocol depthsplat-re10k-256, 6474 scenes")
        verdicts = {metric: cell.verdict for metric, cell in page.tables[0].cells["table1_small"].items()}
        assert verdicts == {"PSNR": "CLOSE", "SSIM": "CLOSE", "LPIPS": "MATCH"}
        assert page.counts.loc[TABLE_1.title, ["CLOSE", "MATCH", "NOT COMPARABLE"]].tolist() == [2, 1, 3]

    def test_html_is_whole_links_to_the_run_and_asks_no_network(self, good):
        html = fill_table(TABLE_1, {"table1_small": Evidence(good, "key/executed.html")})._repr_html_()
        assert_balanced(html)
        assert 'href="key/executed.html"' in html
        assert not re.search(r"https?://|src=|<script", html)
        assert '26.41 <span style="white-space:nowrap">(paper 26.84, -0.43: <b' in html


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in ("br", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def assert_balanced(html: str) -> None:
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
