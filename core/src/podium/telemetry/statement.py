"""What each session paid and was billed: exact sums, from events."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from typing import TYPE_CHECKING

from attrs import define, field
from podium_hookspecs import JobFinished, PaymentReceived

from podium.crypto import checksum_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium_hookspecs import Event

KEPT_ENTRIES = 10_000


@define
class Entry:
    """One session's sums; wei."""

    credited: Fraction = Fraction(0)
    debited: Fraction = Fraction(0)
    tickets: int = 0
    winners: int = 0
    jobs: int = 0


@define
class Statement:
    """The sums of the sessions seen lately; the least recent ones are forgotten first."""

    _entries: OrderedDict[tuple[bytes, str], Entry] = field(factory=OrderedDict)

    def on_event(self, event: Event) -> None:
        """Add an event to the sums."""
        if isinstance(event, PaymentReceived):
            entry = self._entry(event.sender, event.session_id)
            entry.credited += event.expected_value
            entry.tickets += event.tickets
            entry.winners += event.winners
        elif isinstance(event, JobFinished):
            entry = self._entry(event.sender, event.account or event.session_id)
            entry.debited += event.fee_wei
            entry.jobs += 1

    def _entry(self, sender: bytes, key: str) -> Entry:
        entry = self._entries.setdefault((sender, key), Entry())
        self._entries.move_to_end((sender, key))
        if len(self._entries) > KEPT_ENTRIES:
            self._entries.popitem(last=False)
        return entry

    def lines(self) -> Sequence[dict[str, object]]:
        """Return one JSON object per session; wei as exact fractions in text."""
        return [
            {
                "sender": checksum_address(sender),
                "key": key,
                "credited": str(entry.credited),
                "debited": str(entry.debited),
                "balance": str(entry.credited - entry.debited),
                "tickets": entry.tickets,
                "winners": entry.winners,
                "jobs": entry.jobs,
            }
            for (sender, key), entry in self._entries.items()
        ]
