"""A protocol for an imported capture, whose frames nobody chose: context pairs spread along the sequence."""

from pmgs_lib.data.dataset import CASE_MARK, SceneDataset
from pmgs_lib.data.protocols import EvaluationViews, Expected, MetricSettings, Protocol
from pmgs_lib.errors import DataError

INSIDE_TARGETS = 3


def capture_protocol(
    dataset: SceneDataset, key: str, *, height: int, width: int, gap: int = 4, beyond: int = 2, cases: int = 6
) -> Protocol:
    """Up to `cases` context pairs of frames `gap` apart, spread evenly over the frames of scene `key`.

    Up to three targets lie between a pair, and the frames 1 ... `beyond` before and after it are the targets outside.
    Frames are neighbours by number, as in a video. near and far are the dataset's (or the import's hint). Raises
    DataError for a scene with too few frames or without a known depth range.
    """
    frames = dataset.scene(key).frames
    last_start = frames - 1 - gap - beyond
    if gap < 2 or beyond < 0 or cases < 1 or last_start < beyond:
        raise DataError(
            f"capture {key!r}: {frames} frames, gap {gap}, {beyond} frames beyond, {cases} cases; "
            f"expected a gap of at least 2 and gap + 2 * beyond below the number of frames"
        )
    span = last_start - beyond
    starts = sorted({beyond + round(span * (number + 0.5) / cases) for number in range(cases)})
    scene_views = {f"{key}{CASE_MARK}{start}-{start + gap}": _case(start, gap, beyond) for start in starts}
    near, far = dataset.depth_range(key)
    return Protocol(
        name=f"capture-{key}",
        description=f"{len(starts)} context pairs, {gap} frames apart, spread over the {frames} frames of {key}",
        keys=tuple(scene_views),
        height=height,
        width=width,
        near=near,
        far=far,
        scene_views=scene_views,
        metrics=MetricSettings(limit_m=far),
        expected=Expected(
            scenes=len(scene_views),
            inside=sum(len(views.inside) for views in scene_views.values()),
            outside=sum(len(views.outside) for views in scene_views.values()),
        ),
    )


def _case(start: int, gap: int, beyond: int) -> EvaluationViews:
    between = range(start + 1, start + gap)
    count = min(INSIDE_TARGETS, len(between))
    return EvaluationViews(
        context=(start, start + gap),
        inside=tuple(between[(2 * number + 1) * len(between) // (2 * count)] for number in range(count)),
        outside=(*range(start - beyond, start), *range(start + gap + 1, start + gap + beyond + 1)),
    )
