"""Changing plugins while the node runs: all that the file asks for, or nothing."""

from podium.reload.outcome import Outcome
from podium.reload.reloader import Reloader

__all__ = ["Outcome", "Reloader"]
