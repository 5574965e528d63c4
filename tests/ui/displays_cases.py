"""Values to show, as they are made and as they should not be, and what every HTML view must hold."""

from html.parser import HTMLParser
from pathlib import Path

import torch

from pmgs_lib.evaluation.ledger import Ledger
from pmgs_lib.evaluation.results import EvaluationResult, EvaluationSettings, SceneScore, TargetRow
from pmgs_lib.gaussians import Gaussians
from pmgs_lib.suite.records import RunRecord

MOST_BYTES = 100_000


def make_gaussians(count: int, degree: int = 1, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    means = rand(count, 3) * torch.tensor([6.0, 2.0, 9.0])
    return Gaussians(
        means, 0.05 * rand(count, 3), rand(count, 4), 0.05 + 0.9 * rand(count), rand(count, (degree + 1) ** 2, 3) - 0.5
    )


def make_evaluation(scene: str = "room", reason: str = "too dark", comparable: str | None = None) -> EvaluationResult:
    ledger = Ledger.of([scene, "other"])
    ledger.score(scene)
    ledger.skip("other", reason)
    rows = (TargetRow(scene, 3, "inside", {"psnr": 20.0, "ssim": 0.5}), TargetRow(scene, 9, "outside", {"psnr": 16.0}))
    score = SceneScore(scene, rows, {}, {"lpips": reason})
    settings = EvaluationSettings(
        protocol="smoke", protocol_digest="0123456789abcdef", height=64, width=96, limit_m=None, device="cpu",
        not_comparable=comparable,
    )  # fmt: skip
    return EvaluationResult(scene, False, settings, [score], ledger)


def make_record(folder: Path, word: str = "plain") -> RunRecord:
    content = {
        "id": word,
        "key": "0efb300741019760",
        "notebook": "notebooks/30_train.ipynb",
        "experiment": "smoke",
        "device": "cpu",
        "parameters": {"weights": word, "steps": 20},
        "parts": {"notebook": "a" * 64, "library": {"pmgs_lib/a.py": "b"}, "data": {}, "environment": {"python": "3"}},
        "needs": {"train_scenes": "a83ed156f4468bb3"},
        "made": {"executed.ipynb": {"bytes": 1234, "sha256": "c"}},
        "seconds": 49.9,
        "finished": "2026-11-20T19:07:53.531+00:00",
    }
    return RunRecord(folder, content)


def broken(kind: type, **fields: object) -> object:
    """A value as no constructor makes it, but a crash or a newer file may."""
    value = object.__new__(kind)
    for name, field in fields.items():
        object.__setattr__(value, name, field)
    return value


class Parsed(HTMLParser):
    """Tags must close in order; nothing may run or load."""

    EMPTY = frozenset({"img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def assert_harmless(html: str) -> Parsed:
    parsed = Parsed(html)
    assert not {"script", "link", "iframe", "object", "style"} & set(parsed.seen)
    assert all(source.startswith("data:image/") for source in parsed.sources)
    assert len(html.encode()) <= MOST_BYTES
    return parsed
