"""Pieces of the rich views: ranges of tensors in words, tables, and pictures that fit a budget of bytes."""

import base64
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from pmgs_lib.errors import first_line

THUMBNAIL_HEIGHTS = (144, 96, 72, 48, 32, 16)  # pixels; the first at which all pictures together fit
LARGEST_PNG = 4_000  # bytes; what takes more is a photograph, and kept as JPEG
JPEG_QUALITY = 80
PICTURE_BUDGET = 60_000  # characters of all pictures of one view
LONGEST_LINE = 400  # characters of one piece of text that was given from outside
MOST_SORTED = 1_000_000  # values; the median of more is taken from every n-th

TABLE = "border-collapse:collapse;font-size:12px"
CELL = "text-align:left;padding:2px 12px 2px 0;border:none;vertical-align:top"
QUIET = "color:#5f5f5f;font-size:12px"

Pixels = UInt8[ndarray, "h w 3"]


def attempt(say: Callable[[], str], otherwise: Callable[[str], str] = "unreadable ({})".format) -> str:
    """What `say` says; where it fails, `otherwise` of the reason.

    Whatever is wrong with a value, its view must say so in its place: a view that raises hides all other facts.
    """
    try:
        return say()
    except Exception as error:  # noqa: BLE001 - the reason is shown, see above
        return otherwise(reason(error))


def quiet_note(text: str) -> Callable[[str], str]:
    """For `attempt`: a quiet line that says `text` and the reason."""
    return lambda why: line_html(f"{text} ({why})", quiet=True)


def reason(error: Exception) -> str:
    """Type and first line of an error, without addresses: texts must be the same in every process."""
    return re.sub(r"0x[0-9a-fA-F]+", "0x…", f"{type(error).__name__}: {first_line(error)}")


def shape_text(value: Any) -> str:
    """The shape of a tensor as `(2, 3)`, or the type of what is none."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"({', '.join(map(str, shape))})"


def kind_text(value: Any) -> str:
    """Precision and device, e.g. `float32 on cpu`."""
    return attempt(lambda: f"{str(value.dtype).removeprefix('torch.')} on {value.device.type}")


def range_text(value: Any) -> str:
    """Smallest to largest finite value in three digits, and a loud word when there are others."""
    return attempt(lambda: _range(value))


def _range(tensor: torch.Tensor) -> str:
    finite = tensor.detach()
    hidden = tensor.numel() - int(finite.isfinite().sum())
    if hidden:
        finite = finite[finite.isfinite()]
    warning = f" ({hidden:,} NaN OR INFINITE)" if hidden else ""
    if finite.numel() == 0:
        return f"none{warning}"
    low, high = (end.item() for end in finite.aminmax())
    return f"{low:.3g}{warning}" if low == high else f"{low:.3g} to {high:.3g}{warning}"


def median_text(value: Any) -> str:
    """The median of the finite values in three digits; from every n-th, and marked by ≈, where they are very many."""
    return attempt(lambda: _median(value))


def _median(tensor: torch.Tensor) -> str:
    values = tensor.detach().reshape(-1)
    step = max(1, -(-len(values) // MOST_SORTED))
    values = values[::step]
    values = values[values.isfinite()].float()
    return f"{'≈' if step > 1 else ''}{values.median().item():.3g}" if len(values) else "none"


def count_text(number: int, noun: str) -> str:
    """`1 scene`, `2,000 scenes`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: object, most: int = LONGEST_LINE) -> str:
    """One line of at most `most` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def line_html(text: str, *, quiet: bool = False) -> str:
    """One escaped line."""
    return f"<div{f' style={chr(34)}{QUIET}{chr(34)}' if quiet else ''}>{escape(text)}</div>"


def title_html(name: str, facts: str) -> str:
    """A bold name and what is to be said beside it."""
    return f"<div><b>{escape(shortened(name))}</b>{escape(f', {facts}' if facts else '')}</div>"


def table_html(rows: Sequence[Sequence[str]], heading: Sequence[str] = ()) -> str:
    """Rows of cells, all escaped; the first cell of a row names it."""
    head = "".join(f'<th scope="col" style="{CELL}">{escape(cell)}</th>' for cell in heading)
    lines = [f"<tr>{head}</tr>"] if heading else []
    for name, *values in rows:
        cells = "".join(f'<td style="{CELL}">{escape(value)}</td>' for value in values)
        lines.append(f'<tr><th scope="row" style="{CELL};font-weight:400">{escape(name)}</th>{cells}</tr>')
    return f'<table style="{TABLE}">{"".join(lines)}</table>'


def pictures_html(rows: Sequence[Sequence[tuple[str, Pixels]]], budget: int = PICTURE_BUDGET) -> str:
    """Rows of pictures with the words that stand for them, as large as the budget of characters allows."""
    encoded: list[list[tuple[str, str]]] = []
    for height in THUMBNAIL_HEIGHTS:
        encoded = [[(words, _encoded(pixels, height)) for words, pixels in row] for row in rows]
        if sum(len(data) for row in encoded for _, data in row) <= budget:
            break
    style = "display:inline-block;margin:0 4px 4px 0"
    lines = ("".join(f'<img src="{data}" style="{style}" alt="{escape(words)}">' for words, data in row)
             for row in encoded)  # fmt: skip
    return "".join(f'<div style="white-space:nowrap">{line}</div>' for line in lines)


def _encoded(pixels: Pixels, height: int) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((4 * height, height))
    data, kind = _bytes(image, "PNG"), "png"
    if len(data) > LARGEST_PNG:
        data, kind = _bytes(image, "JPEG", quality=JPEG_QUALITY), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _bytes(image: Image.Image, format: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()
