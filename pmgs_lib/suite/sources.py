"""External things that runs need, known by name: data sets of the catalogue, weights of the zoo, published protocols.

Each says whether it is on this machine, what a notebook gets for it and by which digest it counts; a missing one, how
large it is and where to get it: all before anything runs. Nothing is fetched here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from pmgs_lib.errors import ParameterError
from pmgs_lib.suite.provenance import canonical_json, digest_file, digest_text
from pmgs_lib.suite.weight_sizes import size_text

KINDS = ("path", "dataset", "weights", "protocol")
VGG_SIZES = {"vgg16": "about 528 MB", "vgg19": "about 548 MB"}  # as torchvision's documentation states them
VGG_ADDRESS = "https://download.pytorch.org/models/"
MOST_RUNS = 4  # that a line names
Name = Annotated[str, StringConstraints(min_length=1)]


class DataSource(BaseModel):
    """External data. Missing optional data leaves its runs out, counted and with a reason; other missing data stops.

    One of: `path`, a file or folder, with a `hint` of how to get it; `dataset`, a name of the catalogue (`pmgs data`),
    whose `split` must be imported under PMGS_DATA; `weights`, a model of the zoo with a released file (`pmgs models`),
    an initialisation, "vgg16" or "vgg19" of torchvision; `protocol`, a published evaluation whose index file is here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Name | None = None
    dataset: Name | None = None
    weights: Name | None = None
    protocol: Name | None = None
    split: Literal["train", "test"] = "test"
    optional: bool = False
    hint: str = "get it and correct the path"

    @model_validator(mode="after")
    def _is_one_thing(self) -> "DataSource":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"names {' and '.join(given) or 'nothing'}, expected one of {', '.join(KINDS)}")
        return self

    @property
    def named(self) -> "NamedSource | None":
        """The thing behind a name; None for a path. ParameterError for a name that nobody knows."""
        if self.dataset is not None:
            return ChunkedData(self.dataset, self.split)
        if self.weights is not None:
            return VggWeights(self.weights) if self.weights in VGG_SIZES else ReleasedWeights(self.weights)
        return None if self.protocol is None else PublishedFrames(self.protocol)


@dataclass(frozen=True)
class Lack:
    """Something that is not on this machine: what, how large, and how to get it."""

    what: str
    size: str
    get: str

    def __str__(self) -> str:
        return f"{self.what} is not on this machine ({self.size}); {self.get}"


class NamedSource(ABC):
    """One external thing. `root` is the project's: relative settings such as PMGS_DATA mean "from there"."""

    @abstractmethod
    def lack(self, root: Path) -> Lack | None:
        """What is missing; None where the thing is there."""

    @abstractmethod
    def value(self, root: Path) -> str:
        """What stands for it in a notebook's parameters."""

    @abstractmethod
    def digest(self, root: Path) -> str:
        """What of its content decides a run's key."""


@dataclass(frozen=True)
class ChunkedData(NamedSource):
    """A data set of the catalogue, imported into chunk files."""

    name: str
    split: str

    def _folder(self, root: Path) -> Path:
        from pmgs_lib.data.catalogue import data_entry
        from pmgs_lib.data.roots import dataset_folder

        return root / dataset_folder(data_entry(self.name).dataset)

    def lack(self, root: Path) -> Lack | None:
        from pmgs_lib.data.catalogue import data_entry
        from pmgs_lib.data.folders import INDEX_NAME

        folder = self._folder(root)
        if (folder / self.split / INDEX_NAME).is_file():
            return None
        entry = data_entry(self.name)
        how = f"by hand from {entry.files[0].address}" if entry.by_hand else f"pmgs data {self.name}"
        gate = f", licence to accept on {entry.source}" if entry.gated else ""
        place = folder / self.split / INDEX_NAME
        get = f"get it ({how}{gate}) and import it with `pmgs import`, so that {place} is there"
        return Lack(f"{entry.what} [{self.split}]", entry.size or "size not stated by its source", get)

    def value(self, root: Path) -> str:
        return str(self._folder(root))

    def digest(self, root: Path) -> str:
        """Over index and import manifests by content, chunk files by name and size: they are too many to be read."""
        folder = self._folder(root) / self.split
        listed = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        marks = [[path.name, digest_file(path) if path.suffix == ".json" else path.stat().st_size] for path in listed]
        return digest_text(canonical_json(marks))


@dataclass(frozen=True)
class ReleasedWeights(NamedSource):
    """A released file of the zoo or of the initialisations; the notebook gets its name."""

    name: str

    @property
    def _file(self):
        from pmgs_lib.models.initialisation import INITIALISATIONS
        from pmgs_lib.models.zoo import MODELS
        from pmgs_lib.models.zoo_entry import ReleasedFile

        known = MODELS if self._is_model else INITIALISATIONS
        file = known[self.name].weights if self.name in known else None
        if not isinstance(file, ReleasedFile):
            raise ParameterError(f"weights {self.name!r}: no released file of that name; see pmgs models")
        return file

    def _copies(self) -> tuple[Path, Path]:
        """The file as released, and our copy of it, which `load_checkpoint` makes and keeps."""
        from pmgs_lib.data.downloads import cache_folder, downloads_folder

        return downloads_folder() / self._file.name, cache_folder() / "converted" / f"{self.name}.safetensors"

    def lack(self, root: Path) -> Lack | None:
        if any(path.is_file() for path in self._copies()):
            return None
        file, place = self._file, self._copies()[0]
        by_name = "" if file.by_hand or not self._is_model else f"pmgs models {self.name} --fetch, or "
        where = f"fetch it by hand from {file.address} and place it as" if file.by_hand else f"put {file.address} as"
        return Lack(f"weights {file.name}", self._size(), f"{by_name}{where} {place}")

    @property
    def _is_model(self) -> bool:
        from pmgs_lib.models.zoo import MODELS

        return self.name in MODELS

    def _size(self) -> str:
        """Its authors state none: that of the parameters of the model that it fills."""
        return size_text(self.name) if self._is_model else "size not stated by its source"

    def value(self, root: Path) -> str:
        return self.name

    def digest(self, root: Path) -> str:
        from pmgs_lib.data.downloads import recorded_digest

        released, copy = self._copies()
        return recorded_digest(released) or digest_file(released if released.is_file() else copy)


@dataclass(frozen=True)
class VggWeights(NamedSource):
    """A VGG network of torchvision: LPIPS and the perceptual terms look through it."""

    name: str

    @property
    def _path(self) -> Path:
        from pmgs_lib.losses.vgg import VGG16, VGG19, hub_path

        return hub_path({"vgg16": VGG16, "vgg19": VGG19}[self.name])

    def lack(self, root: Path) -> Lack | None:
        if self._path.is_file():
            return None
        return Lack(
            f"weights {self._path.name}", VGG_SIZES[self.name], f"put {VGG_ADDRESS}{self._path.name} as {self._path}"
        )

    def value(self, root: Path) -> str:
        return str(self._path)

    def digest(self, root: Path) -> str:
        return digest_file(self._path)


@dataclass(frozen=True)
class PublishedFrames(NamedSource):
    """A published protocol, whose frames stand in an index file of its authors; the notebook gets its name."""

    name: str

    @property
    def _file(self):
        from pmgs_lib.data.published_protocols import PUBLISHED, index_file

        if self.name not in PUBLISHED:
            raise ParameterError(f"protocol {self.name!r} is not published; expected one of {', '.join(PUBLISHED)}")
        return index_file(self.name)

    def lack(self, root: Path) -> Lack | None:
        import os

        from pmgs_lib.data.downloads import downloads_folder
        from pmgs_lib.data.protocol_indexes import FOLDER_VARIABLE

        file, chosen = self._file, os.environ.get(FOLDER_VARIABLE)
        if (Path(chosen) if chosen else downloads_folder()).joinpath(file.name).is_file():
            return None
        get = f"pmgs data indexes, and set {FOLDER_VARIABLE} to the folder that it fills"
        return Lack(f"index file {file.name}", "5.5 MB with all others", get)

    def value(self, root: Path) -> str:
        return self.name

    def digest(self, root: Path) -> str:
        return str(self._file.sha256)


def lacking_table(where: str, lacks: Mapping[str, Lack | str], needed_by: Mapping[str, Sequence[str]]) -> str:
    """Everything that is missing at once, what one step gets side by side: a person fetches it, then starts again."""
    steps: dict[str, list[str]] = {}
    for name, lack in lacks.items():
        steps.setdefault(lack.get if isinstance(lack, Lack) else lack, []).append(name)
    width = max(map(len, lacks))
    lines = [f"{where}: {len(lacks)} things are missing, and nothing was started; get them, then run it again"]
    for step, names in steps.items():
        for name in names:
            lack, runs = lacks[name], needed_by[name]
            more = f" and {len(runs) - MOST_RUNS} more" if len(runs) > MOST_RUNS else ""
            told = f"{lack.what}: {lack.size}; " if isinstance(lack, Lack) else ""
            lines.append(f"  {name.ljust(width)}  {told}for {', '.join(runs[:MOST_RUNS])}{more}")
        lines.append(f"  {' ' * width}    -> {step}")
    return "\n".join(lines)
