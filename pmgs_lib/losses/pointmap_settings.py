"""Everything about PM-Loss that a researcher may change, checked as one."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

from pmgs_lib.errors import ParameterError

CHOICES = {
    "alignment": ("similarity", "none"),
    "confidence_rule": ("none", "weights", "above", "top"),
    "compare": ("nearest", "depth"),
    "penalty": ("squared", "absolute", "huber", "geman_mcclure"),
    "normalization": ("none", "spread", "pointmap", "depth"),
}


@dataclass(frozen=True, kw_only=True)
class PointmapLossSettings:
    """Options of `PointmapLoss`; the defaults are the released loss.

    threshold, above_threshold_factor: an item whose loss exceeds `threshold` (in the units of the loss; released: 100
        squared scene units) counts times the factor (1e-5).
    alignment: "similarity": the pointmap is mapped onto the centres first. "none": it is taken as it stands, in the
        frame and scale of its source (the paper's ablation).
    detach_alignment: the alignment, and what `normalization` divides by, are constants of the gradient (released: not).
    per_view: every view of the pointmap has its own frame and scale, and is aligned by itself; neighbours are still
        sought among all views of the item. Needs (batch, view, h, w, 3).
    confidence_rule, confidence_limit: what the `confidence` of the call does. "none": there is none. "weights": a pixel
        counts in proportion to it, in the alignment and in the mean. "above": pixels below the limit do not count.
        "top": only the share `confidence_limit` (0 to 1) of each item with the highest confidence counts; ties stay.
    nearest_share: only this share of the pointmap counts, the points nearest to its mean (of each view when `per_view`,
        else of the item), so that a sky or stray points do not rule the alignment. 1 keeps all.
    compare: "nearest": each centre with the nearest aligned point of its item (3D). "depth": each centre with the
        aligned point of its own pixel, along the optical axis of its own view only (2D, the paper's ablation); needs
        (batch, view, h, w, 3) and the cameras.
    two_sided: the mean from aligned points to their nearest centres is added, so that no surface stays unpredicted.
    penalty, penalty_scale: of a distance d, with scale s in its units: "squared" d²; "absolute" d; "huber" d² up to s,
        2sd - s² beyond; "geman_mcclure" s²d² / (s² + d²), never above s². All but "absolute" are squared units and
        equal d² for small d, so a weight tuned for one serves the others.
    normalization: what distances are divided by. "none": scene units of the prediction: far surfaces rule the mean and
        a prediction that shrinks lowers its loss. "spread": root mean square distance of the centres from their mean:
        no size of the prediction is rewarded. "pointmap": the scale of the alignment: distances are in units of the
        pointmap, with the same effect. "depth": z-depth of the pixel's aligned point in its view (at least 1 % of the
        mean), so that near and far surfaces count alike; needs (batch, view, h, w, 3) and the cameras.
    sampled_points, seed: only so many pixels of an item, drawn anew for each `step` of the call, look for a neighbour
        among all points: without bias, at less cost. None: all.
    backend: of `nearest_neighbors`.
    """

    # For configurations that hold these settings: pydantic, which is not needed here, ignores unknown names otherwise.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    threshold: float = 100.0
    above_threshold_factor: float = 1e-5
    alignment: Literal["similarity", "none"] = "similarity"
    detach_alignment: bool = False
    per_view: bool = False
    confidence_rule: Literal["none", "weights", "above", "top"] = "none"
    confidence_limit: float | None = None
    nearest_share: float = 1.0
    compare: Literal["nearest", "depth"] = "nearest"
    two_sided: bool = False
    penalty: Literal["squared", "absolute", "huber", "geman_mcclure"] = "squared"
    penalty_scale: float | None = None
    normalization: Literal["none", "spread", "pointmap", "depth"] = "none"
    sampled_points: int | None = None
    seed: int = 0
    backend: str = "auto"

    def __post_init__(self) -> None:
        for option, choices in CHOICES.items():
            value = getattr(self, option)
            _expect(value in choices, f"{option} is {value!r}", f"one of {', '.join(choices)}")
        _expect(
            self.threshold > 0 and 0 <= self.above_threshold_factor <= 1,
            f"threshold is {self.threshold} and above_threshold_factor {self.above_threshold_factor}",
            "a positive threshold and a factor from 0 to 1",
        )
        self._check_masks()
        self._check_penalty()
        _expect(
            self.sampled_points is None or self.sampled_points > 0,
            f"sampled_points is {self.sampled_points}",
            "a positive number, or None for all",
        )

    def _check_masks(self) -> None:
        given, rule, limit = self.confidence_limit is not None, self.confidence_rule, self.confidence_limit
        _expect(
            given == (rule in ("above", "top")),
            f"confidence_limit is {limit} with confidence_rule {rule!r}",
            "a limit with 'above' and 'top', and only there",
        )
        _expect(
            rule != "top" or 0 < limit <= 1, f"confidence_limit is {limit}", "a share above 0 and up to 1 with 'top'"
        )
        _expect(0 < self.nearest_share <= 1, f"nearest_share is {self.nearest_share}", "a share above 0 and up to 1")

    def _check_penalty(self) -> None:
        robust, scale = self.penalty in ("huber", "geman_mcclure"), self.penalty_scale
        _expect(
            scale is not None and 1e-15 <= scale <= 1e15 if robust else scale is None,
            f"penalty_scale is {scale} with penalty {self.penalty!r}",
            "a scale from 1e-15 to 1e15 with 'huber' and 'geman_mcclure', and only there",
        )
        _expect(
            not (self.two_sided and self.compare == "depth"),
            "two_sided is set with compare='depth'",
            "compare='nearest': pixels have no second side",
        )

    @property
    def needs_cameras(self) -> bool:
        return self.compare == "depth" or self.normalization == "depth"

    @property
    def needs_views(self) -> bool:
        return self.per_view or self.needs_cameras

    def changed(self, options: dict[str, Any]) -> "PointmapLossSettings":
        """These settings with some replaced; raises `ParameterError` for a name that is none of them."""
        known = [field.name for field in fields(self)]
        for name in options:
            _expect(name in known, f"no option is called {name!r}", f"some of {', '.join(known)}")
        return replace(self, **options)


def _expect(condition: bool, found: str, expected: str) -> None:
    if not condition:
        raise ParameterError(f"PointmapLoss: {found}, expected {expected}")
