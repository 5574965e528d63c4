"""Notebook 22 in a real JupyterLab: it runs whole, shows its figures, and survives a reload."""

SMALL = {"height": 64, "width": 112, "row": 35, "steps": 3}  # pixels, and steps of descent


def test_22_runs_shows_its_figures_and_stays_usable_after_a_reload(opened, laboratory):
    name = laboratory.copy_notebook("22_understand_pm_loss", **SMALL)
    with opened(name) as notebook:
        cells = notebook.run_all()
        assert (laboratory.place / "runs" / "interactive" / name / "metrics.json").is_file()
        figures = [output for cell in cells for output in cell["outputs"] if "image/png" in output.get("data", {})]
        assert len(figures) >= 6
        shown = notebook.page.locator(".jp-RenderedImage img")
        notebook.show(shown.first)
        notebook.screenshot("figures")
        for image in shown.all():
            assert image.evaluate("image => image.naturalWidth") > 300

        notebook.execute("docmanager:save")
        notebook.page.reload(wait_until="domcontentloaded")
        notebook.wait_until_ready()
        again = notebook.code_cells()
        assert [cell["outputs"] for cell in again] == [cell["outputs"] for cell in cells]
        # The kernel is still there and knows the notebook's names.
        said = notebook.run_cell("print(f'{len(descents)} descents')")
        assert [output["text"] for output in said] == ["3 descents\n"]
