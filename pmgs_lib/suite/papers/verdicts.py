"""Verdicts: how our number stands beside the paper's. The limits stand here, once."""

from dataclasses import dataclass
from typing import Literal

from pmgs_lib.evaluation.metrics import METRICS
from pmgs_lib.suite.papers.values import TRUST, PaperValue

Verdict = Literal["MATCH", "CLOSE", "MISS", "NOT RUN", "NOT COMPARABLE"]
JUDGED = ("MATCH", "CLOSE", "MISS")
# Largest difference, either way, of a MATCH and of a CLOSE, between numbers as printed. 0.1 dB is what DepthSplat's
# authors call equal; trainings that differ in their seed alone move about so much. Beyond CLOSE readers rank methods
# otherwise.
LIMITS: dict[str, tuple[float, float]] = {"PSNR": (0.1, 0.5), "SSIM": (0.003, 0.015), "LPIPS": (0.003, 0.015)}
OURS = {"PSNR": "psnr", "SSIM": "ssim", "LPIPS": "lpips"}  # the papers' name -> ours
UNREAD = TRUST["unread"]
NOT_IN_PAPER = "the paper has no such row"


@dataclass(frozen=True)
class Cell:
    """A number of a paper's table with ours beside it. paper: None in a row of ours that the paper lacks. reason: why
    there is no verdict on the difference.

    ours is there only where it may be shown; difference is ours minus the paper's, of the numbers as printed.
    """

    metric: str  # as the papers call it
    paper: PaperValue | None
    verdict: Verdict
    ours: float | None = None
    difference: float | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """E.g. `26.41 (paper 26.47, -0.06: MATCH)`."""
        published = "paper: not retrievable" if self.paper else "not in the paper"
        if self.paper and self.paper.text:
            published = f"paper {self.paper.text}"
        if self.ours is None:
            return f"{self.verdict} ({published})"
        digits = METRICS[OURS[self.metric]].digits
        change = "" if self.difference is None else f", {self.difference:+.{digits}f}"
        return f"{self.ours:.{digits}f} ({published}{change}: {self.verdict})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the text: why there is no verdict, how far the paper's value is trusted."""
        trust = TRUST[self.paper.trust] if self.paper else ""
        return tuple(dict.fromkeys(note for note in (self.reason, trust) if note))

    def to_json(self) -> dict[str, str | float | None]:
        """For `metrics.json`."""
        found = {"text": self.text, "verdict": self.verdict, "ours": self.ours, "difference": self.difference}
        value, trust = (self.paper.value, self.paper.trust) if self.paper else (None, None)
        return found | {"paper": value, "trust": trust, "reason": self.reason}


def judge(metric: str, paper: PaperValue | None, ours: float) -> Cell:
    """The verdict on a number that was measured as the paper measured its own.

    It falls on the difference of the printed numbers, so that a reader can check it.
    """
    digits = METRICS[OURS[metric]].digits
    if paper is None or paper.value is None:
        return Cell(metric, paper, "NOT COMPARABLE", ours, reason=UNREAD if paper else NOT_IN_PAPER)
    difference = round(round(ours, digits) - paper.value, digits)
    match, close = LIMITS[metric]
    verdict: Verdict = "MATCH" if abs(difference) <= match else "CLOSE" if abs(difference) <= close else "MISS"
    return Cell(metric, paper, verdict, ours, difference)


def limits_note() -> str:
    """The limits in words, for under a table."""
    told = [f"{name} {match:g} and {close:g}{_unit(name)}" for name, (match, close) in LIMITS.items()]
    return f"Verdicts on the difference of the printed numbers, either way: MATCH and CLOSE up to {', '.join(told)}."


def _unit(metric: str) -> str:
    unit = METRICS[OURS[metric]].unit
    return f" {unit}" if unit else ""
