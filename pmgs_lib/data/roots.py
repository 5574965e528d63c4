"""Where data sets lie: one setting, `PMGS_DATA` (default `datasets`, where one works), and a folder for each in it."""

import os
from pathlib import Path

VARIABLE = "PMGS_DATA"
DEFAULT_ROOT = "datasets"
FOLDERS = {  # as the released configurations call them
    "re10k": "re10k",
    "acid": "acid",
    "dl3dv": "DL3DV_480P",
    "dl3dv-960p": "DL3DV_960P",
    "dl3dv-benchmark": "DL3DV_Benchmark",
    "dtu": "dtu",
}


def data_root() -> Path:
    """The folder that holds all data sets."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_ROOT)


def dataset_folder(name: str) -> Path:
    """Where the chunk files of a data set lie or will lie: `datasets/re10k`, `datasets/DL3DV_480P`; others by name."""
    return data_root() / FOLDERS.get(name, name)


def sources_folder() -> Path:
    """Where data sets are kept as fetched, before they are imported."""
    return data_root() / "sources"
