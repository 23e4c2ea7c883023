"""Whether an address is on this machine or a private network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from attrs import define, field
from podium_hookspecs import BadInput

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

RESOLVE_TIMEOUT_S = 1.0
PRIVATE = "url is of a private network"


def is_private(address: str) -> bool:
    """Whether an IP address is not of the open internet."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return not (mapped or parsed).is_global


async def check_public(host: str) -> None:
    """Look a host up.

    Raises:
        BadInput: one of its addresses is private, or it has none.
    """
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise BadInput("url has a host that cannot be found") from error
    if any(is_private(str(address[4][0])) for address in found):
        raise BadInput(PRIVATE)


@define(eq=False)
class PublicResolver(AbstractResolver):
    """Finds public addresses only, at each connection: a name may change after it was checked."""

    _inner: ThreadedResolver = field(factory=ThreadedResolver)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host."""
        found = await self._inner.resolve(host, port, family)
        public = [entry for entry in found if not is_private(entry["host"])]
        if not public:
            raise OSError(None, PRIVATE)
        return public

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()
