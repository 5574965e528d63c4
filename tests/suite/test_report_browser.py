"""Report pages of a real small run, as a reader's browser shows them from disk with the network off."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
WIDTHS = (1280, 400)
MEASURE = """
from pmgs_lib.suite import current_run
run = current_run()
scenes = [{"scene": f"s{i}", "accuracy_m": 0.1 + i / 10} for i in range(12)]
targets = [{"scene": f"s{i}", "psnr": 20.0 + (i * 5) % 12} for i in range(12)]
means = {split: {"psnr": 25.5, "ssim": 0.875} for split in ("overall", "inside", "outside")}
ledger = {"listed": 12, "scored": [f"s{i}" for i in range(12)], "skipped": []}
result = {"method": "ours, small", "control": False, "means": means, "missing": {}, "ledger": ledger}
run.save_metrics({"results": [{**result, "scenes": scenes, "targets": targets}]})
"""
DRAW = """
import matplotlib.pyplot as plt
import pandas
from IPython.display import Image
figure, axes = plt.subplots(figsize=(9, 3))
axes.plot([0, 1, 2], [1, 0, 2])
plt.close(figure)
run.save_figure(figure, "slope")
"""
REPORT = """
import json
from pmgs_lib.suite import current_run, read_record
from pmgs_lib.suite.papers import scene_frame, sortable
from pmgs_lib.suite.tables import ResultRow, results_table
run = current_run()
record = read_record(run.resolve(measured))
result = record.metrics["results"][0]
href = f"{record.key}/executed.html"
results_table([ResultRow.from_metrics(result, href=href, run=record.id)], caption="Protocol tiny")
"""
SORTED = 'sortable(scene_frame(result), "Scenes of the run")'
WIDE = 'pandas.DataFrame([{f"a long name of column {i}": i / 7 for i in range(20)}])'
PICTURE = 'Image(run.folder / "figures" / "slope.png", alt="A line that falls and rises")'

# Contrast of every text with the first ground behind it that is not see-through, by WCAG 2: [ratio, size, text].
CONTRASTS = """() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const found = channels(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const style = getComputedStyle(e), both = [channels(style.color), ground(e)].map(luminance).sort((a, b) => b - a);
    found.push([(both[0] + 0.05) / (both[1] + 0.05), parseFloat(style.fontSize), text.slice(0, 60)]);
  }
  return found;
}"""
HEADINGS = "() => [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(e => Number(e.tagName[1]))"
# The page itself never scrolls sideways: what is wider than the window lies in a box that scrolls.
OUTSIDE = """() => [...document.querySelectorAll('main *')].filter(e => {
  if (e.closest('.visually-hidden') || e.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = e.parentElement; box; box = box.parentElement)
    if (getComputedStyle(box).overflowX !== 'visible') return box.getBoundingClientRect().right > innerWidth + 1;
  return true;
}).map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def pages(browser, small_of_module) -> dict[str, Path]:
    """Index, report and executed notebook of a real run of two notebooks. Without a browser nothing runs."""
    small = small_of_module
    small.write_notebook("measure", "count: int = 12", MEASURE)
    small.write_notebook("report", 'measured: str = ""', REPORT, SORTED, DRAW, PICTURE, WIDE)
    runs = [
        {"id": "measure"},
        {"id": "report", "parameters": {"measured": "${runs.measure}"}, "page": "runs/toy.html"},
    ]
    small.write_experiment(runs, title="Toy, of two notebooks")
    small.write_experiment([{"id": "measure", "parameters": {"count": 3}}], name="other")
    done = small.pmgs("run", "toy", "--cores", "1")
    assert done.returncode == 0, done.stderr
    plan = small.plan()
    found = {"index": small.runs / "index.html", "report": small.runs / "toy.html"}
    return found | {"executed": small.run_folder(plan.run("report").key) / "executed.html"}


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed (make system)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


def opened(browser, file: Path, width: int):
    """A page and what it asked for and said."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    for details in page.locator("details").all():
        details.evaluate("box => { box.open = true }")
    return page, asked, said


def check(page, name: str, width: int) -> None:
    """What every page must be, at every width."""
    where = f"{name} at {width}"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, where
    assert page.evaluate(OUTSIDE) == [], where
    texts = page.evaluate(CONTRASTS)
    assert len(texts) > 20, where
    assert [text for text in texts if text[0] < 4.5] == [], where
    assert [text for text in texts if text[1] < 11] == [], where
    assert page.locator("main").count() == 1, where
    assert page.locator("html").get_attribute("lang") == "en", where
    assert page.title(), where
    levels = page.evaluate(HEADINGS)
    assert levels[0] == 1, where
    assert levels.count(1) == 1, where
    assert all(after - before <= 1 for before, after in pairwise(levels)), where
    for picture in page.locator("img").all():
        assert picture.evaluate("image => image.naturalWidth") > 0, where
        assert (picture.get_attribute("alt") or "").strip(), where


def test_pages_are_whole_readable_and_ask_for_nothing(browser, pages, tmp_path):
    for name, file in pages.items():
        for width in WIDTHS:
            page, asked, said = opened(browser, file, width)
            page.screenshot(path=tmp_path / "screenshots" / f"{name}-{width}.png", full_page=True)
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert said == []
            check(page, name, width)
            page.close()
    report, _, _ = opened(browser, pages["report"], 1280)
    assert report.locator("table").count() == 3
    alternatives = [picture.get_attribute("alt") for picture in report.locator("img").all()]
    assert alternatives == ["Figure slope: report", "A line that falls and rises"]
    assert report.locator("details").count() == 2
    assert report.get_by_text("save_figure").count() == 0
    report.close()
    executed, _, _ = opened(browser, pages["executed"], 1280)
    assert executed.get_by_text("save_figure").count() > 0
    executed.close()


def test_a_number_leads_to_its_notebook_and_every_page_to_the_others(browser, pages):
    page, _, said = opened(browser, pages["index"], 1280)
    assert "not run here" in page.locator("tr", has_text="other").first.inner_text()
    assert "2 of 2 runs done" in page.locator("tr", has_text="toy").first.inner_text()
    page.get_by_role("navigation").get_by_role("link", name="Toy").click()
    number = page.locator("td[data-cell]").first
    assert number.get_attribute("data-cell") == "measure:ours, small.overall.psnr"
    number.get_by_role("link").click()
    assert page.url.endswith("executed.html")
    assert page.locator("h1").inner_text() == "measure"
    page.get_by_role("navigation").get_by_role("link", name="All experiments").click()
    assert page.url == pages["index"].as_uri()
    assert said == []
    page.close()


def test_scenes_sort_by_mouse_and_by_keyboard(browser, pages):
    page, _, said = opened(browser, pages["report"], 1280)
    table = page.locator("table", has_text="Scenes of the run")
    first = table.locator("tbody tr th").first
    heading = table.get_by_role("button", name="Accuracy [m]")
    assert first.inner_text() == "s0"  # the lowest PSNR
    heading.click()
    heading.click()
    assert first.inner_text() == "s11"
    assert table.locator("th[aria-sort=descending]").inner_text() == "Accuracy [m]"
    heading.press("Enter")
    assert first.inner_text() == "s0"
    table.get_by_role("button", name="PSNR [dB]").press("Enter")
    values = [float(text) for text in table.locator("tbody tr td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values)
    assert len(values) == 12
    assert said == []
    page.close()
