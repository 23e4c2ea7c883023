"""Time that a test moves."""

from __future__ import annotations

from attrs import define

START_S = 1_750_000_000.0


@define
class ManualClock:
    """Unix seconds that stand still until they are moved: ``podium_app(..., now=clock)``.

    Attributes:
        now_s: What it shows.
    """

    now_s: float = START_S

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
