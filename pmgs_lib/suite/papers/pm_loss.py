"""PM-Loss (Shi et al., arXiv 2506.05327): its table 1, of which no number could be retrieved.

Its comparison changes two things at once, the loss and the freedom of the offsets; the third arm changes one.
"""

from pmgs_lib.suite.papers.evidence import Requirement, Trained
from pmgs_lib.suite.papers.tables import PaperTable, TableRow

STEPS, BATCH = 100_001, 1  # scripts/train.sh; how many GPUs took one scene each is not stated
UNCONSTRAINED, ORI = "pmloss-unconstrained-256x448", "pmloss-ori-256x448"
NO_MVSPLAT = "no weights of MVSplat on DL3DV, with or without PM-Loss, are known, nor how they were trained"
FREE = {"kind": "depthsplat", "color.adapter.offset_mode": "unconstrained"}
START = "depthsplat-gs-base-dl3dv-256x448-75cc0183"
OURS = "an arm of ours: the paper has no such row, which is what its comparison lacks"


def _rows(dataset: str, short: str) -> tuple[TableRow, ...]:
    protocol = f"pm-loss-{short}"
    alone = Trained("pm-loss-unconstrained-without-loss", FREE, "pm-loss-dl3dv", STEPS, BATCH, start=START)

    def row(name: str, label: str, method: str | None, required: Requirement | None, **further: str) -> TableRow:
        values = {"dataset": dataset, "method": method} if method else None
        return TableRow(f"table1_{short}_{name}", label, values, required, **further)

    return (
        row("mvsplat", "MVSplat", "MVSplat", None, impossible=NO_MVSPLAT),
        row("mvsplat_pm", "MVSplat + PM-Loss", "MVSplat + PM-Loss", None, impossible=NO_MVSPLAT),
        row("baseline", "DepthSplat, tuned without PM-Loss", "DepthSplat", Requirement(protocol, ORI)),
        row("pm_loss", "DepthSplat + PM-Loss", "DepthSplat + PM-Loss", Requirement(protocol, UNCONSTRAINED)),
        row("unconstrained", "DepthSplat, tuned with unconstrained offsets, without PM-Loss", None,
            Requirement(protocol, trained=alone), note=OURS),
    )  # fmt: skip


DL3DV = PaperTable(
    "PM-Loss, table 1: DL3DV-Benchmark, targets beyond 2 views",
    {"paper": "PM-Loss", "table": "1"}, _rows("DL3DV", "dl3dv"), "pm_loss",
)  # fmt: skip
RE10K = PaperTable(
    "PM-Loss, table 1: RealEstate10K, targets beyond 2 views",
    {"paper": "PM-Loss", "table": "1"}, _rows("RE10K", "re10k"), "pm_loss",
)  # fmt: skip
PM_LOSS = (DL3DV, RE10K)
