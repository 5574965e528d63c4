"""One scene seen in several ways, so that what depends on cameras can show: more views, other lenses, shifted axes."""

from collections.abc import Sequence

from pmgs_lib.data.crops import cropped, interleaved
from pmgs_lib.evaluation.benchmark import Dataset
from pmgs_lib.views import Example, Views

SITUATIONS = ("two views", "many views", "mixed lenses", "shifted target")


def camera_situations(
    dataset: Dataset,
    key: str,
    *,
    few: Sequence[int],
    many: Sequence[int],
    targets: Sequence[int],
    size: tuple[int, int],
    zoom: float = 1.25,
) -> dict[str, Example]:
    """Examples of one scene by the names of `SITUATIONS`, all of one size (height, width).

    "two views" has the context frames `few`, the others `many`. "mixed lenses": every second context view is cropped
    out of a picture `zoom` times larger, and so has a longer focal length. "shifted target": the targets are cropped
    out of the upper left corner of such a picture, so their principal point is not in the middle. The scene's pictures
    must be `zoom` times larger than `size`.
    """
    height, width = size
    large = (round(zoom * height), round(zoom * width))
    margins = (large[0] - height, large[1] - width)
    two = dataset.example(key, few, targets, height, width)
    wide = dataset.example(key, many, targets, height, width)
    long = dataset.example(key, many, targets, *large)
    middle = cropped(long.context, margins[0] // 2, margins[1] // 2, height, width)
    corner: Views = cropped(long.target, 0, 0, height, width)
    examples = (two, wide, Example(interleaved(wide.context, middle), wide.target, key))
    return dict(zip(SITUATIONS, (*examples, Example(wide.context, corner, key)), strict=True))
