"""A table says what was measured, links every number, and says why one is absent."""

from html.parser import HTMLParser

import pytest

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.metric_paths import find_metric
from pmgs_lib.suite.tables import COLUMNS, Column, ResultRow, results_table


def row(method="DepthSplat tiny", psnr=20.0, inside=22.0, lpips=None, **options) -> ResultRow:
    means = {
        "overall": {"psnr": psnr, "lpips": lpips, "abs_rel": 0.1},
        "inside": {"psnr": inside},
        "outside": {"psnr": 18},
    }
    return ResultRow(method, means, missing={"lpips": "LPIPS not computed: weights are absent"}, **options)


CONTROL = row("nearest-input", psnr=30.0, control=True)
LEDGER = {"listed": 1, "scored": ["a"], "skipped": []}
PSNR, LPIPS, INSIDE = Column("psnr"), Column("lpips"), Column("psnr", "inside")


class Page(HTMLParser):
    """Rows of cells, links by their text, and every tag, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows, self.links, self.tags, self.bold, self.open = [], [], [], [], []
        self.feed(html)
        assert not self.open, f"unclosed {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "a" in self.open:
            href = next(a["href"] for t, a in reversed(self.tags) if t == "a")
            self.links.append((href, data))
        if "b" in self.open:
            self.bold.append(data)


def test_every_number_links_to_its_run():
    rows = [row(href="../runs/abc/executed.ipynb"), row("other", psnr=19.0, href="../runs/def/executed.ipynb")]
    page = Page(results_table(rows, [PSNR, LPIPS, INSIDE]).html)
    assert page.links == [
        ("../runs/abc/executed.ipynb", "20.00"),
        ("../runs/abc/executed.ipynb", "22.00"),
        ("../runs/def/executed.ipynb", "19.00"),
        ("../runs/def/executed.ipynb", "22.00"),
    ]


def test_columns_name_metric_direction_unit_and_split():
    page = Page(results_table([row()], [PSNR, INSIDE, LPIPS, Column("accuracy_m")]).html)
    assert page.rows[0] == ["method", "PSNR ↑dB, all", "PSNR ↑dB, inside", "LPIPS ↓all", "Accuracy ↓m"]


def test_controls_stand_apart_below_and_never_win():
    table = results_table([CONTROL, row(psnr=20.0), row("other", psnr=21.0)], [PSNR])
    page = Page(table.html)
    assert [cells[0] for cells in page.rows[1:]] == ["DepthSplat tiny", "other", "nearest-inputcontrol"]
    assert page.bold == ["21.00"]
    assert table.html.count("border-top") == 2  # the rule above the first control's two cells
    lines = table.text.splitlines()
    assert lines[5].startswith("---")
    assert lines[6].startswith("nearest-input (control)")


def test_lower_is_better_where_it_is_and_one_contender_wins_nothing():
    rows = [row("a", lpips=0.2), row("b", lpips=0.1), row("c", lpips=0.05, control=True)]
    assert Page(results_table(rows, [LPIPS]).html).bold == ["0.100"]
    assert Page(results_table([rows[0], rows[2]], [LPIPS]).html).bold == []


def test_the_number_of_training_steps_is_stated():
    table = results_table([row(trained_steps=4000), row("fresh", trained_steps=0), row("shipped")], [PSNR])
    page = Page(table.html)
    assert [cells[0] for cells in page.rows[1:]] == [
        "DepthSplat tinytrained for 4,000 steps",
        "freshtrained for 0 steps",
        "shipped",
    ]
    assert "DepthSplat tiny (trained for 4,000 steps)" in table.text


def test_a_missing_value_carries_its_reason_once():
    table = results_table([row(href="x.ipynb"), CONTROL], [PSNR, LPIPS, Column("overall_m")])
    assert table.html.count("LPIPS not computed: weights are absent") == 1
    assert table.text.splitlines()[-2:] == ["[1] LPIPS not computed: weights are absent", "[2] not measured"]
    assert Page(table.html).rows[1][2:] == ["n/a1", "n/a2"]


def test_a_row_from_metrics_names_skipped_scenes_and_partial_metrics():
    metrics = {
        "method": "model",
        "control": False,
        "means": {"overall": {"psnr": 20.0, "abs_rel": 0.1, "lpips": None}, "inside": {}, "outside": {}},
        "missing": {"lpips": {"no weights": 3}, "abs_rel": {"the data has no exact depth": 1}},
        "ledger": {"listed": 4, "scored": ["a", "b", "c"], "skipped": [{"scene": "d", "reason": "NaN pose"}]},
    }
    made = ResultRow.from_metrics(metrics, method="Ours", href="run.ipynb", trained_steps=3)
    text = results_table([made], [PSNR, LPIPS, Column("abs_rel")]).text
    for words in (
        "Ours: 3 of 4 scenes scored",
        "Ours: skipped d: NaN pose",
        "Ours: AbsRel without 1 scene: the data has no exact depth",
        "no weights",
    ):
        assert words in text
    assert made.value(Column("abs_rel")) == 0.1


def test_a_number_carries_the_name_that_why_takes():
    means = {"overall": {"psnr": 20.0, "lpips": None}, "inside": {"psnr": 22.0}, "outside": {}}
    results = [
        {"method": name, "control": name == "copy", "means": means, "missing": {}, "ledger": LEDGER}
        for name in ("a model, small", "copy")
    ]
    rows = [ResultRow.from_metrics(entry, method="ours", run="evaluate") for entry in results[:1]]
    page = Page(results_table(rows, [PSNR, LPIPS, INSIDE], caption="Named").html)
    cells = [attributes.get("data-cell") for tag, attributes in page.tags if tag == "td"]
    assert cells == ["evaluate:a model, small.overall.psnr", None, "evaluate:a model, small.inside.psnr"]
    for cell, value in zip((cells[0], cells[2]), (20.0, 22.0), strict=True):
        path, found = find_metric({"results": results}, cell.partition(":")[2], "here")
        assert found == value
        assert path.startswith("results.a model, small.")


def test_the_table_scrolls_in_a_box_with_a_name():
    tags = Page(results_table([row()], caption="Protocol tiny").html).tags
    tag, box = tags[0]
    assert (tag, box["role"], box["aria-label"], box["tabindex"]) == ("div", "region", "Protocol tiny", "0")
    assert "overflow-x:auto" in box["style"]


def test_text_from_data_cannot_become_markup():
    nasty = '<script>alert("x")</script>'
    table = results_table([row(nasty, href="a&b.ipynb", notes=[nasty])], [PSNR], caption=nasty)
    tags = {tag for tag, _ in Page(table.html).tags}
    assert "script" not in tags
    assert nasty in table.text


def test_nothing_is_loaded_from_anywhere():
    table = results_table([row(href="run.ipynb"), CONTROL])
    for tag, attributes in Page(table.html).tags:
        assert tag not in ("script", "link", "img", "iframe", "style")
        assert set(attributes) <= {"style", "href", "scope", "role", "aria-label", "tabindex", "data-cell", "title"}
    assert "http" not in table.html


@pytest.mark.parametrize(
    "href", ["https://example.org/run.ipynb", "//host/run.ipynb", "/absolute/run.ipynb", "javascript:x"]
)
def test_a_link_that_leaves_the_page_is_refused(href):
    with pytest.raises(ParameterError, match="expected a path relative to the page"):
        results_table([row(href=href)])


@pytest.mark.parametrize(("rows", "columns"), [([], COLUMNS), ([row()], []), ([row(), row()], COLUMNS)])
def test_an_empty_or_ambiguous_table_is_refused(rows, columns):
    with pytest.raises(ParameterError, match="every method once"):
        results_table(rows, columns)


@pytest.mark.parametrize(("metric", "split"), [("pnsr", "overall"), ("psnr", "between")])
def test_an_unknown_column_is_refused(metric, split):
    with pytest.raises(ParameterError, match="expected one of"):
        Column(metric, split)


def test_the_text_is_the_same_every_time_and_is_the_repr():
    tables = [results_table([row(), CONTROL], [PSNR, LPIPS], caption="Smoke") for _ in range(2)]
    assert tables[0].text == tables[1].text == repr(tables[0])
    assert tables[0].text.splitlines() == [
        "Smoke",
        "method                    PSNR ↑  LPIPS ↓",
        "                         dB, all      all",
        "-----------------------------------------",
        "DepthSplat tiny            20.00  n/a [1]",
        "-----------------------------------------",
        "nearest-input (control)    30.00  n/a [1]",
        "[1] LPIPS not computed: weights are absent",
    ]


def test_a_row_without_any_scored_scene_says_why_once():
    skipped = [{"scene": name, "reason": "no exact depth"} for name in ("a", "b")]
    empty = {split: {"psnr": None} for split in ("overall", "inside", "outside")}
    metrics = {"method": "exact-depth", "control": True, "means": empty, "missing": {}}
    row = ResultRow.from_metrics(metrics | {"ledger": {"listed": 2, "scored": [], "skipped": skipped}})
    text = results_table([row], [Column("psnr"), Column("psnr", "inside")]).text
    assert text.count("no exact depth") == 1
    assert text.count("n/a [1]") == 2


def test_scenes_skipped_for_one_reason_share_a_note():
    skipped = [{"scene": name, "reason": "too short"} for name in ("a", "b")]
    means = {split: {"psnr": 20.0} for split in ("overall", "inside", "outside")}
    metrics = {"method": "ours", "control": False, "means": means, "missing": {}}
    row = ResultRow.from_metrics(metrics | {"ledger": {"listed": 3, "scored": ["c"], "skipped": skipped}})
    assert row.notes == ("1 of 3 scenes scored", "skipped a, b: too short")


OF_ONE_SEED = {"method": "seed 0", "control": False, "means": {}, "missing": {}, "ledger": LEDGER}
OF_THREE_SEEDS = {
    "seeds": 3,
    "means": {"overall": {"psnr": 25.0}, "inside": {"psnr": 26.0}},
    "intervals": {"overall": {"psnr": [24.5, 25.5]}, "inside": {"psnr": [25.75, 26.25]}},
}


class TestSeveralSeeds:
    def several(self) -> ResultRow:
        fields = {"method": "tuned", "href": "compare/executed.html", "trained_steps": 12}
        return ResultRow.over_seeds(OF_ONE_SEED, OF_THREE_SEEDS, arm="plain", run="compare", **fields)

    def test_a_mean_has_half_its_interval_below_it(self):
        table = results_table([self.several(), row(psnr=20.0)], [PSNR, INSIDE])
        _, tuned, single = Page(table.html).rows
        assert tuned == ["tunedtrained for 12 steps, 3 seeds", "25.00±0.50", "26.00±0.25"]
        assert single[1:] == ["20.00", "22.00"]
        assert table.html.count("±: half of the 95 % interval") == table.text.count("±: half of the 95 % interval") == 1
        assert "25.00±0.50" in table.text

    def test_without_seeds_nothing_is_said_of_them(self):
        table = results_table([row(), CONTROL], [PSNR])
        assert "±" not in table.html + table.text

    def test_its_name_finds_the_mean_in_the_run_that_computed_it(self):
        tags = Page(results_table([self.several()], [PSNR]).html).tags
        (cell,) = (attributes["data-cell"] for tag, attributes in tags if tag == "td")
        assert cell == "compare:arms.plain.means.overall.psnr"
        saved = {"arms": {"plain": OF_THREE_SEEDS, "PM-Loss": OF_THREE_SEEDS}}
        assert find_metric(saved, cell.removeprefix("compare:"), "here") == ("arms.plain.means.overall.psnr", 25.0)
