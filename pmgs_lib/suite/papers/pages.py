"""A page of a paper: its tables filled with the runs that an experiment gives it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pmgs_lib.suite.papers.evidence import Evidence, read_evidence
from pmgs_lib.suite.papers.tables import FilledTable, PaperTable, fill_table, require_rows

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class PageRun:
    """A run of `40_evaluate` and the rows that it was given for."""

    rows: tuple[str, ...]
    folder: Path
    evidence: Evidence

    @property
    def caption(self) -> str:
        """E.g. `table1_small: DepthSplat, protocol depthsplat-re10k-256, 6474 scenes`."""
        result = self.evidence.result
        settings, scored = result["settings"], len(result["ledger"]["scored"])
        return f"{', '.join(self.rows)}: {result['method']}, protocol {settings['protocol']}, {scored} scenes"


@dataclass(frozen=True)
class PaperPage:
    """Filled tables, and each run once, however many rows it was given for."""

    tables: tuple[FilledTable, ...]
    runs: tuple[PageRun, ...]

    @property
    def counts(self) -> "pandas.DataFrame":
        """How many cells of each table have which verdict."""
        import pandas

        return pandas.DataFrame({table.table.title: table.counts for table in self.tables}).T.fillna(0).astype(int)


def open_page(
    tables: Sequence[PaperTable], evaluations: Mapping[str, str], resolve: Callable[[str], Path]
) -> PaperPage:
    """The page of these tables. evaluations: id of a row -> folder of its run, as a parameter gives it; an empty folder
    is a run that was left out. ParameterError for an id that no row has, RunError for a folder without an evaluation.
    """
    require_rows(tables, list(evaluations))
    folders = {row: resolve(folder) for row, folder in evaluations.items() if folder}
    evidence = {row: read_evidence(folder) for row, folder in folders.items()}
    rows: dict[Path, list[str]] = {}
    for row, folder in folders.items():
        rows.setdefault(folder, []).append(row)
    runs = tuple(PageRun(tuple(names), folder, evidence[names[0]]) for folder, names in rows.items())
    return PaperPage(tuple(fill_table(table, evidence) for table in tables), runs)
