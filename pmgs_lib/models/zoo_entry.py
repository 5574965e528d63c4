"""What the zoo knows of a model or of weights to start from: facts with their source, nothing computed."""

from typing import Literal

from pydantic import Field, SerializeAsAny

from pmgs_lib.data.downloads import RemoteFile
from pmgs_lib.models.base import ModelConfig

Trust = Literal["verified", "transcribed"]


class ReleasedFile(RemoteFile):
    """A file of weights as its authors released it.

    layout: how the tensors are wrapped and named, as the released loading code reads them. `name`, under which it is
    kept here, differs from the authors' only where theirs says too little.
    """

    layout: str


class PaperRow(ModelConfig):
    """One published measurement.

    protocol: index file of scenes and frames that it was measured on. metrics: as published (PSNR in dB). trust:
    "verified" where the numbers were seen in the paper, the authors' repository or two independent sources,
    "transcribed" where in one other source only.
    """

    paper: str
    table: str
    dataset: str
    protocol: str
    context_views: int
    metrics: dict[str, float]
    trust: Trust
    source: str


class ModelEntry(ModelConfig):
    """A model of the zoo: configuration, weights and what they were made and measured on.

    weights: "embedded" if they ship with the library, "none" if there are none to be had: the entry is there to be
    trained. near, far: z-depth range in world units that the released commands use. image_size: height and width it
    was trained at, last stage. context_views: fewest and most views in training. protocol: index file of the
    evaluation it belongs to; empty: none is named. paper: measurements that the authors publish for this model, or for
    the one it replaces if `note` says so. released: year and month in which the file was first named. inferred: what
    of all this its authors do not state. source: where the facts stand.
    """

    config: SerializeAsAny[ModelConfig]
    weights: Literal["embedded", "none"] | ReleasedFile
    near: float = Field(gt=0)
    far: float = Field(gt=0)
    image_size: tuple[int, int]
    context_views: tuple[int, int]
    training_data: str
    protocol: str = ""
    paper: tuple[PaperRow, ...] = ()
    released: str
    licence: str
    source: str
    inferred: str = ""
    note: str = ""
    large_image_scale_max: float | None = None

    def config_for(self, height: int, width: int) -> ModelConfig:
        """The configuration that the released commands use for images of this size.

        Beyond the size of the training they bound the scales of Gaussians further, where `large_image_scale_max` says.
        """
        trained_height, trained_width = self.image_size
        if self.large_image_scale_max is None or (height <= trained_height and width <= trained_width):
            return self.config
        fields = self.config.model_dump()
        fields["color"]["adapter"]["scale_max"] = self.large_image_scale_max
        return type(self.config).model_validate(fields)

    def __str__(self) -> str:
        height, width = self.image_size
        fewest, most = self.context_views
        lines = {
            "architecture": self.config.kind,
            "weights": _described(self.weights),
            "trained on": f"{self.training_data}, {height}x{width}, {_span(fewest, most)} views",
            "depth range": f"{self.near:g} to {self.far:g}",
            "protocol": self.protocol,
            "published": "\n".join(map(_published, self.paper)),
            "released": self.released,
            "licence": self.licence,
            "inferred": self.inferred,
            "note": self.note,
            "source": self.source,
        }
        return _aligned(lines)


class InitialisationEntry(ModelConfig):
    """Weights that training starts from; not a model of the zoo. parts: first parts of the names that are taken."""

    weights: ReleasedFile
    parts: tuple[str, ...]
    licence: str
    source: str
    note: str = ""

    def __str__(self) -> str:
        taken = ", ".join(f"{part}.*" for part in self.parts)
        lines = {"weights": _described(self.weights), "taken": taken, "licence": self.licence, "note": self.note}
        return _aligned(lines | {"source": self.source})


def _described(weights: str | ReleasedFile) -> str:
    if isinstance(weights, str):
        return "embedded in the library" if weights == "embedded" else "none published: train it"
    how = "by hand from" if weights.by_hand else "from"
    return f"{weights.name} {how} {weights.address}\n{weights.layout}\n{weights.digest_rule}"


def _published(row: PaperRow) -> str:
    metrics = ", ".join(f"{name} {value:g}" for name, value in row.metrics.items())
    where = f"{row.dataset}, {row.context_views} views, {row.protocol}"
    return f"{metrics} on {where} ({row.paper}, table {row.table}, {row.trust})"


def _span(fewest: int, most: int) -> str:
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _aligned(lines: dict[str, str]) -> str:
    kept = {name: text for name, text in lines.items() if text}
    width = max(map(len, kept)) + 2
    return "\n".join(f"{name:<{width}}" + text.replace("\n", "\n" + " " * width) for name, text in kept.items())
