"""Views of what goes through a model: cameras, Gaussians, views, examples, predictions, renderings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.export.images import depth_colors, image_to_uint8
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.ui import displays_parts as parts
from pmgs_lib.ui.displays_sketch import sketch_gaussians
from pmgs_lib.views import Example, Views

MOST_THUMBNAILS = 8
FIELDS = ("means", "scales", "quaternions", "opacities", "harmonics")


def cameras_text(cameras: Cameras) -> str:
    """Batch shape, field of view, and how far the centres spread."""
    focal = cameras.intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2].reshape(-1, 2).double()
    if len(focal) == 0:
        return f"Cameras {_batch(cameras)}: none"
    horizontal, vertical = (2 * torch.rad2deg(torch.atan(0.5 / focal.mean(dim=0)))).tolist()
    centers = cameras.centers.reshape(-1, 3).double()
    span = (centers.amax(dim=0) - centers.amin(dim=0)).norm().item()
    return (
        f"Cameras {_batch(cameras)}: field of view {horizontal:.1f}° x {vertical:.1f}°, "
        f"centres span {span:.3g} m, {parts.kind_text(cameras.intrinsics)}"
    )


def cameras_html(cameras: Cameras) -> str:
    """The text view, in the notebook's own type."""
    return parts.line_html(cameras_text(cameras))


def gaussians_text(gaussians: Gaussians) -> str:
    """Count, degree and the ranges that tell whether a reconstruction is sound."""
    batch = f" {_batch(gaussians)}" if gaussians.batch_shape else ""
    return (
        f"Gaussians{batch}: {gaussians.count:,}, degree {_degree(gaussians)}, "
        f"means {parts.range_text(gaussians.means)} m, scales {parts.range_text(gaussians.scales)} m, "
        f"opacities {parts.range_text(gaussians.opacities)}, {parts.kind_text(gaussians.means)}"
    )


def gaussians_html(gaussians: Gaussians) -> str:
    """A sketch, and a row a field: shape, range, median."""
    fields = [(name, getattr(gaussians, name, None)) for name in FIELDS]
    rows = [
        (name, parts.shape_text(value), parts.range_text(value), parts.median_text(value)) for name, value in fields
    ]
    count = parts.attempt(lambda: f"{gaussians.count:,} Gaussians")
    title = parts.title_html(count, f"degree {_degree(gaussians)}, {parts.kind_text(gaussians.means)}")
    sketch = parts.attempt(lambda: _sketch(gaussians), parts.quiet_note("no sketch"))
    return title + sketch + parts.table_html(rows, ("field", "shape", "range", "median"))


def _degree(gaussians: Gaussians) -> str:
    return parts.attempt(lambda: str(gaussians.degree))


def _sketch(gaussians: Gaussians) -> str:
    """The sketch of the first scene and what it shows."""
    one = gaussians[(0,) * len(gaussians.batch_shape)]
    sketch = sketch_gaussians(one)
    scene = "first scene, " if gaussians.batch_shape else ""
    shown = f"{scene}{sketch.drawn:,} of {one.count:,} drawn" if sketch.drawn < one.count else f"{scene}all drawn"
    note = f"sketch from outside, {sketch.width_m:.3g} m wide; {shown}"
    return parts.pictures_html([[("sketch of the Gaussians", sketch.pixels)]]) + parts.line_html(note, quiet=True)


def views_text(views: Views) -> str:
    """Number and size of the views, depth range, and exact depth where it is known."""
    batch = f" {_batch(views)}" if views.batch_shape else ""
    depth = "no exact depth" if views.depth is None else f"exact depth {parts.range_text(views.depth)} m"
    return (
        f"Views{batch}: {views.count} of {views.height}x{views.width}, images {parts.range_text(views.images)}, "
        f"near {parts.range_text(views.near)} m, far {parts.range_text(views.far)} m, {depth}, "
        f"{parts.kind_text(views.images)}"
    )


def views_html(views: Views, budget: int = parts.PICTURE_BUDGET) -> str:
    """Thumbnails of the first views with their exact depth under them, and the text view."""
    line = parts.line_html(parts.attempt(lambda: views_text(views)))
    if views.batch_shape or not views.images.numel():
        return line
    return line + thumbnails_html({"image": views.images}, {"exact depth": views.depth}, budget)


def thumbnails_html(
    colors: dict[str, Tensor | None], depths: dict[str, Tensor | None], budget: int = parts.PICTURE_BUDGET
) -> str:
    """Rows of the first pictures (view 3 h w) and depth maps (view h w, world units; one scale) under each other."""
    pictures = parts.attempt(
        lambda: parts.pictures_html(_color_rows(colors) + _depth_rows(depths), budget), parts.quiet_note("no pictures")
    )
    counts = [len(value) for value in (*colors.values(), *depths.values()) if value is not None]
    more = max(counts, default=0) - MOST_THUMBNAILS
    return pictures + (parts.line_html(f"and {more} more") if more > 0 else "")


def _color_rows(colors: dict[str, Tensor | None]) -> list[list[tuple[str, parts.Pixels]]]:
    shown = {name: images[:MOST_THUMBNAILS] for name, images in colors.items() if images is not None and len(images)}
    return [
        [(f"{name} {i}", pixels) for i, pixels in enumerate(image_to_uint8(images))] for name, images in shown.items()
    ]


def _depth_rows(depths: dict[str, Tensor | None]) -> list[list[tuple[str, parts.Pixels]]]:
    given = {name: depth for name, depth in depths.items() if depth is not None and len(depth)}
    shown = {name: depth[:MOST_THUMBNAILS].detach().cpu().float() for name, depth in given.items()}
    seen = [depth[(depth > 0) & depth.isfinite()] for depth in shown.values()]
    ends = [float(end) for values in seen if values.numel() for end in values.aminmax()]
    near, far = (min(ends), max(max(ends), 1.01 * min(ends))) if ends else (1.0, 2.0)
    return [[(f"{name} {i}", depth_colors(depth, near, far)) for i, depth in enumerate(depths)]
            for name, depths in shown.items()]  # fmt: skip


def example_text(example: Example) -> str:
    """The scene or scenes, and both sets of views."""
    context, target = (parts.attempt(lambda v=v: views_text(v)) for v in (example.context, example.target))
    return f"Example {_key(example)}\n  context: {context}\n  target:  {target}"


def example_html(example: Example) -> str:
    """Both sets of views under each other."""
    both = (("context", example.context), ("target", example.target))
    shown = (f"<div><i>{name}</i></div>{views_html(views, parts.PICTURE_BUDGET // 2)}" for name, views in both)
    return f"{parts.title_html(f'Example {_key(example)}', '')}{''.join(shown)}"


def _key(example: Example) -> str:
    return parts.shortened(example.key if isinstance(example.key, str) else ", ".join(map(str, example.key)))


def prediction_text(prediction: Any) -> str:
    """Depth, confidence and how the Gaussians are meant to be rendered; the Gaussians in a line of their own."""
    facts = [_map_text("depth", prediction.depth, " m")]
    if prediction.confidence is not None:
        facts.append(_map_text("confidence", prediction.confidence))
    facts.append(parts.count_text(len(prediction.intermediates), "earlier estimate"))
    made = prediction.gaussians
    lines = [
        f"Prediction: {', '.join(facts)}",
        f"  rendered with: {parts.attempt(lambda: _settings_text(prediction.settings))}",
        f"  {'no Gaussians' if made is None else parts.attempt(lambda: gaussians_text(made))}",
    ]
    return "\n".join(lines)


def _map_text(name: str, values: Tensor | None, unit: str = "") -> str:
    return f"no {name}" if values is None else f"{name} {parts.shape_text(values)} {parts.range_text(values)}{unit}"


def _settings_text(settings: Any) -> str:
    """What differs from nothing: names of fields in words, with their values."""
    chosen = {name: value for name, value in settings.model_dump().items() if value is not None and value is not False}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())


def prediction_html(prediction: Any) -> str:
    """The text, depth of the first scene's views on one scale, and the Gaussians."""
    lines = "".join(parts.line_html(line) for line in prediction_text(prediction).splitlines()[:2])
    depth = {"depth": _first_scene(prediction.depth, 3), "confidence": None}
    gaussians = "" if prediction.gaussians is None else gaussians_html(prediction.gaussians)
    return lines + thumbnails_html({}, depth, parts.PICTURE_BUDGET // 2) + gaussians


def rendering_text(rendering: Any) -> str:
    """Size and ranges of colour, depth and alpha."""
    fields = ("color", "depth", "alpha")
    return f"Rendering: {', '.join(_map_text(name, getattr(rendering, name)) for name in fields)}"


def rendering_html(rendering: Any) -> str:
    """Colours over depth (weight * z divided by alpha would be the surface's; this is the sum as it is)."""
    maps = {"depth": _first_scene(rendering.depth, 3)}
    return parts.line_html(rendering_text(rendering)) + thumbnails_html(
        {"color": _first_scene(rendering.color, 4)}, maps
    )


def output_text(output: Any) -> str:
    """What a method says of one scene."""
    facts = [_map_text("colour", output.color), _map_text("depth", output.depth, " m")]
    facts.append(_map_text("context depth", output.context_depth, " m"))
    made = output.gaussians
    lines = [f"MethodOutput: {', '.join(facts)}"]
    lines += [] if made is None else [f"  {parts.attempt(lambda: gaussians_text(made))}"]
    return "\n".join(lines)


def output_html(output: Any) -> str:
    """Colours, depth of targets and of context views on one scale, and the Gaussians."""
    line = parts.line_html(output_text(output).splitlines()[0])
    depths = {"depth": output.depth, "context depth": output.context_depth}
    gaussians = "" if output.gaussians is None else gaussians_html(output.gaussians)
    return line + thumbnails_html({"color": output.color}, depths, parts.PICTURE_BUDGET // 2) + gaussians


def _first_scene(values: Tensor | None, axes: int) -> Tensor | None:
    """The last `axes` axes: of a batch its first scene, of a single picture a row of one."""
    if values is None:
        return None
    flat: Sequence[int] = values.shape[-axes:]
    return values.reshape(-1, *flat)[0] if values.ndim >= axes else values[None]


def _batch(value: Any) -> str:
    return f"({', '.join(map(str, value.batch_shape))})"
