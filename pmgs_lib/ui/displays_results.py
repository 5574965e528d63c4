"""Views of what runs leave: records, evaluations, paired tests, certificates. They are read by name, not imported.

Texts hold no times, paths or sizes of notebooks, so that they are equal for equal runs.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pmgs_lib.ui import displays_parts as parts

MOST_FIGURES, MOST_ROWS = 4, 40
DIGEST = 12  # characters of a digest that are shown


def record_text(record: Any) -> str:
    """Which run it is, what it was given, and how much it made."""
    content = record.content
    head = f"RunRecord {record.id} ({record.key}): {content.get('notebook')}, experiment {content.get('experiment')}"
    made, needs = content.get("made", {}), content.get("needs", {})
    facts = [head, f"device {content.get('device')}", parts.count_text(len(made), "file") + " made"]
    facts += [f"needs {', '.join(f'{name} ({key})' for name, key in needs.items())}"] if needs else []
    given = ", ".join(f"{name}={_json(value)}" for name, value in record.parameters.items())
    return f"{parts.shortened(', '.join(facts))}\n  parameters: {parts.shortened(given)}"


def record_html(record: Any) -> str:
    """Key, parameters, origin and metrics of a run, and its first figures."""
    content = record.content
    title = parts.title_html(f"run {record.id}", f"key {record.key}, {content.get('notebook')}")
    rows = [
        ("experiment", f"{content.get('experiment')}, device {content.get('device')}"),
        ("time", parts.attempt(lambda: f"{record.seconds:.1f} s, finished {content['finished']}")),
        ("needs", ", ".join(f"{name} ({key})" for name, key in content.get("needs", {}).items()) or "no other run"),
        ("made", parts.attempt(lambda: f"{parts.count_text(len(content['made']), 'file')}, {record.bytes_made:,} B")),
        ("code and data", parts.attempt(lambda: _parts_text(record.parts))),
        *((f"parameter {name}", _json(value)) for name, value in list(record.parameters.items())[:MOST_ROWS]),
    ]
    shown = [(name, parts.shortened(value)) for name, value in [*rows, *_metric_rows(record)]]
    return title + parts.table_html(shown) + _figures(Path(record.folder))


def _parts_text(made_of: Mapping[str, Any]) -> str:
    """Of what the key was made: the digest of the code cells and how many files stand behind it."""
    counts = ((name, made_of.get(name)) for name in ("library", "data", "environment"))
    told = [f"{parts.count_text(len(value), 'part')} of {name}" for name, value in counts if isinstance(value, Mapping)]
    notebook = made_of.get("notebook")
    return ", ".join([*told, *([f"notebook {notebook[:DIGEST]}"] if isinstance(notebook, str) else [])])


def _metric_rows(record: Any) -> list[tuple[str, str]]:
    """The single numbers among its metrics; a damaged file says so."""
    try:
        metrics = record.metrics
    except (OSError, ValueError) as error:
        return [("metrics", f"unreadable ({parts.reason(error)})")]
    numbers = [(name, value) for name, value in metrics.items() if isinstance(value, int | float | str | None)]
    return [(f"metric {name}", _json(value)) for name, value in numbers[:MOST_ROWS]]


def _figures(folder: Path) -> str:
    found = sorted((folder / "figures").glob("*.png"))[:MOST_FIGURES]
    pictures = []
    for path in found:
        try:
            with Image.open(path) as image:
                pictures.append((path.stem, np.asarray(image.convert("RGB").reduce(2))))
        except (OSError, ValueError) as error:
            return parts.line_html(f"figure {path.name} is unreadable ({parts.reason(error)})", quiet=True)
    return parts.pictures_html([pictures]) if pictures else ""


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def evaluation_text(result: Any) -> str:
    """Method, protocol, account of the scenes, and the means for all targets and each split."""
    reason = result.settings.not_comparable
    lines = [f"not comparable: {reason}"] if reason else []
    for split, means in result.means.items():
        told = [f"{label} {text}" for label, text in _said(means).items()]
        lines.append(f"{split}: {', '.join(told) or 'no value'}")
    return "\n".join([f"EvaluationResult {_head(result)}", *(f"  {parts.shortened(line)}" for line in lines)])


def evaluation_html(result: Any) -> str:
    """A row a split, a column a metric; what is missing with its reasons, and why scenes were left out."""
    said = {split: _said(means) for split, means in result.means.items()}
    labels = list(dict.fromkeys(label for means in said.values() for label in means))
    rows = [(split, *(means.get(label, "n/a") for label in labels)) for split, means in said.items()]
    notes = [f"NOT COMPARABLE: {result.settings.not_comparable}"] if result.settings.not_comparable else []
    notes += [f"{metric}: {reason} ({parts.count_text(count, 'scene')})"
              for metric, reasons in result.missing.items() for reason, count in reasons.items()]  # fmt: skip
    notes += [f"skipped {scene}: {reason}" for scene, reason in result.ledger.skipped.items()]
    rest = len(notes) - MOST_ROWS
    notes = [*notes[:MOST_ROWS], *([f"and {rest} more"] if rest > 0 else [])]
    told = "".join(parts.line_html(parts.shortened(note), quiet=True) for note in notes)
    return parts.title_html("Evaluation", _head(result)) + parts.table_html(rows, ("targets", *labels)) + told


def _head(result: Any) -> str:
    settings, ledger = result.settings, result.ledger
    control = " (control)" if result.control else ""
    return (
        f"{result.method}{control}: protocol {settings.protocol} ({settings.protocol_digest[:DIGEST]}), "
        f"{settings.height}x{settings.width} on {settings.device}, {len(ledger.listed)} listed = "
        f"{len(ledger.scored)} scored + {len(ledger.skipped)} skipped"
    )


def _said(means: Mapping[str, float | None]) -> dict[str, str]:
    """Label with unit -> value in the decimals of its metric, for those that have one."""
    from pmgs_lib.evaluation.metrics import METRICS  # brings scikit-image, which a display alone should not

    return {
        f"{info.label}{f' [{info.unit}]' if info.unit else ''}": f"{means[name]:.{info.digits}f}"
        for name, info in METRICS.items()
        if means.get(name) is not None
    }


def paired_text(test: Any) -> str:
    """Mean difference with its interval, in how many scenes it is better, and what the tests say."""
    interval, info = test.interval, test.info
    unit = f" {info.unit}" if info.unit else ""
    return (
        f"PairedTest {info.label}: {interval.mean:+.{info.digits}f}{unit} "
        f"({interval.level:.0%} interval {interval.low:+.{info.digits}f} to {interval.high:+.{info.digits}f}), "
        f"better in {test.better} of {len(test.scenes)} scenes, {test.worse} worse, {test.tied} tied, "
        f"{_p_text(test.p_holm if test.p_holm is not None else test.p_wilcoxon)}"
    )


def paired_html(test: Any) -> str:
    """The text view, in the notebook's own type."""
    return parts.line_html(paired_text(test))


def _p_text(p: float | None) -> str:
    return "too few scenes for a test" if p is None else f"p = {p:.3g}"


def interval_text(interval: Any) -> str:
    """Mean, interval, and of how many values."""
    return (
        f"Interval: mean {interval.mean:.4g}, {interval.level:.0%} interval {interval.low:.4g} to {interval.high:.4g}, "
        f"of {parts.count_text(len(interval.values), 'value')}"
    )


def interval_html(interval: Any) -> str:
    """The text view, in the notebook's own type."""
    return parts.line_html(interval_text(interval))


def certificate_text(certificate: Any) -> str:
    """What the certificate says of itself, and how much of the pictures showed anything."""
    return f"Certificate: {certificate}; {certificate.coverage:.0%} of the pixels show something"


def certificate_html(certificate: Any) -> str:
    """Lowest PSNR over the cameras, largest difference, coverage, and what the format lost."""
    rows = [
        ("PSNR, lowest over the cameras", _decibels(certificate.psnr_db)),
        ("the same, without what the format cannot hold", _decibels(certificate.kept_db)),
        ("largest difference of a colour value", f"{certificate.largest_difference:.1e}"),
        ("pixels that show something", f"{certificate.coverage:.1%}"),
        ("lost", ", ".join(certificate.lost) or "nothing"),
    ]
    return parts.title_html("Certificate", "the file was read back and drawn") + parts.table_html(rows)


def _decibels(value: float) -> str:
    return "equal to the last bit" if math.isinf(value) else f"{value:.1f} dB"
