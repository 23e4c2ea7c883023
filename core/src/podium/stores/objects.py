"""Results held in memory until the gateway fetches them (wire-video 13)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

OBJECTS_PER_FOLDER = 12
"""A session's folder is a ring of so many objects, as in the reference."""


@frozen
class StoredObject:
    """One result."""

    data: bytes = field(repr=False)
    content_type: str
    expires_s: float


@define
class _SessionObjects:
    """A session's folders; each maps file name to object, oldest first."""

    folders: dict[str, OrderedDict[str, StoredObject]] = field(factory=dict)


class ObjectStore:
    """Bounded three ways: objects per folder, their age, and bytes in all.

    When the bytes run out the oldest sessions' objects go first: gateways fetch
    a result within seconds, and a lost one costs them a retry, not us the node.

    Args:
        limit_bytes: All objects together.
        ttl_s: Seconds an object lives.
        objects_per_folder: Ring size.
        monotonic: Returns monotonic seconds.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        ttl_s: float,
        monotonic: Callable[[], float],
        objects_per_folder: int = OBJECTS_PER_FOLDER,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._per_folder = objects_per_folder
        self._sessions: OrderedDict[str, _SessionObjects] = OrderedDict()
        self.size_bytes = 0

    def put(self, session_id: str, folder: str, name: str, data: bytes, content_type: str) -> None:
        """Store one object; the same name overwrites, the oldest of a full folder goes.

        Raises:
            StoreError: the object alone is larger than the store.
        """
        if len(data) > self._limit_bytes:
            msg = f"a result of {len(data)} bytes exceeds storage.memory_limit_mb"
            raise StoreError(msg)
        session = self._sessions.setdefault(session_id, _SessionObjects())
        self._sessions.move_to_end(session_id)
        ring = session.folders.setdefault(folder, OrderedDict())
        self._forget(ring.pop(name, None))
        while len(ring) >= self._per_folder:
            self._forget(ring.popitem(last=False)[1])
        ring[name] = StoredObject(data, content_type, self._monotonic() + self._ttl_s)
        self.size_bytes += len(data)
        self._shrink()

    def get(self, session_id: str, folder: str, name: str) -> StoredObject | None:
        """Return an object that has not expired."""
        session = self._sessions.get(session_id)
        ring = session.folders.get(folder) if session else None
        found = ring.get(name) if ring else None
        return found if found and found.expires_s > self._monotonic() else None

    def end_session(self, session_id: str) -> None:
        """Drop all objects of a session."""
        session = self._sessions.pop(session_id, None)
        for ring in session.folders.values() if session else ():
            for stored in ring.values():
                self._forget(stored)

    def sweep(self) -> None:
        """Drop what has expired."""
        now = self._monotonic()
        for session_id, session in list(self._sessions.items()):
            for folder, ring in list(session.folders.items()):
                for name in [n for n, stored in ring.items() if stored.expires_s <= now]:
                    self._forget(ring.pop(name))
                if not ring:
                    del session.folders[folder]
            if not session.folders:
                del self._sessions[session_id]

    def _shrink(self) -> None:
        while self.size_bytes > self._limit_bytes:
            session_id, session = next(iter(self._sessions.items()))
            ring = next((ring for ring in session.folders.values() if ring), None)
            if ring is None:
                del self._sessions[session_id]
            else:
                self._forget(ring.popitem(last=False)[1])

    def _forget(self, stored: StoredObject | None) -> None:
        if stored is not None:
            self.size_bytes -= len(stored.data)
