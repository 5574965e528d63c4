"""Is a scene fit for a model, and if not, why: an answer in words.

What a model asks for is handed in, so that data need not know models: `pmgs_lib.models.requirements` reads it off
the zoo.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmgs_lib.data.inspection.numbers import MAX_FOV_DEG, MAX_OFF_CENTER

if TYPE_CHECKING:
    from pmgs_lib.data.inspection.scene import SceneReport

RANGE_SLACK = 1.5  # a depth range is an estimate; only beyond this factor it counts
MUCH_CROPPED = 0.3  # of the picture


@dataclass(frozen=True)
class Requirements:
    """What a model asks of a scene.

    multiple: image sides must divide by it. height, width: of the pictures in its training. fewest_views: context
    views. near, far: z-depth range of its training, in units of its training data. centered: whether its renderer takes
    the principal point to be in the middle.
    """

    name: str
    multiple: int
    height: int
    width: int
    fewest_views: int
    near: float
    far: float
    centered: bool = True
    max_fov_deg: float = MAX_FOV_DEG


@dataclass(frozen=True)
class Fitness:
    """problems: what speaks against the scene, with the cure; notes: what to know. fit: there are no problems."""

    name: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def fit(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        head = f"{'fit' if self.fit else 'not fit'} for {self.name}"
        return "\n".join([head, *(f"  because {p}" for p in self.problems), *(f"  note: {n}" for n in self.notes)])


def judge(report: "SceneReport", model: Requirements) -> Fitness:
    """Whether the scene of a report is fit for a model, and why."""
    unsound = [f"{finding.check}: {finding}" for finding in report.findings if finding.unsound]
    found = [_views(report, model), _lens(report, model), _range_problem(report, model), _size_problem(report, model)]
    problems = unsound + [problem for problem in found if problem]
    notes = [_size_note(report, model), _crop_note(report, model), _unknown_range(report, model)]
    return Fitness(model.name, tuple(problems), tuple(note for note in notes if note))


def _views(report: "SceneReport", model: Requirements) -> str:
    if report.frames > model.fewest_views:
        return ""
    return (
        f"it needs {model.fewest_views} context views and a target, the scene has {report.frames} frames: add pictures"
    )


def _lens(report: "SceneReport", model: Requirements) -> str:
    fov = max(report.horizontal_fov_deg, report.vertical_fov_deg)
    if fov > model.max_fov_deg:
        return f"pictures span {fov:.0f} degrees, it takes up to {model.max_fov_deg:g}: crop them"
    if model.centered and report.off_center > MAX_OFF_CENTER:
        return (
            f"the principal point is {report.off_center:.1%} of the picture off its middle, which its renderer "
            "ignores: import with center_principal_point"
        )
    return ""


def _range_problem(report: "SceneReport", model: Requirements) -> str:
    seen = report.depth_seen
    if seen is None:
        return ""
    near, far = seen
    if near * RANGE_SLACK >= model.near and far <= RANGE_SLACK * model.far:
        return ""
    factor = (model.near * model.far / (near * far)) ** 0.5
    least, most = model.near / near, model.far / far
    factor = min(max(factor, least), most) if least <= most else factor
    return (
        f"depths of {near:.3g} to {far:.3g} leave the {model.near:g} to {model.far:g} that it was trained on: multiply "
        f"positions by about {factor:.2g} (import with scale and scale_to)"
    )


def _unknown_range(report: "SceneReport", model: Requirements) -> str:
    return (
        ""
        if report.depth_range
        else f"depth range unknown: look at it with matching, or give {model.name} near and far"
    )


def _size_problem(report: "SceneReport", model: Requirements) -> str:
    if min(report.height, report.width) >= model.multiple:
        return ""
    return (
        f"pictures of {report.height}x{report.width} are smaller than its multiple of {model.multiple}: use larger ones"
    )


def _size_note(report: "SceneReport", model: Requirements) -> str:
    if report.height >= model.height and report.width >= model.width:
        return ""
    height, width = (side // model.multiple * model.multiple for side in (report.height, report.width))
    return (
        f"pictures of {report.height}x{report.width} are smaller than the {model.height}x{model.width} of its training "
        f"and nothing is enlarged: run it at {height}x{width}"
    )


def _crop_note(report: "SceneReport", model: Requirements) -> str:
    ratio = (report.width / report.height) / (model.width / model.height)
    lost = 1 - min(ratio, 1 / ratio)
    if lost < MUCH_CROPPED:
        return ""
    side = "left and right" if ratio > 1 else "top and bottom"
    return f"at its {model.height}x{model.width} a crop takes {lost:.0%} of the picture, {side}"
