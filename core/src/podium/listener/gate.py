"""Who may hold a connection without asking for anything."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    import asyncio

_IPV6_SITE_BITS = 64  # one subscriber usually holds a /64


def client_site(transport: asyncio.BaseTransport) -> str:
    """The client's address, shortened to its /64 for IPv6."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple) or not peer:
        return ""
    address = str(peer[0])
    if ":" not in address:
        return address
    site = ipaddress.IPv6Network((address.partition("%")[0], _IPV6_SITE_BITS), strict=False)
    return str(site)


@define
class ConnectionGate:
    """Bounds connections, and gives those that nobody uses to newcomers.

    Attributes:
        max_connections: Most connections at a time; the one that has been
            without a request for longest is closed for another.
        silent_per_address: Most connections of one client address that have
            sent no request yet; the oldest is closed when another arrives.
    """

    max_connections: int
    silent_per_address: int
    _open: set[asyncio.Transport] = field(init=False, factory=set)
    # No request in flight, longest first.
    _idle: dict[asyncio.Transport, None] = field(init=False, factory=dict)
    _silent: dict[str, dict[asyncio.Transport, None]] = field(init=False, factory=dict)
    _silent_sites: dict[asyncio.Transport, str] = field(init=False, factory=dict)

    def admit(self, transport: asyncio.Transport) -> bool:
        """Note a new connection; False when all others are at work."""
        site = client_site(transport)
        silent = self._silent.get(site, {})
        if len(silent) >= self.silent_per_address:
            self._evict(next(iter(silent)))
        if len(self._open) >= self.max_connections:
            if not self._idle:
                return False
            self._evict(next(iter(self._idle)))
        self._open.add(transport)
        self._idle[transport] = None
        self._silent.setdefault(site, {})[transport] = None
        self._silent_sites[transport] = site
        return True

    def busy(self, transport: asyncio.Transport) -> None:
        """Note that a connection has a request in flight."""
        self._idle.pop(transport, None)
        site = self._silent_sites.pop(transport, None)
        if site is not None:
            silent = self._silent[site]
            del silent[transport]
            if not silent:
                del self._silent[site]

    def idle(self, transport: asyncio.Transport) -> None:
        """Note that a connection has no request in flight any more."""
        if transport in self._open:
            self._idle[transport] = None

    def ended(self, transport: asyncio.Transport) -> None:
        """Note that a connection is gone."""
        self.busy(transport)
        self._open.discard(transport)

    def _evict(self, transport: asyncio.Transport) -> None:
        # Not a polite close, for which a client could keep the server waiting.
        self.ended(transport)
        transport.abort()
