"""Protocols: which scenes and frames a number was measured on, fixed in a file before anything is trained.

A protocol file is JSON. Those of this package stand in `protocol_files` and are opened by name.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from pmgs_lib.data.config import Config
from pmgs_lib.data.files import read_json, write_json
from pmgs_lib.data.sampling import BoundedSampler
from pmgs_lib.errors import DataError, ParameterError

PACKAGE_FILES = Path(__file__).parent / "protocol_files"

Count = Annotated[int, Field(gt=0)]
Frame = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(gt=0)]


class EvaluationViews(Config):
    """Frames given to a model, and frames asked of it: between the context frames (inside), beyond them (outside)."""

    context: tuple[Frame, ...]
    inside: tuple[Frame, ...]
    outside: tuple[Frame, ...] = ()

    @model_validator(mode="after")
    def _lie_where_they_say(self) -> "EvaluationViews":
        if len(self.context) < 2 or not (self.inside or self.outside):
            raise ValueError("expected at least two context frames and one target")
        first, last = min(self.context), max(self.context)
        if any(not first < frame < last for frame in self.inside):
            raise ValueError(f"inside targets {self.inside} are not all strictly between {first} and {last}")
        if any(first <= frame <= last for frame in self.outside):
            raise ValueError(f"outside targets {self.outside} are not all beyond {first} to {last}")
        frames = (*self.context, *self.inside, *self.outside)
        if len(set(frames)) != len(frames):
            raise ValueError(f"a frame of {frames} is used twice")
        return self

    @property
    def frames(self) -> tuple[int, ...]:
        return (*self.context, *self.inside, *self.outside)


class EmbeddedScenes(Config):
    """Procedural scenes: what `make_scenes(seed, count=count, ...)` writes, at `height` x `width` pixels."""

    seed: Annotated[int, Field(ge=0)]
    count: Count
    frames: Count
    height: Count
    width: Count

    def apart_from(self, other: "EmbeddedScenes") -> bool:
        """Whether the sets share no scene, also if scene i of a set had the seed `seed + i`: nobody need remember."""
        return self.seed + self.count <= other.seed or other.seed + other.count <= self.seed


class TrainingViews(Config):
    """Frames of training examples: the arguments of `BoundedSampler`."""

    min_gap: Count
    max_gap: Count
    targets: Count
    context_views: Annotated[int, Field(ge=2)] = 2
    beyond: Annotated[int, Field(ge=0)] = 0

    def sampler(self) -> BoundedSampler:
        return BoundedSampler(**self.model_dump())


class MetricSettings(Config):
    """limit_m: point clouds are compared within this distance of a context camera, in world units; None: everywhere."""

    limit_m: Length | None = None


class Expected(Config):
    """What an evaluation by this protocol must account for, over all scenes."""

    scenes: Count
    inside: Annotated[int, Field(ge=0)]
    outside: Annotated[int, Field(ge=0)]


class Protocol(Config):
    """Scenes, frames, size, depth range and metric settings of an evaluation, and what may be trained on for it.

    keys: scenes in order; "scene#label" asks about one scene in a further way. views: frames for every scene that
    `scene_views` does not name. height, width: size of the pictures. near, far: z-depth range in world units; None
    leaves it to the dataset. test, train: how embedded scenes are made; None for data from elsewhere.
    """

    name: str
    description: str
    keys: Annotated[tuple[str, ...], Field(min_length=1)]
    height: Count
    width: Count
    near: Length | None = None
    far: Length | None = None
    views: EvaluationViews | None = None
    scene_views: dict[str, EvaluationViews] = Field(default_factory=dict)
    test: EmbeddedScenes | None = None
    train: EmbeddedScenes | None = None
    training_views: TrainingViews | None = None
    metrics: MetricSettings = MetricSettings()
    expected: Expected

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Protocol":
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("a key is listed twice")
        if (self.near is None) != (self.far is None) or (self.near and self.far and self.near >= self.far):
            raise ValueError(f"near {self.near} and far {self.far} are no range")
        strangers = sorted(set(self.scene_views) - set(self.keys))
        lacking = [key for key in self.keys if self.views is None and key not in self.scene_views]
        if strangers or lacking:
            raise ValueError(f"views for unknown scenes {strangers}, no views for {lacking}")
        if self.counts != self.expected:
            raise ValueError(f"expected counts {self.expected!r}, the scenes and views give {self.counts!r}")
        self._check_embedded_scenes()
        return self

    def _check_embedded_scenes(self) -> None:
        if self.test is None:
            return
        last = max(max(self._views(key).frames) for key in self.keys)
        if len(self.keys) != self.test.count or last >= self.test.frames:
            raise ValueError(f"{len(self.keys)} keys and frame {last} for {self.test!r}")
        if self.train is not None and not self.train.apart_from(self.test):
            raise ValueError("test and train are made from the same seeds or from seeds closer than their counts")

    def _views(self, key: str) -> EvaluationViews:
        return self.scene_views[key] if self.views is None else self.scene_views.get(key, self.views)

    @property
    def counts(self) -> Expected:
        """What the scenes and views of this protocol add up to."""
        views = [self._views(key) for key in self.keys]
        return Expected(
            scenes=len(views),
            inside=sum(len(v.inside) for v in views),
            outside=sum(len(v.outside) for v in views),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the protocol's content; formatting and order of the file's fields play no part."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def evaluation_views(self, key: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Context frames, targets inside their span, targets outside, of one scene."""
        if key not in self.keys:
            raise ParameterError(f"protocol {self.name}: has no scene {key!r}; it lists {len(self.keys)}, see its keys")
        views = self._views(key)
        return views.context, views.inside, views.outside


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    return sorted(path.stem for path in PACKAGE_FILES.glob("*.json"))


def load_protocol(name_or_path: str | os.PathLike[str]) -> Protocol:
    """A protocol that comes with the package, by name, or one from a `.json` file, validated.

    >>> load_protocol("embedded-smoke").evaluation_views("indoor_20001000000")
    ((7, 13), (9, 10, 11), (4, 6, 14, 16))
    """
    named = str(name_or_path) in protocol_names()
    path = PACKAGE_FILES / f"{name_or_path}.json" if named else Path(name_or_path)
    if not named and path.suffix != ".json":
        raise ParameterError(
            f"protocol {str(name_or_path)!r} is unknown; expected one of {', '.join(protocol_names())}, or a .json file"
        )
    content = read_json(path, what="protocol")
    if not isinstance(content, dict):
        raise DataError(f"protocol {path}: expected an object, found {type(content).__name__}; write it again")
    return Protocol.build(content, f"protocol {path}", DataError)


def save_protocol(protocol: Protocol, path: str | os.PathLike[str]) -> None:
    """Write a protocol file that `load_protocol` opens."""
    write_json(path, protocol.model_dump(mode="json", exclude_defaults=True))
