"""What a recipe is: one published training, or one of ours, with the source of every value."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from pmgs_lib.data import load_protocol, make_scenes
from pmgs_lib.data.catalogue import data_entry
from pmgs_lib.data.config import Config
from pmgs_lib.data.protocols import ScheduledViews, TrainingViews
from pmgs_lib.errors import ParameterError
from pmgs_lib.models import ModelConfig
from pmgs_lib.training.config import TrainingConfig
from pmgs_lib.training.run import TrainingRun
from pmgs_lib.training.start import model_config

if TYPE_CHECKING:
    import pandas

Trust = Literal["paper", "released code", "inferred", "ours", "changed"]


class Source(Config):
    """Where values stand. trust: "paper" (its text), "released code" (scripts and configuration at a commit, or what
    its documents say), "inferred" (not stated by the authors; `where` says from what), "ours" (this library's own
    trainings), "changed" (by whoever asked for the recipe)."""

    trust: Trust
    where: str


class Recipe(Config):
    """One training. Fields of `TrainingRun` mean the same there.

    model, model_changes: a model of the zoo, and fields of its configuration that training sets otherwise, nested ones
    as maps. weights, part, initialisation: see `starting_model`. stage_before: the recipe whose result `weights` stands
    for, or which has to be given to `run` where nobody published such weights. protocol, size, views: pictures, depth
    range and choice of frames. data: names of `pmgs_lib.data.catalogue` that it trains on; () for embedded scenes.
    gpus: of the original training; None: not known. sources: by field, for instance "training.optimizer"; the longest
    name that a field begins with counts, and "" stands for all others. left_out: what a rehearsal goes without.
    """

    name: str
    description: str
    model: str
    model_changes: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    part: str | None = None
    initialisation: dict[Literal["unimatch", "depth_anything"], str] = Field(default_factory=dict)
    stage_before: str | None = None
    protocol: str
    size: tuple[PositiveInt, PositiveInt] | None = None
    views: TrainingViews | ScheduledViews
    data: tuple[str, ...] = ()
    training: TrainingConfig
    pointmap: str = "depth"
    pointmap_options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    gpus: PositiveInt | None = None
    sources: dict[str, Source]
    left_out: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _sources_are_of_fields(self) -> "Recipe":
        names = {name for name, _ in flattened(self.model_dump(exclude={"sources"}))}
        strangers = [key for key in self.sources if key and not any(_within(name, key) for name in names)]
        if "" not in self.sources or strangers:
            raise ValueError(
                f"sources: expected one for '' and none but of fields, found {strangers or 'none for empty'}"
            )
        if self.training.batch_size % (self.gpus or 1):
            raise ValueError(f"batch_size {self.training.batch_size} does not divide over {self.gpus} GPUs")
        return self

    @property
    def scenes_per_gpu(self) -> int:
        """Scenes that one GPU of the original held at once; with an unknown number of GPUs all of a step."""
        return self.training.batch_size // (self.gpus or 1)

    def config(self) -> ModelConfig:
        """The model's configuration as this training has it."""
        config = model_config(self.model)
        return (
            model_config(merged(config.model_dump(mode="json"), self.model_changes)) if self.model_changes else config
        )

    def source_of(self, field: str) -> Source:
        """The source of a field by its dotted name."""
        return self.sources[max((key for key in self.sources if _within(field, key)), key=len)]

    def changed(self, **changes: Any) -> "Recipe":
        """The recipe with other values, whose source says so; `ParameterError` for what it has not or cannot be."""
        return self.replaced(changes, Source(trust="changed", where="by whoever asked for it"))

    def overridden(self, values: Mapping[str, Any]) -> "Recipe":
        """The recipe with other values by dotted names, as in a notebook's parameters; None leaves a value alone."""
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if value is not None:
                *path, last = name.split(".")
                place = changes
                for part in path:
                    place = place.setdefault(part, {})
                place[last] = value
        return self.changed(**changes) if changes else self

    def replaced(self, changes: Mapping[str, Any], source: Source) -> "Recipe":
        """The recipe with other values from one source; an empty map replaces a map."""
        fields = merged(self.model_dump(exclude_unset=True), changes)
        names = [name for name, _ in flattened(changes) if name != "left_out"]
        fields["sources"] = {**self.sources, **dict.fromkeys(names, source)}
        return Recipe.build(fields, f"recipe {self.name}")

    def smoke(self) -> "Recipe":
        """A rehearsal on two CPU cores in seconds: see `pmgs_lib.training.recipes.rehearsal`."""
        from pmgs_lib.training.recipes.rehearsal import rehearsal  # it is made of recipes itself

        return rehearsal(self)

    def quick(self, steps: int = 200) -> "Recipe":
        """The real network and data for minutes on one GPU: fewer steps, as many scenes as one GPU held originally."""
        changes = shortened(self, steps, batch_size=self.scenes_per_gpu, gpus=1)
        return self.replaced(
            changes, Source(trust="changed", where=f"{steps} steps on one GPU, not the whole training")
        )

    def accumulate_on(self, devices: int) -> int:
        """In how many parts each of `devices` takes its share, so that none holds more than one of the original did."""
        share, rest = divmod(self.training.batch_size, devices)
        if rest:
            raise ParameterError(
                f"recipe {self.name}: {self.training.batch_size} scenes a step do not divide over {devices} devices; "
                "choose another number of them, or change training.batch_size"
            )
        return next(
            parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= self.scenes_per_gpu
        )

    def run(self, scenes: str, *, devices: int = 1, **fields: Any) -> TrainingRun:
        """The run of this recipe on a folder of scenes; `fields` are further ones of `TrainingRun`, or replace them.

        Batches stay those of the original on any number of devices: they are taken in parts where they must be.
        """
        if self.stage_before and not self.weights and not fields.get("weights"):
            raise ParameterError(
                f"recipe {self.name}: starts from the result of {self.stage_before}, which nobody published; "
                "train that first and pass weights="
            )
        parts = self.training.accumulate if self.training.accumulate > 1 else self.accumulate_on(devices)
        training = self.training.model_copy(update={"accumulate": parts})
        own = {name: getattr(self, name) for name in ("weights", "part", "initialisation", "protocol", "size", "views")}
        own |= {"pointmap": self.pointmap, "pointmap_options": self.pointmap_options, "training": training}
        model = self.config().model_dump(mode="json") if self.model_changes else self.model
        return TrainingRun.model_validate({"model": model, "scenes": scenes, **own, **fields})

    def make_scenes(self, folder: Path, count: int) -> None:
        """Embedded scenes of the protocol's training split in the size of this training, to `folder`.

        `ParameterError` for a recipe that belongs to other data: names them, with the way to get them.
        """
        if self.data:
            ways = "; ".join(f"{name}: {data_entry(name).what}, {data_entry(name).source}" for name in self.data)
            raise ParameterError(
                f"recipe {self.name}: trains on data that are not named ({ways}); pass scenes, see pmgs data"
            )
        protocol = load_protocol(self.protocol)
        height, width = self.size or (protocol.height, protocol.width)
        made = protocol.train
        size = {"frames": made.frames, "height": height, "width": width}
        make_scenes(made.seed, count=count, folder=folder, split="train", overwrite=True, **size)

    def table(self) -> "pandas.DataFrame":
        """What is set, to which value, how far that can be trusted, and where it stands."""
        import pandas

        kept = self.model_dump(exclude_unset=True, exclude={"name", "description", "sources", "left_out"})
        rows = [(name, value, self.source_of(name)) for name, value in flattened(kept)]
        columns = ["what", "value", "trust", "source"]
        return pandas.DataFrame([(name, _text(value), s.trust, s.where) for name, value, s in rows], columns=columns)


def shortened(recipe: Recipe, steps: int, *, batch_size: int, gpus: int) -> dict[str, Any]:
    """Changes to fewer steps: warm-up and the growth of gaps keep their shares of the whole."""
    share, warmup = steps / recipe.training.steps, recipe.training.schedule.warmup
    if isinstance(warmup, int):
        warmup = max(1, math.ceil(warmup * share))
    training = {"steps": steps, "batch_size": batch_size, "accumulate": 1, "schedule": {"warmup": warmup}}
    changes: dict[str, Any] = {"training": training, "gpus": gpus}
    if isinstance(recipe.views, ScheduledViews) and recipe.views.steps:
        changes["views"] = {"steps": max(1, math.ceil(recipe.views.steps * share))}
    return changes


def merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with `changes` in them. Maps are merged, unless the new one is empty or says it is of another `kind`."""
    result = dict(fields)
    for name, value in changes.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and len(value) > 0
        alike = both and value.get("kind", old.get("kind")) == old.get("kind")
        result[name] = merged(old, value) if alike else value
    return result


def flattened(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested maps."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _within(name: str, field: str) -> bool:
    return not field or name == field or name.startswith(f"{field}.")


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
