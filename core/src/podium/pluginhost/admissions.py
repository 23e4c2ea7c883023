"""Answers to admission that may be used again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from podium_hookspecs import Admission, AdmitRequest

LIMIT = 10_000
"""Answers kept; the one unused for longest goes first."""

Key = tuple[bytes, str, int | None, str | None]


@define
class AdmissionCache:
    """Keeps each answer for the time its plugin allowed."""

    _monotonic: Callable[[], float]
    _kept: OrderedDict[Key, tuple[float, Admission]] = field(factory=OrderedDict)

    def get(self, request: AdmitRequest) -> Admission | None:
        """Return an answer that still holds."""
        found = self._kept.get(_key(request))
        if found is None:
            return None
        if found[0] <= self._monotonic():
            del self._kept[_key(request)]
            return None
        self._kept.move_to_end(_key(request))
        return found[1]

    def put(self, request: AdmitRequest, answer: Admission) -> None:
        """Keep an answer, if its plugin allowed that."""
        if answer.ttl_s > 0:
            self._kept[_key(request)] = (self._monotonic() + answer.ttl_s, answer)
            if len(self._kept) > LIMIT:
                self._kept.popitem(last=False)


def _key(request: AdmitRequest) -> Key:
    bits = request.capabilities
    packed = None if bits is None else sum(1 << bit for bit in bits)
    return request.sender, request.stage, packed, request.model
