"""GS-LRM (Zhang et al., ECCV 2024, arXiv 2404.19702), its RealEstate10K row; MVSplat (Chen et al., ECCV 2024, arXiv
2403.14627), its tables 1 and 2. Rows of pixelSplat name the version of its paper: two sets of numbers exist."""

from pmgs_lib.suite.papers.evidence import Requirement, Trained
from pmgs_lib.suite.papers.tables import PaperTable, TableRow

NO_PIXELSPLAT = "pixelSplat is not part of this library; the number is here for comparison"
NO_DTU = "the index file of its 16 DTU scenes is not part of the published protocols here"
# Section A.3: the published row needs stage 1 alone. A step takes 512 scenes, 8 on each of 64 A100.
STAGE_1 = Trained(
    "gslrm-paper-stage1", {"kind": "gslrm", "width": 1024, "layers": 24}, "mvsplat-re10k-256", 80_000, 512
)

GSLRM = PaperTable(
    "GS-LRM, table 1 (right): RealEstate10K, 256x256, 2 views",
    {"paper": "GS-LRM", "table": "1 (right)"},
    (
        TableRow(
            "gslrm_pixelsplat", "pixelSplat (original numbers)", {"method": "pixelSplat"}, impossible=NO_PIXELSPLAT
        ),
        TableRow(
            "gslrm",
            "GS-LRM",
            {"method": "GS-LRM"},
            Requirement("mvsplat-re10k-256", trained=STAGE_1),
            note="nobody published weights: this takes the paper's first stage, 64 A100 for two days",
        ),
    ),
    "gslrm",
)


def _pixelsplat(row_id: str, dataset: str) -> TableRow:
    values = {"method": "pixelSplat", "dataset": dataset}
    return TableRow(row_id, f"pixelSplat on {dataset}, as quoted there", values, impossible=NO_PIXELSPLAT)


MVSPLAT_1 = PaperTable(
    "MVSplat, table 1: RealEstate10K and ACID, 256x256, 2 views",
    {"paper": "MVSplat", "table": "1"},
    (
        _pixelsplat("mvsplat_pixelsplat_re10k", "RE10K"),
        TableRow("mvsplat_re10k", "MVSplat on RE10K", {"method": "MVSplat", "dataset": "RE10K"},
                 Requirement("mvsplat-re10k-256", "mvsplat-re10k-256x256")),
        _pixelsplat("mvsplat_pixelsplat_acid", "ACID"),
        TableRow("mvsplat_acid", "MVSplat on ACID", {"method": "MVSplat", "dataset": "ACID"},
                 Requirement("mvsplat-acid-256", "mvsplat-acid-256x256")),
    ),
    "mvsplat",
)  # fmt: skip
MVSPLAT_2 = PaperTable(
    "MVSplat, table 2: trained on RealEstate10K, asked about ACID and DTU",
    {"paper": "MVSplat", "table": "2"},
    (
        TableRow("mvsplat_zero_shot_acid", "MVSplat on ACID", {"method": "MVSplat", "dataset": "ACID"},
                 Requirement("mvsplat-acid-256", "mvsplat-re10k-256x256")),
        TableRow("mvsplat_zero_shot_dtu", "MVSplat on DTU", {"method": "MVSplat", "dataset": "DTU"}, impossible=NO_DTU),
    ),
    "mvsplat",
)  # fmt: skip
GSLRM_MVSPLAT = (GSLRM, MVSPLAT_1, MVSPLAT_2)
