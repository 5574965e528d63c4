"""DepthSplat (Xu et al., CVPR 2025, arXiv 2410.13862v3): its tables 1, 7 and 8.

The paper's numbers are of the files first released in March 2025; those of April 2025 were trained again.
"""

from pmgs_lib.suite.papers.evidence import Requirement
from pmgs_lib.suite.papers.tables import PaperTable, TableRow

PAPER = "DepthSplat"
AGAIN = "trained again after the paper, whose authors expect slightly other numbers"
NO_MVSPLAT = "nobody published MVSplat's weights for DL3DV (depthsplat issue 90)"
SIZES = {"small": "Small (ViT-S 1-scale)", "base": "Base (ViT-B 2-scale)", "large": "Large (ViT-L 2-scale)"}
FIRST = {
    "small": "depthsplat-gs-small-re10k-256x256-20f39ed8",
    "base": "depthsplat-gs-base-re10k-256x256-fbe87117",
    "large": "depthsplat-gs-large-re10k-256x256-8ee2ec2c",
}
FIRST_DL3DV = "depthsplat-gs-base-dl3dv-256x448-d94d996f"
LATER_DL3DV = "depthsplat-gs-base-dl3dv-256x448"


def later(size: str) -> str:
    """The file of April 2025."""
    return f"depthsplat-gs-{size}-re10k-256x256"


def _rows(row_id: str, label: str, values: dict[str, str], protocol: str, files: tuple[str, str]) -> list[TableRow]:
    """One row for the file of the paper's numbers, one for the file that replaced it."""
    first, new = files
    return [
        TableRow(row_id, f"{label}, file of March 2025", values, Requirement(protocol, first)),
        TableRow(f"{row_id}_april", f"{label}, file of April 2025", values, Requirement(protocol, new, differs=AGAIN)),
    ]


TABLE_1 = PaperTable(
    "DepthSplat, table 1: RealEstate10K, 256x256, 2 views",
    {"paper": PAPER, "table": "1", "dataset": "RE10K"},
    tuple(
        row
        for size, name in SIZES.items()
        for row in _rows(
            f"table1_{size}", f"DepthSplat {name}", {"method": f"DepthSplat {name}"},
            "depthsplat-re10k-256", (FIRST[size], later(size)),
        )
    ),
    "depthsplat",
)  # fmt: skip
TABLE_7 = PaperTable(
    "DepthSplat, table 7: DL3DV-Benchmark, 256x448, 2, 4 and 6 views over 50 frames",
    {"paper": PAPER, "table": "7"},
    tuple(
        row
        for views in ("2", "4", "6")
        for row in (
            TableRow(f"table7_{views}v_mvsplat", f"MVSplat, {views} views",
                     {"method": "MVSplat", "context_views": views}, impossible=NO_MVSPLAT),
            *_rows(f"table7_{views}v", f"DepthSplat, {views} views", {"method": "DepthSplat", "context_views": views},
                   f"depthsplat-dl3dv-{views}v", (FIRST_DL3DV, LATER_DL3DV)),
        )
    ),
    "depthsplat",
)  # fmt: skip
TABLE_8 = PaperTable(
    "DepthSplat, table 8: trained on RealEstate10K, asked about DL3DV-Benchmark and ACID",
    {"paper": PAPER, "table": "8"},
    (
        TableRow("table8_dl3dv_mvsplat", "MVSplat on DL3DV", {"method": "MVSplat", "dataset": "DL3DV-Benchmark"},
                 Requirement("depthsplat-dl3dv-zero-shot", "mvsplat-re10k-256x256")),
        *_rows("table8_dl3dv", "DepthSplat on DL3DV", {"method": "DepthSplat", "dataset": "DL3DV-Benchmark"},
               "depthsplat-dl3dv-zero-shot", (FIRST["large"], later("large"))),
        TableRow("table8_acid_mvsplat", "MVSplat on ACID", {"method": "MVSplat", "dataset": "ACID"},
                 Requirement("mvsplat-acid-256", "mvsplat-re10k-256x256"),
                 note="quoted from MVSplat's paper, so on its depth range of 1 to 100"),
        *_rows("table8_acid", "DepthSplat on ACID", {"method": "DepthSplat", "dataset": "ACID"},
               "depthsplat-acid-256", (FIRST["large"], later("large"))),
    ),
    "depthsplat",
)  # fmt: skip
DEPTHSPLAT = (TABLE_1, TABLE_7, TABLE_8)
