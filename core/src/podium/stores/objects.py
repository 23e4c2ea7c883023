"""Results held in memory until the gateway fetches them (wire-video 13)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import field, frozen

from podium.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    _Key = tuple[str, str, str]

OBJECTS_PER_FOLDER = 12
"""A session's folder is a ring of so many objects, as in the reference."""


@frozen
class StoredObject:
    """One result."""

    data: bytes = field(repr=False)
    content_type: str
    expires_s: float


class ObjectStore:
    """Bounded three ways: objects per folder, their age, and bytes in all.

    When the bytes run out the oldest objects go first: gateways fetch a result
    within seconds, and a lost one costs them a retry, not us the node.

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
        self._objects: OrderedDict[_Key, StoredObject] = OrderedDict()
        self._rings: dict[tuple[str, str], OrderedDict[str, None]] = {}
        self._folders: dict[str, set[str]] = {}
        self.size_bytes = 0

    def put(self, session_id: str, folder: str, name: str, data: bytes, content_type: str) -> None:
        """Store one object; the same name overwrites, the oldest of a full folder goes.

        Raises:
            StoreError: the object alone is larger than the store.
        """
        if len(data) > self._limit_bytes:
            msg = f"a result of {len(data)} bytes exceeds storage.memory_limit_mb"
            raise StoreError(msg)
        self._forget((session_id, folder, name))
        ring = self._rings.setdefault((session_id, folder), OrderedDict())
        self._folders.setdefault(session_id, set()).add(folder)
        ring[name] = None
        expires_s = self._monotonic() + self._ttl_s
        self._objects[session_id, folder, name] = StoredObject(data, content_type, expires_s)
        self.size_bytes += len(data)
        if len(ring) > self._per_folder:
            self._forget((session_id, folder, next(iter(ring))))
        while self.size_bytes > self._limit_bytes:
            self._forget(next(iter(self._objects)))

    def get(self, session_id: str, folder: str, name: str) -> StoredObject | None:
        """Return an object that has not expired."""
        found = self._objects.get((session_id, folder, name))
        return found if found and found.expires_s > self._monotonic() else None

    def end_session(self, session_id: str) -> None:
        """Drop all objects of a session."""
        for folder in tuple(self._folders.get(session_id, ())):
            for name in tuple(self._rings[session_id, folder]):
                self._forget((session_id, folder, name))

    def sweep(self) -> None:
        """Drop what has expired."""
        now = self._monotonic()
        while self._objects:
            key, oldest = next(iter(self._objects.items()))
            if oldest.expires_s > now:
                return
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        stored = self._objects.pop(key, None)
        if stored is None:
            return
        self.size_bytes -= len(stored.data)
        session_id, folder, name = key
        ring = self._rings[session_id, folder]
        del ring[name]
        if not ring:
            del self._rings[session_id, folder]
            folders = self._folders[session_id]
            folders.discard(folder)
            if not folders:
                del self._folders[session_id]
