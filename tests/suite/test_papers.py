"""Paper values: read strictly, kept apart, empty where nobody could read them; verdicts on what is printed."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from pmgs_lib.errors import DataError, ParameterError
from pmgs_lib.models import MODELS
from pmgs_lib.suite.papers.values import HEADER, PaperValue, paper_value, paper_values, read_values
from pmgs_lib.suite.papers.verdicts import LIMITS, Cell, judge, limits_note

GOOD = {
    "paper": "P", "arxiv": "1", "version": "v1", "table": "1", "caption_short": "", "dataset": "D", "split": "test",
    "resolution": "", "context_views": "2", "target_views": "3", "method": "M", "metric": "PSNR", "value": "26.40",
    "unit": "dB", "higher_is_better": "1", "source_url": "https://example.org", "confidence": "verified",
}  # fmt: skip


def written(folder: Path, *rows: dict, header=HEADER) -> Path:
    path = folder / "values.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([row[name] for name in header if name in row] for row in rows)
    return path


def value_of(text: str, metric: str = "PSNR", trust: str = "verified") -> PaperValue:
    return PaperValue("P", "v1", "1", "D", "", "2", "M", metric, text, "dB", "https://example.org", trust)


class TestValues:
    def test_every_value_is_found_by_its_own_key_alone(self):
        keys = Counter(value.key for value in paper_values())
        assert max(keys.values()) == 1
        assert len(keys) > 600

    def test_digits_are_those_of_the_paper(self):
        value = paper_value("DepthSplat", "7", "DepthSplat", "LPIPS", context_views="2")
        assert (value.text, value.value, value.digits) == ("0.310", 0.31, 3)

    def test_two_versions_of_one_number_are_two_values(self):
        with pytest.raises(ParameterError, match=r"2 values .* tell them apart by version \(camera-ready .* original"):
            paper_value("pixelSplat", "1 / README", "pixelSplat", "PSNR", dataset="RE10K")
        found = {
            version: paper_value(
                "pixelSplat", "1 / README", "pixelSplat", "PSNR", dataset="RE10K", version=version
            ).value
            for version in ("original (v1)", "camera-ready (v4)")
        }
        assert found == {"original (v1)": 25.89, "camera-ready (v4)": 26.09}

    def test_what_a_user_measured_again_is_not_the_papers_number(self):
        small = "DepthSplat Small (ViT-S 1-scale)"
        again = "DepthSplat small released ckpt, user re-run"
        assert paper_value("DepthSplat", "1", small, "PSNR", dataset="RE10K").value == 26.84
        assert paper_value("DepthSplat", "issue 80", again, "PSNR").value == 25.79

    @pytest.mark.parametrize("dataset", ["DL3DV", "RE10K"])
    def test_pm_loss_tables_are_there_and_empty(self, dataset):
        values = [v for v in paper_values() if v.paper == "PM-Loss" and v.table == "1" and v.dataset == dataset]
        assert len(values) == 4 * 3
        assert {(value.value, value.trust) for value in values} == {(None, "unread")}

    def test_no_such_value_and_no_such_field(self):
        with pytest.raises(ParameterError, match="0 values"):
            paper_value("DepthSplat", "1", "Nobody", "PSNR")
        with pytest.raises(ParameterError, match="no field views"):
            paper_value("DepthSplat", "7", "DepthSplat", "PSNR", views="2")

    def test_the_zoo_says_the_same(self):
        methods = {"1": None, "1 (right)": "GS-LRM"}
        checked = 0
        for name in MODELS:
            for row in MODELS[name].paper:
                paper = row.paper.partition(" (")[0]
                for metric, number in row.metrics.items():
                    found = [
                        v.value for v in paper_values()
                        if (v.paper, v.table, v.dataset, v.metric) == (paper, row.table, row.dataset, metric)
                        and v.context_views == str(row.context_views)
                        and methods.get(row.table) in (None, v.method)
                    ]  # fmt: skip
                    assert number in found, (name, row)
                    checked += 1
        assert checked > 40

    def test_a_good_line_reads(self, tmp_path):
        (value,) = read_values(written(tmp_path, GOOD))
        assert (value.text, value.digits, value.unit, value.trust) == ("26.40", 2, "dB", "verified")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"value": ""}, "only an unread value is empty"),
            ({"confidence": "unread"}, "only an unread value is empty"),
            ({"value": "26,40"}, "expected a finite number"),
            ({"value": "nan"}, "expected a finite number"),
            ({"confidence": "sure"}, "confidence 'sure', expected one of"),
            ({"higher_is_better": "yes"}, "expected 0, 1 or nothing"),
            ({"source_url": "a friend"}, "expected 0, 1 or nothing, and an address"),
            ({"method": " "}, "method is empty"),
        ],
    )
    def test_a_faulty_line_is_named(self, tmp_path, change, message):
        with pytest.raises(DataError, match=rf"values.csv, line 3: .*{message}"):
            read_values(written(tmp_path, GOOD, GOOD | change))

    def test_another_header_a_short_line_and_no_file(self, tmp_path):
        with pytest.raises(DataError, match="correct the header"):
            read_values(written(tmp_path, GOOD, header=HEADER[::-1]))
        with pytest.raises(DataError, match="fields, expected 17"):
            read_values(written(tmp_path, {"paper": "P"}))
        with pytest.raises(DataError, match="not readable"):
            read_values(tmp_path / "none.csv")

    def test_the_package_holds_what_was_collected(self):
        shared = os.environ.get("PMGS_SHARED")
        if not shared:
            pytest.skip("PMGS_SHARED names no folder with the collected values")
        collected = read_values(Path(shared) / "papers" / "published_results.csv")
        assert collected == tuple(value for value in paper_values() if value.trust != "unread")


class TestVerdicts:
    def test_the_cell_of_the_issue(self):
        assert judge("PSNR", value_of("26.47"), 26.412).text == "26.41 (paper 26.47, -0.06: MATCH)"

    @pytest.mark.parametrize("metric", LIMITS)
    def test_limits_hold_either_way_and_up_to_their_last_digit(self, metric):
        match, close = LIMITS[metric]
        step = 10.0 ** -(2 if metric == "PSNR" else 3)
        paper = value_of("0.500", metric)
        for sign in (-1, 1):
            for change, verdict in (
                (0.0, "MATCH"), (match, "MATCH"), (match + step, "CLOSE"), (close, "CLOSE"), (close + step, "MISS"),
            ):  # fmt: skip
                assert judge(metric, paper, 0.5 + sign * change).verdict == verdict, (sign, change)

    def test_it_falls_on_the_printed_numbers(self):
        # 0.1049 apart, 0.10 as printed: a reader who subtracts must come to the same verdict.
        cell = judge("PSNR", value_of("26.40"), 26.5049)
        assert (cell.verdict, cell.text) == ("MATCH", "26.50 (paper 26.40, +0.10: MATCH)")

    def test_a_value_nobody_could_read_gives_no_verdict(self):
        cell = judge("PSNR", value_of("", trust="unread"), 21.0)
        assert cell.text == "21.00 (paper: not retrievable: NOT COMPARABLE)"
        assert "could not be retrieved" in cell.reason
        assert judge("PSNR", None, 21.0).text == "21.00 (not in the paper: NOT COMPARABLE)"

    def test_nothing_run(self):
        cell = Cell("PSNR", value_of("26.47", trust="transcribed"), "NOT RUN", reason="needs weights")
        assert cell.text == "NOT RUN (paper 26.47)"
        assert [note.split()[0] for note in cell.notes] == ["needs", "paper's"]

    def test_the_limits_are_told(self):
        assert "PSNR 0.1 and 0.5 dB" in limits_note()
