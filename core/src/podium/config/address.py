"""Addresses an operator writes down: listeners, service URIs, accounts."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from attrs import frozen

from podium.crypto import checksum_address

DEFAULT_PORT = 8935
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@frozen
class ListenAddress:
    """Where a server listens.

    Attributes:
        host: Name or address; ``0.0.0.0`` is every interface.
        port: 0 lets the system choose.
        tls: False: plain text, HTTP/1.1 and h2c.
    """

    host: str
    port: int
    tls: bool = True

    @property
    def is_wildcard(self) -> bool:
        """True when it listens on every interface."""
        return self.host in _WILDCARDS

    @property
    def reachable_host(self) -> str:
        """A host under which this machine reaches the listener, bracketed when IPv6."""
        host = "127.0.0.1" if self.is_wildcard else self.host
        return f"[{host}]" if ":" in host else host


def parse_listen(text: str, *, host: str, port: int) -> ListenAddress:
    """Complete and read a listen address (operator 1, address completion).

    Empty means ``host:port``; ``:PORT`` takes the host; a text without a port takes the port.
    ``http://`` makes it plain text, ``https://`` or nothing TLS.

    Raises:
        ValueError: it is no such address; a path is not allowed.
    """
    scheme, found, rest = text.rpartition("://")
    if found and scheme not in {"http", "https"}:
        raise ValueError(f'the scheme must be http or https, not "{scheme}"')
    given_host, given_port = _split(rest)
    return ListenAddress(given_host or host, port if given_port is None else given_port,
                         tls=scheme != "http")  # fmt: skip


def _split(text: str) -> tuple[str, int | None]:
    """Split ``HOST``, ``HOST:PORT``, ``:PORT`` or ``[V6]:PORT``."""
    if any(c in text for c in "/?#@") or any(c.isspace() for c in text):
        raise ValueError("must be HOST:PORT, without a path")
    try:
        parts = urlsplit("//" + text)
        return parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"must be HOST:PORT ({error})") from None


def normalise_uri(text: str) -> str:
    """Return a service URI with scheme and port, without a trailing slash; "" stays "".

    Raises:
        ValueError: it is no ``https://HOST:PORT``.
    """
    if not text:
        return ""
    full = text if "://" in text else "https://" + text
    scheme, _, rest = full.rstrip("/").partition("://")
    if scheme not in {"http", "https"}:
        raise ValueError(f'the scheme must be https or http, not "{scheme}"')
    host, port = _split(rest)
    if not host:
        raise ValueError("must name a host, as in https://HOST:8935")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{DEFAULT_PORT if port is None else port}"


def parse_account(text: str) -> bytes:
    """Return the 20 bytes of an account written as ``0x`` and 40 hex digits.

    Raises:
        ValueError: it is none, or its mixed case is not the checksum (a typing error).
    """
    if not _ADDRESS.fullmatch(text):
        raise ValueError("must be an address: 0x and 40 hex digits")
    address = bytes.fromhex(text[2:])
    digits = text[2:]
    mixed = digits != digits.lower() and digits != digits.upper()
    if mixed and text != checksum_address(address):
        raise ValueError("the address has a wrong checksum; is there a typing error in it?")
    return address
