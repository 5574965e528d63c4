"""Public data that the papers rest on: what it is, where it comes from, under which licence, and how much it is.

Sizes and digests are what the sources themselves state; where they state none the field is empty, and the digest of the
first download is recorded. Nothing here is downloaded by itself: see `pmgs_lib.data.acquisition`.
"""

from typing import Annotated

from pydantic import StringConstraints

from pmgs_lib.data.config import Config
from pmgs_lib.data.downloads import RemoteFile
from pmgs_lib.data.published_protocols import INDEX_DIGESTS
from pmgs_lib.errors import ParameterError

DEPTHSPLAT_DATA = "https://huggingface.co/datasets/haofeixu/depthsplat/resolve/main"
DL3DV_LICENCE = "DL3DV-10K terms of use and CC BY-NC 4.0: non-commercial research and education"
DL3DV_LICENCE_PAGE = "https://github.com/DL3DV-10K/Dataset/blob/main/License.md"
RE10K_LICENCE = "camera files: see the data set's page; frames: rights of the videos' owners"
RE10K_PAGE = "https://google.github.io/realestate10k/"
ACID_PAGE = "https://infinite-nature.github.io/"
SUBSETS = tuple(f"{thousand}K" for thousand in range(1, 12))


class DataEntry(Config):
    """One data set, or a part of one, as somebody offers it.

    dataset: the folder of chunks it ends in (`roots.FOLDERS`). size: as its source states it; None: not stated. files:
    what to fetch, zip files are unpacked. repository: or a data repository on Hugging Face, with the patterns of the
    files that are wanted; `parts` may be asked for one at a time, `{part}` in a pattern. gated: its licence has to be
    accepted on its page, and a token given. kind: the importer that reads it.
    """

    name: str
    what: str
    dataset: str
    source: Annotated[str, StringConstraints(pattern=r"^https?://")]
    licence: str
    licence_page: Annotated[str, StringConstraints(pattern=r"^https?://")]
    size: str | None = None
    files: tuple[RemoteFile, ...] = ()
    repository: str | None = None
    patterns: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    gated: bool = False
    kind: str = "chunks"
    note: str = ""

    @property
    def by_hand(self) -> bool:
        """Whether a person has to fetch it."""
        return self.repository is None and all(file.by_hand for file in self.files)


def _hub(name: str, repository: str, what: str, dataset: str, **facts) -> DataEntry:
    source = f"https://huggingface.co/datasets/{repository}"
    return DataEntry(
        name=name, what=what, dataset=dataset, source=source, repository=repository, gated=True, kind="dl3dv",
        licence=DL3DV_LICENCE, licence_page=DL3DV_LICENCE_PAGE, **facts,
    )  # fmt: skip


ENTRIES: tuple[DataEntry, ...] = (
    DataEntry(
        name="re10k-720p-subset",
        what="RealEstate10K at 720x1280, two test scenes, as chunks by DepthSplat's authors",
        dataset="re10k-720p-subset",
        source="https://github.com/cvg/depthsplat/blob/main/DATASETS.md",
        licence=RE10K_LICENCE,
        licence_page=RE10K_PAGE,
        files=(RemoteFile(name="re10k_720p_test_subset.zip", address=f"{DEPTHSPLAT_DATA}/re10k_720p_test_subset.zip"),),
    ),
    DataEntry(
        name="dl3dv-960p-subset",
        what="DL3DV at 540x960, two test scenes, as chunks by DepthSplat's authors",
        dataset="dl3dv-960p-subset",
        source="https://github.com/cvg/depthsplat/blob/main/DATASETS.md",
        licence=DL3DV_LICENCE,
        licence_page=DL3DV_LICENCE_PAGE,
        files=(RemoteFile(name="dl3dv_960p_test_subset.zip", address=f"{DEPTHSPLAT_DATA}/dl3dv_960p_test_subset.zip"),),
    ),
    DataEntry(
        name="pixelsplat-small",
        what="small parts of RealEstate10K and ACID at 360x640, as chunks by pixelSplat's authors",
        dataset="re10k-small",
        source="https://github.com/dcharatan/pixelsplat#acquiring-datasets",
        licence=RE10K_LICENCE,
        licence_page=RE10K_PAGE,
        files=(
            RemoteFile(
                name="pixelsplat_small.zip",
                address="https://drive.google.com/drive/folders/1joiezNCyQK2BvWMnfwHJpm2V77c7iYGe",
                by_hand=True,
            ),
        ),
        note="a folder of several files: download it there and unpack it into the folder of sources",
    ),
    DataEntry(
        name="acid-test",
        what="the test set that DepthSplat's DATASETS.md names for ACID, 360x640, as chunks by pixelSplat's authors",
        dataset="acid",
        source="https://github.com/cvg/depthsplat/blob/main/DATASETS.md",
        licence="see the data set's page; frames: rights of the videos' owners",
        licence_page=ACID_PAGE,
        files=(
            RemoteFile(
                name="re10k_test_only.zip", address="http://schadenfreude.csail.mit.edu:8000/re10k_test_only.zip"
            ),
        ),
        note="the file's own name says RealEstate10K: compare its keys with an index before an evaluation",
    ),
    DataEntry(
        name="pixelsplat-full",
        what="RealEstate10K and ACID at 360x640, whole, as chunks by pixelSplat's authors",
        dataset="re10k",
        source="https://github.com/dcharatan/pixelsplat#acquiring-datasets",
        licence=RE10K_LICENCE,
        licence_page=RE10K_PAGE,
        size="about 500 GB and 160 GB (MVSplat's README)",
        files=(RemoteFile(name="re10k.zip", address="http://schadenfreude.csail.mit.edu:8000/", by_hand=True),),
        note="choose a file on that page and unpack it into the folder of sources",
    ),
    _hub(
        "dl3dv-480p",
        "DL3DV/DL3DV-ALL-480P",
        "DL3DV-10K, frames of 270x480 with poses, for training",
        "dl3dv",
        size="about 730 GB in 11 parts",
        patterns=("{part}/*.zip",),
        parts=SUBSETS,
    ),
    _hub(
        "dl3dv-960p",
        "DL3DV/DL3DV-ALL-960P",
        "DL3DV-10K, frames of 540x960 with poses, for training",
        "dl3dv-960p",
        size="about 2.8 TB in 11 parts",
        patterns=("{part}/*.zip",),
        parts=SUBSETS,
    ),
    _hub(
        "dl3dv-benchmark",
        "DL3DV/DL3DV-Benchmark",
        "the 140 scenes that DL3DV results are published on, at 270x480",
        "dl3dv-benchmark",
        patterns=("*/nerfstudio/transforms.json", "*/nerfstudio/images_8/*"),
        note="only what evaluation needs of about 2.1 TB",
    ),
    DataEntry(
        name="dtu",
        what="DTU as MVSNet prepared it, 640x512, for zero-shot and point-cloud evaluation",
        dataset="dtu",
        source="https://github.com/donydchen/mvsplat#acquiring-datasets",
        licence="see the data set's page",
        licence_page="https://roboimagedata.compute.dtu.dk/?page_id=36",
        files=(
            RemoteFile(
                name="dtu_training.rar",
                address="https://drive.google.com/file/d/1eDjh-_bxKKnEuz5h-HXS7EDJn59clx6V/view",
                by_hand=True,
            ),
        ),
        kind="dtu",
        note="unpack the archive into the folder of sources",
    ),
    DataEntry(
        name="indexes",
        what="the index files of all published evaluations: which frames of which scenes",
        dataset="indexes",
        source="https://github.com/cvg/depthsplat/tree/main/assets",
        licence="MIT (DepthSplat); PM-Loss: see its repository",
        licence_page="https://github.com/cvg/depthsplat/blob/main/LICENSE",
        size="5.5 MB",
        files=tuple(
            RemoteFile(name=address.rpartition("/")[2], address=address, sha256=digest)
            for address, digest in INDEX_DIGESTS.items()
        ),
        kind="",
        note="protocols fetch these by themselves; set PMGS_INDEXES to their folder where there is no network",
    ),
)
CATALOGUE = {entry.name: entry for entry in ENTRIES}


def data_entry(name: str) -> DataEntry:
    """The entry called `name`."""
    if name not in CATALOGUE:
        raise ParameterError(f"data set {name!r} is not in the catalogue; expected one of {', '.join(CATALOGUE)}")
    return CATALOGUE[name]
