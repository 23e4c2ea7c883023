"""The private protocol between a worker and its child processes.

Each message is a JSON head and raw bytes, both preceded by their lengths, over
a socket pair. A job is announced by one byte that carries the input's
descriptor (``SCM_RIGHTS``). The child reads hostile media, so nothing it sends
is trusted: no pickle, lengths are bounded, unknown kinds lose the child.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from asyncio import StreamReader

LENGTHS = struct.Struct(">IQ")
MAX_HEAD_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 1 << 29
JOB_MARK = b"J"


@frozen
class Message:
    """One message: what it says, and its bytes."""

    head: dict[str, Any]
    payload: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> str:
        """What it is: ``ready``, ``rendition``, ``signature``, ``done``, ``error``."""
        return str(self.head.get("kind", ""))

    def encoded_head(self) -> bytes:
        """Return the lengths and the head; the payload follows them."""
        head = json.dumps(self.head).encode()
        return LENGTHS.pack(len(head), len(self.payload)) + head


async def read_message(reader: StreamReader) -> Message:
    """Read a child's next message.

    Raises:
        IncompleteReadError: the child is gone.
        ValueError: it talks nonsense.
    """
    head_bytes, payload_bytes = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
    if head_bytes > MAX_HEAD_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        msg = f"a message of {head_bytes} and {payload_bytes} bytes"
        raise ValueError(msg)
    head = json.loads(await reader.readexactly(head_bytes))
    if not isinstance(head, dict):
        msg = "a message without a head"
        raise ValueError(msg)
    return Message(head, await reader.readexactly(payload_bytes))


def send_blocking(connection: socket.socket, message: Message) -> None:
    """Send a message from the child."""
    connection.sendall(message.encoded_head())
    if message.payload:
        connection.sendall(message.payload)


def receive_job_blocking(connection: socket.socket) -> tuple[int, Message] | None:
    """Wait in the child for a job.

    Returns:
        The input's descriptor, now the caller's, and the message; None when the node is gone.
    """
    mark, descriptors, _, _ = socket.recv_fds(connection, len(JOB_MARK), 1)
    if mark != JOB_MARK or len(descriptors) != 1:
        return None
    lengths = _receive_exactly(connection, LENGTHS.size)
    head_bytes, _ = LENGTHS.unpack(lengths)
    return descriptors[0], Message(json.loads(_receive_exactly(connection, head_bytes)))


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise EOFError
        received += piece
    return received
