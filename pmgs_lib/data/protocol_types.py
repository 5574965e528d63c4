"""What a protocol is made of: scenes, frames, pictures, depth range, and the counts it must account for."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_serializer, model_validator

from pmgs_lib.data.config import Config
from pmgs_lib.data.resize import IMAGE_RULES, ImageRule
from pmgs_lib.data.sampling import BoundedSampler, Sampler, build_sampler
from pmgs_lib.data.sampling.evaluation import EvaluationSampler
from pmgs_lib.data.sampling.schedule import GapRange
from pmgs_lib.errors import ParameterError

Count = Annotated[int, Field(gt=0)]
Number = Annotated[int, Field(ge=0)]
Frame = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(gt=0)]
Size = tuple[Count, Count]
Split = Literal["inside", "outside", "at_context"]
SHOWN = 4  # how many scenes an error names


class _Grown(Config):
    """Fields in `added` are written only where they are set: digests of protocols from before they existed stand."""

    added: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unset(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = type(self).model_fields
        unset = {name for name in self.added if getattr(self, name) == fields[name].default}
        return {name: value for name, value in write(self).items() if name not in unset}


class EvaluationViews(_Grown):
    """Frames given to a model, and frames asked of it: between the context frames, beyond them, and context frames.

    at_context: targets that are inputs too, as published protocols have them; a method can copy these.
    """

    added = frozenset({"at_context"})
    context: tuple[Frame, ...]
    inside: tuple[Frame, ...]
    outside: tuple[Frame, ...] = ()
    at_context: tuple[Frame, ...] = ()

    @model_validator(mode="after")
    def _lie_where_they_say(self) -> "EvaluationViews":
        if len(self.context) < 2 or not self.targets:
            raise ValueError("expected at least two context frames and one target")
        first, last = min(self.context), max(self.context)
        if any(not first < frame < last for frame in self.inside):
            raise ValueError(f"inside targets {self.inside} are not all strictly between {first} and {last}")
        if any(first <= frame <= last for frame in self.outside):
            raise ValueError(f"outside targets {self.outside} are not all beyond {first} to {last}")
        frames = (*self.context, *self.inside, *self.outside)
        if len(set(frames)) != len(frames) or len(set(self.at_context)) != len(self.at_context):
            raise ValueError(f"a frame of {frames + self.at_context} is used twice")
        if not set(self.at_context) <= set(self.context):
            raise ValueError(f"targets {self.at_context} at context frames are not all among {self.context}")
        return self

    @property
    def targets(self) -> tuple[tuple[int, Split], ...]:
        """Target frames with the place they have among the context frames."""
        named: tuple[tuple[tuple[int, ...], Split], ...] = (
            (self.inside, "inside"),
            (self.outside, "outside"),
            (self.at_context, "at_context"),
        )
        return tuple((frame, split) for frames, split in named for frame in frames)

    @property
    def frames(self) -> tuple[int, ...]:
        """Every frame that is looked at, once."""
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
    beyond: Number = 0

    def sampler(self) -> BoundedSampler:
        return BoundedSampler(**self.model_dump())


class ScheduledViews(Config):
    """Frames of training examples as released code draws them: a name of `SAMPLERS`, and gaps that grow over steps.

    first_gap, last_gap: (smallest, largest) at the first step and from step `steps` on. views: (fewest, most) context
    views of "bounded-v2".
    """

    kind: Literal["bounded", "bounded-v2"]
    first_gap: Size
    last_gap: Size
    steps: Number = 0
    targets: Count
    views: Size | None = None
    beyond: Number = 0

    def sampler(self) -> Sampler:
        gap = GapRange(self.first_gap, self.last_gap, self.steps)
        views = {} if self.views is None else {"views": self.views}
        return build_sampler(self.kind, gap=gap, targets=self.targets, beyond=self.beyond, **views)


class MetricSettings(Config):
    """limit_m: point clouds are compared within this distance of a context camera, in world units; None: everywhere."""

    limit_m: Length | None = None


class Expected(_Grown):
    """What an evaluation by this protocol must account for: scenes that can be scored and their targets by split.

    unscorable: scenes that the published index lists without frames, so that no number exists of them.
    """

    added = frozenset({"at_context", "unscorable"})
    scenes: Count
    inside: Number
    outside: Number
    at_context: Number = 0
    unscorable: Number = 0

    @property
    def listed(self) -> int:
        return self.scenes + self.unscorable


class Protocol(_Grown):
    """Scenes, frames, pictures, depth range and metric settings of an evaluation, and what may be trained on for it.

    keys: scenes in order; "scene#label" asks about one scene in a further way. views: frames for every scene that
    `scene_views` does not name. height, width: size of the pictures. near, far: z-depth range in world units; None
    leaves it to the dataset. test, train: how embedded scenes are made; None for data from elsewhere.
    image_rule, image_shape, source_size: how files become pictures, see `ImageRule`. unscorable: scenes listed without
    frames. index_sha256: digest of the index file that the frames are from. not_comparable: why numbers by this
    protocol may not stand beside those of the whole one; None: they may.
    """

    added = frozenset({"image_rule", "image_shape", "source_size", "unscorable", "index_sha256", "not_comparable"})
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
    training_views: TrainingViews | ScheduledViews | None = None
    metrics: MetricSettings = MetricSettings()
    expected: Expected
    image_rule: Literal["exact", "depthsplat", "pm-loss"] = "exact"
    image_shape: Size | None = None
    source_size: Size | None = None
    unscorable: tuple[str, ...] = ()
    index_sha256: str | None = None
    not_comparable: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Protocol":
        if len(set(self.listed)) != len(self.listed):
            raise ValueError("a key is listed twice")
        if (self.near is None) != (self.far is None) or (self.near and self.far and self.near >= self.far):
            raise ValueError(f"near {self.near} and far {self.far} are no range")
        strangers = sorted(set(self.scene_views) - set(self.keys))
        lacking = [key for key in self.keys if self.views is None and key not in self.scene_views]
        if strangers or lacking:
            raise ValueError(f"views for unknown scenes {some(strangers)}, no views for {some(lacking)}")
        if self.counts != self.expected:
            raise ValueError(f"expected counts {self.expected!r}, the scenes and views give {self.counts!r}")
        self._check_embedded_scenes()
        return self

    def _check_embedded_scenes(self) -> None:
        if self.test is None:
            return
        last = max(max(self.views_of(key).frames) for key in self.keys)
        whole = self.not_comparable is None
        if len(self.keys) > self.test.count or (whole and len(self.keys) < self.test.count) or last >= self.test.frames:
            raise ValueError(f"{len(self.keys)} keys and frame {last} for {self.test!r}")
        if self.train is not None and not self.train.apart_from(self.test):
            raise ValueError("test and train are made from the same seeds or from seeds closer than their counts")

    @property
    def listed(self) -> tuple[str, ...]:
        """All scenes that an account must name: those that can be scored, then those that cannot."""
        return (*self.keys, *self.unscorable)

    @property
    def images(self) -> ImageRule:
        """How the data must be opened: `open_dataset(..., images=protocol.images)`."""
        rule = IMAGE_RULES[self.image_rule]
        return ImageRule(rule.name, rule.resampling, rule.principal_point, self.image_shape, self.source_size)

    def require_images(self, opened: ImageRule) -> None:
        """Raises ParameterError for data that were opened with another image rule: other pixels, other numbers."""
        if opened != self.images:
            raise ParameterError(
                f"protocol {self.name}: the data were opened with {opened}, expected {self.images}; open them with "
                "open_dataset(..., images=protocol.images)"
            )

    @property
    def counts(self) -> Expected:
        """What the scenes and views of this protocol add up to."""
        return _counted([self.views_of(key) for key in self.keys], len(self.unscorable))

    @property
    def digest(self) -> str:
        """SHA-256 of the protocol's content; formatting and order of the file's fields play no part."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def views_of(self, key: str) -> EvaluationViews:
        """The frames of one scene."""
        if key in self.scene_views:
            return self.scene_views[key]
        if self.views is None or key not in self.keys:
            raise ParameterError(f"protocol {self.name}: has no scene {key!r}; it lists {len(self.keys)}, see its keys")
        return self.views

    def evaluation_views(self, key: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Context frames, targets inside their span, targets outside, of one scene; `views_of` has every target."""
        views = self.views_of(key)
        return views.context, views.inside, views.outside

    def sampler(self) -> EvaluationSampler:
        """A sampler that gives each scene the frames of this protocol."""
        views = {key: self.views_of(key) for key in self.keys}
        return EvaluationSampler({k: (v.context, tuple(frame for frame, _ in v.targets)) for k, v in views.items()})

    def every(self, interval: int) -> "Protocol":
        """Scene 0, `interval`, 2 `interval` ...: quicker, and marked as not comparable. 1 is the protocol itself."""
        if interval < 1:
            raise ParameterError(f"protocol {self.name}: every={interval}; expected 1 (all scenes) or more")
        if interval == 1:
            return self
        keys, unscorable = self.keys[::interval], self.unscorable[::interval]
        scene_views = {key: self.scene_views[key] for key in keys if key in self.scene_views}
        expected = _counted([self.views_of(key) for key in keys], len(unscorable))
        reason = f"every {_ordinal(interval)} scene"
        changed = {
            "keys": keys,
            "unscorable": unscorable,
            "scene_views": scene_views,
            "expected": expected,
            "not_comparable": reason if self.not_comparable is None else f"{self.not_comparable}, of these {reason}",
        }
        unchanged = {name: getattr(self, name) for name in type(self).model_fields}  # dict(self) would call our keys
        return type(self).model_validate(unchanged | changed)


def some(keys: list[str] | tuple[str, ...]) -> str:
    """The first few of many scenes, for a message of one line."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{list(keys[:SHOWN])}{more}"


def _counted(views: list[EvaluationViews], unscorable: int) -> Expected:
    return Expected(
        scenes=len(views),
        inside=sum(len(v.inside) for v in views),
        outside=sum(len(v.outside) for v in views),
        at_context=sum(len(v.at_context) for v in views),
        unscorable=unscorable,
    )


def _ordinal(number: int) -> str:
    teen = 10 < number % 100 < 14
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
