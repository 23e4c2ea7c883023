"""How many connections a client may hold without asking for anything."""

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
class SilentGate:
    """Counts, per client address, connections that have sent no request yet.

    Attributes:
        per_address: Most such connections of one address; the oldest is
            closed when another arrives.
    """

    per_address: int
    _silent: dict[str, dict[asyncio.Transport, None]] = field(init=False, factory=dict)

    def admit(self, transport: asyncio.Transport) -> None:
        """Note a new connection."""
        silent = self._silent.setdefault(client_site(transport), {})
        silent[transport] = None
        if len(silent) > self.per_address:
            oldest = next(iter(silent))
            del silent[oldest]
            oldest.abort()

    def spoke(self, transport: asyncio.Transport) -> None:
        """Note that a connection sent a request, or ended."""
        site = client_site(transport)
        silent = self._silent.get(site)
        if silent is not None:
            silent.pop(transport, None)
            if not silent:
                del self._silent[site]
