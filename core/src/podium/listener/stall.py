"""Clients that ask and do not read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    import asyncio

# uvloop's own mark under TLS is 512 KiB per connection.
_WRITE_BUFFER_BYTES = 64 * 1024

logger = logging.getLogger("podium.listener")


@define
class StallWatch:
    """Drops a connection whose client does not empty the write buffer in time.

    Attributes:
        transport: The connection; its write buffer is made small.
        timeout_s: From the buffer being full to it being nearly empty.
    """

    transport: asyncio.Transport
    timeout_s: float
    _timer: asyncio.TimerHandle | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def paused(self, loop: asyncio.AbstractEventLoop) -> None:
        """The buffer is full."""
        if self._timer is None:
            self._timer = loop.call_later(self.timeout_s, self._stalled)

    def resumed(self) -> None:
        """The buffer is nearly empty, or the connection gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stalled(self) -> None:
        self._timer = None
        logger.debug("client dropped: it did not read for %g s", self.timeout_s)
        self.transport.abort()
