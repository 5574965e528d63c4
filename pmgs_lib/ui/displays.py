"""How the library's types show themselves in a notebook: a picture or table for people, a short text for comparing."""

import base64
import io
import sys
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pmgs_lib.cameras import Cameras
from pmgs_lib.export.images import depth_colors, image_to_uint8
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.views import Example, Views

THUMBNAIL_HEIGHT, MOST_THUMBNAILS = 96, 8
TABLE = "border-collapse:collapse;font-size:12px"
CELL = "text-align:left;padding:2px 12px 2px 0;border:none"


def cameras_text(cameras: Cameras) -> str:
    """Batch shape, field of view, and how far the centres spread."""
    focal = cameras.intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2].reshape(-1, 2).double()
    if len(focal) == 0:
        return f"Cameras {_shape(cameras.batch_shape)}: none"
    horizontal, vertical = (2 * torch.rad2deg(torch.atan(0.5 / focal.mean(dim=0)))).tolist()
    centers = cameras.centers.reshape(-1, 3).double()
    span = (centers.amax(dim=0) - centers.amin(dim=0)).norm().item()
    return (
        f"Cameras {_shape(cameras.batch_shape)}: field of view {horizontal:.1f}° x {vertical:.1f}°, "
        f"centres span {span:.3g} m, {_kind(cameras.intrinsics)}"
    )


def gaussians_text(gaussians: Gaussians) -> str:
    """Count, degree and the ranges that tell whether a reconstruction is sound."""
    batch = f" {_shape(gaussians.batch_shape)}" if gaussians.batch_shape else ""
    return (
        f"Gaussians{batch}: {gaussians.count:,}, degree {gaussians.degree}, means {_range(gaussians.means)} m, "
        f"scales {_range(gaussians.scales)} m, opacities {_range(gaussians.opacities)}, {_kind(gaussians.means)}"
    )


def views_text(views: Views) -> str:
    """Number and size of the views, depth range, and exact depth where it is known."""
    batch = f" {_shape(views.batch_shape)}" if views.batch_shape else ""
    depth = "no exact depth" if views.depth is None else f"exact depth {_range(views.depth)} m"
    return (
        f"Views{batch}: {views.count} of {views.height}x{views.width}, images {_range(views.images)}, "
        f"near {_range(views.near)} m, far {_range(views.far)} m, {depth}, {_kind(views.images)}"
    )


def example_text(example: Example) -> str:
    """The scene or scenes, and both sets of views."""
    key = example.key if isinstance(example.key, str) else ", ".join(example.key)
    return f"Example {key}\n  context: {views_text(example.context)}\n  target:  {views_text(example.target)}"


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}"


def _range(tensor: Tensor) -> str:
    """Smallest to largest finite value in three digits, and a loud word when there are others."""
    finite = tensor.detach()[tensor.isfinite()]
    hidden = tensor.numel() - finite.numel()
    warning = f" ({hidden:,} NaN OR INFINITE)" if hidden else ""
    if finite.numel() == 0:
        return f"none{warning}"
    low, high = finite.min().item(), finite.max().item()
    return f"{low:.3g}{warning}" if low == high else f"{low:.3g} to {high:.3g}{warning}"


def views_html(views: Views) -> str:
    """Thumbnails of the first views with their exact depth under them, and the text view."""
    line = f"<div>{escape(views_text(views))}</div>"
    if views.batch_shape:
        return line
    count = min(views.count, MOST_THUMBNAILS)
    rows = ["".join(_thumbnail(image_to_uint8(image)) for image in views.images[:count])]
    if views.depth is not None:
        near, far = float(views.near), float(views.far)
        rows.append("".join(_thumbnail(depth_colors(depth, near, far)) for depth in views.depth[:count]))
    more = f"<div>and {views.count - count} more</div>" if views.count > count else ""
    return line + "".join(f'<div style="white-space:nowrap">{row}</div>' for row in rows) + more


def _thumbnail(pixels: Any) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" style="display:inline-block;margin:0 4px 4px 0" alt="">'


def example_html(example: Example) -> str:
    """Both sets of views under each other."""
    key = example.key if isinstance(example.key, str) else ", ".join(example.key)
    parts = [f"<b>Example {escape(key)}</b>"]
    parts += [f"<div><i>{name}</i></div>{views_html(v)}" for name, v in vars(example).items() if isinstance(v, Views)]
    return "".join(parts)


def cameras_html(cameras: Cameras) -> str:
    """The text view, in the notebook's own type."""
    return f"<div>{escape(cameras_text(cameras))}</div>"


def gaussians_html(gaussians: Gaussians) -> str:
    """A row a field: shape and range."""
    fields = [(name, _shape(value.shape), _range(value)) for name, value in vars(gaussians).items()]
    lines = [_html_row("th", ("field", "shape", "range")), *(_html_row("td", field) for field in fields)]
    title = f"<b>{gaussians.count:,} Gaussians</b>, degree {gaussians.degree}, {_kind(gaussians.means)}"
    return f'{title}<table style="{TABLE}">{"".join(lines)}</table>'


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="{CELL}">{escape(cell)}</{tag}>' for cell in cells) + "</tr>"


VIEWS_OF_TYPES: dict[type, tuple[Callable[[Any], str], Callable[[Any], str]]] = {
    Cameras: (cameras_text, cameras_html),
    Gaussians: (gaussians_text, gaussians_html),
    Views: (views_text, views_html),
    Example: (example_text, example_html),
}


def register_displays(shell: Any = None) -> bool:
    """Teach a running IPython (or `shell`) these views and matplotlib's figures; False where there is no IPython.

    Figures of this library are made without pyplot, which alone would teach IPython to show them.
    """
    shell = _running_shell() if shell is None else shell
    if shell is None:
        return False
    formatters = shell.display_formatter.formatters
    for kind, (text, html) in VIEWS_OF_TYPES.items():
        formatters["text/plain"].for_type(kind, _plain(text))
        formatters["text/html"].for_type(kind, html)
    formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _figure_png)
    return True


def load_ipython_extension(shell: Any) -> None:
    """For `%load_ext pmgs_lib.ui.displays`."""
    register_displays(shell)


def _running_shell() -> Any:
    ipython = sys.modules.get("IPython")  # not imported here: outside a notebook nobody needs it
    return None if ipython is None else ipython.get_ipython()


def _plain(text: Callable[[Any], str]) -> Callable[[Any, Any, bool], None]:
    return lambda value, printer, _cycle: printer.text(text(value))


def _figure_png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()
