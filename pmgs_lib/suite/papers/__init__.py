"""The papers' numbers beside ours: values with source and trust, verdicts, and tables that only fitting runs enter."""

from pmgs_lib._lazy import lazy_names

NAMES = {
    "PaperValue": "pmgs_lib.suite.papers.values",
    "paper_values": "pmgs_lib.suite.papers.values",
    "paper_value": "pmgs_lib.suite.papers.values",
    "judge": "pmgs_lib.suite.papers.verdicts",
    "Cell": "pmgs_lib.suite.papers.verdicts",
    "Evidence": "pmgs_lib.suite.papers.evidence",
    "read_evidence": "pmgs_lib.suite.papers.evidence",
    "PaperTable": "pmgs_lib.suite.papers.tables",
    "fill_table": "pmgs_lib.suite.papers.tables",
    "open_page": "pmgs_lib.suite.papers.pages",
    "PaperPage": "pmgs_lib.suite.papers.pages",
    "DEPTHSPLAT": "pmgs_lib.suite.papers.depthsplat",
    "PM_LOSS": "pmgs_lib.suite.papers.pm_loss",
    "GSLRM_MVSPLAT": "pmgs_lib.suite.papers.gslrm_mvsplat",
    "scene_frame": "pmgs_lib.suite.papers.scenes",
    "sortable": "pmgs_lib.suite.sortable",
    "provenance_table": "pmgs_lib.suite.papers.scenes",
}

__getattr__, __dir__ = lazy_names(__name__, NAMES)
