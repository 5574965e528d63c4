"""The account of an evaluation: every listed scene is either scored or skipped for a stated reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pmgs_lib.errors import RunError


@dataclass
class Ledger:
    """Scenes of an evaluation; `close` proves scored + skipped == listed before a number is shown.

    Each entry that would spoil the account raises `RunError`: unlisted, entered twice, skipped without a reason.
    """

    listed: tuple[str, ...]
    scored: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Sequence[str]) -> "Ledger":
        """An open account of these scenes."""
        doubled = sorted(key for key, count in Counter(keys).items() if count > 1)
        if doubled:
            raise RunError(f"ledger: scenes listed twice: {', '.join(doubled)}; list each scene once")
        return cls(tuple(keys))

    def score(self, key: str) -> None:
        """Enter a scene whose numbers are complete."""
        self._refuse_unexpected(key)
        self.scored.append(key)

    def skip(self, key: str, reason: str) -> None:
        """Enter a scene that could not be scored, with the reason a reader will see."""
        self._refuse_unexpected(key)
        if not reason.strip():
            raise RunError(f"ledger: scene {key} skipped without a reason; say why")
        self.skipped[key] = reason

    def _refuse_unexpected(self, key: str) -> None:
        if key not in self.listed:
            raise RunError(f"ledger: scene {key} is not among the {len(self.listed)} listed ones; list it first")
        if key in self.scored or key in self.skipped:
            raise RunError(f"ledger: scene {key} is entered already; enter each scene once")

    def close(self) -> "Ledger":
        """This ledger, or a `RunError` that names the scenes without an entry."""
        missing = [key for key in self.listed if key not in self.scored and key not in self.skipped]
        if missing or len(self.scored) + len(self.skipped) != len(self.listed):
            raise RunError(
                f"ledger: {len(self.scored)} scored + {len(self.skipped)} skipped != {len(self.listed)} listed; "
                f"without an entry: {', '.join(missing)}; finish the evaluation first"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Counts and names for `metrics.json`; closes the account."""
        self.close()
        return {
            "listed": len(self.listed),
            "scored": list(self.scored),
            "skipped": [{"scene": key, "reason": reason} for key, reason in self.skipped.items()],
        }
