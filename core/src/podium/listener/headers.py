"""HTTP/2 header fields: HPACK with repeats cached, and the rules of RFC 9113.

Clients repeat themselves: after the first request of a kind its header block
is a handful of table references, which mean the same until the HPACK table
changes. Both directions keep what such a block stands for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from attrs import frozen
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.exceptions import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Fields: TypeAlias = "Sequence[tuple[bytes, bytes]]"

_CACHED_BLOCKS = 64
_CACHED_BLOCK_BYTES = 1024
_INTEGER_BYTES = 5  # reaches 2**28 and more: beyond any length or index we accept


class MalformedFields(ValueError):
    """Header fields that RFC 9113 section 8 calls malformed."""


class _Table(HeaderTable):
    """A header table that knows whether it changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    def _shrink(self) -> None:
        self.changes += 1
        super()._shrink()


class FieldDecoder(Decoder):
    """An HPACK decoder in linear time.

    The base class copies the rest of the block for each literal and follows
    an integer to any length, so one megabyte of header could hold the event
    loop for minutes. Nor does it bound the number of fields, which cost the
    sender one byte each, or of table size updates.
    """

    def __init__(self, max_header_list_size: int, max_fields: int) -> None:
        super().__init__(max_header_list_size)
        self._max_fields = max_fields
        self._fields_left = max_fields
        self._table = _Table()
        self.header_table = self._table
        self._cache: dict[bytes, list[HeaderTuple]] = {}
        self._cached_at = 0

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Decode one block into byte strings, whatever ``raw`` says."""
        if self._cached_at != self._table.changes:
            self._cache.clear()
            self._cached_at = self._table.changes
        if (known := self._cache.get(data)) is not None:
            return known
        self._fields_left = self._max_fields
        fields = list(super().decode(data, raw=True))
        if self._cached_at == self._table.changes and len(data) <= _CACHED_BLOCK_BYTES:
            if len(self._cache) >= _CACHED_BLOCKS:
                self._cache.clear()
            self._cache[bytes(data)] = fields
        return fields

    def _count(self) -> None:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise OversizedHeaderListError(f"more than {self._max_fields} header fields")

    def _update_encoding_context(self, data: bytes | memoryview) -> int:
        self._count()
        size, consumed = _integer(data, 0, 5)
        if size > self.max_allowed_table_size:
            raise InvalidTableSizeError("dynamic table larger than we allow")
        self.header_table_size = size
        return consumed

    def _decode_indexed(self, data: bytes | memoryview) -> tuple[HeaderTuple, int]:
        self._count()
        index, consumed = _integer(data, 0, 7)
        return HeaderTuple(*self.header_table.get_by_index(index)), consumed

    def _decode_literal(
        self, data: bytes | memoryview, should_index: bool
    ) -> tuple[HeaderTuple, int]:
        self._count()
        index, at = _integer(data, 0, 6 if should_index else 4)
        if index:
            name = self.header_table.get_by_index(index)[0]
        else:
            name, at = _string(data, at)
        value, at = _string(data, at)
        if should_index:
            self.header_table.add(name, value)
        elif data[0] & 0x10:
            return NeverIndexedHeaderTuple(name, value), at
        return HeaderTuple(name, value), at


def _integer(data: bytes | memoryview, at: int, prefix_bits: int) -> tuple[int, int]:
    """Read an integer; the value and the place after it (RFC 7541, 5.1)."""
    most = (1 << prefix_bits) - 1
    try:
        number = data[at] & most
        at += 1
        if number < most:
            return number, at
        for shift in range(0, 7 * _INTEGER_BYTES, 7):
            byte = data[at]
            at += 1
            number += (byte & 0x7F) << shift
            if byte < 0x80:
                return number, at
    except IndexError:
        raise HPACKDecodingError("truncated header block") from None
    raise HPACKDecodingError("integer too long")


def _string(data: bytes | memoryview, at: int) -> tuple[bytes, int]:
    """Read a string literal; the value and the place after it (RFC 7541, 5.2)."""
    length, start = _integer(data, at, 7)
    text = bytes(data[start : start + length])
    if len(text) != length:
        raise HPACKDecodingError("truncated header block")
    if data[at] & 0x80:
        text = decode_huffman(text)
    return text, start + length


class FieldEncoder(Encoder):
    """An HPACK encoder that remembers blocks it has written."""

    def __init__(self) -> None:
        super().__init__()
        self._table = _Table()
        self.header_table = self._table
        self._cache: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
        self._cached_at = 0

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = False) -> bytes:  # type: ignore[override]
        """Encode one block, without Huffman coding: these are short."""
        if self.header_table.resized:
            self._cache.clear()
            return super().encode(headers, huffman)
        if self._cached_at != self._table.changes:
            self._cache.clear()
            self._cached_at = self._table.changes
        key = tuple(headers)
        if (known := self._cache.get(key)) is not None:
            return known
        block = super().encode(key, huffman)
        if self._cached_at == self._table.changes and len(block) <= _CACHED_BLOCK_BYTES:
            if len(self._cache) >= _CACHED_BLOCKS:
                self._cache.clear()
            self._cache[key] = block
        return block


@frozen
class RequestHead:
    """One request's head, checked.

    Attributes:
        method: As sent, such as ``POST``.
        path: Percent-decoded, without the query.
        raw_path: The path as sent.
        query: The query as sent, without the question mark.
        fields: Ordinary fields in order, ``host`` first.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    fields: tuple[tuple[bytes, bytes], ...]


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_HOP_BY_HOP = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)


def request_head(received: Fields) -> RequestHead:
    """Check a request's header fields (RFC 9113, 8.2 and 8.3).

    Raises:
        MalformedFields: The request must be refused.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: list[tuple[bytes, bytes]] = []
    for name, value in received:
        if name[:1] == b":":
            if fields or name in pseudo or name not in _PSEUDO:
                raise MalformedFields("pseudo-header field misplaced, repeated or unknown")
            pseudo[name] = value
        else:
            _check_field(name, value)
            fields.append((name, value))
        if _is_bad(value):
            raise MalformedFields("illegal character in a field value")
    _add_host(pseudo.get(b":authority"), fields)
    method, target = pseudo.get(b":method"), pseudo.get(b":path")
    if not method or not target or not pseudo.get(b":scheme"):
        raise MalformedFields("mandatory pseudo-header field missing")
    if not method.isalpha() or not target.isascii():
        raise MalformedFields("method or path is not plain text")
    raw_path, _, query = target.partition(b"?")
    path = unquote(raw_path.decode("ascii"))
    return RequestHead(method.decode("ascii"), path, raw_path, query, tuple(fields))


def check_trailers(received: Fields) -> None:
    """Check a request's trailer fields, which are then dropped.

    Raises:
        MalformedFields: The request must be refused.
    """
    for name, value in received:
        _check_field(name, value)
        if _is_bad(value):
            raise MalformedFields("illegal character in a field value")


def _is_bad(value: bytes) -> bool:
    """Whether a field value is illegal (RFC 9113, 8.2.1); a regex takes 50 times as long."""
    return (
        b"\n" in value
        or b"\r" in value
        or b"\0" in value
        or value[:1] in (b" ", b"\t")
        or value[-1:] in (b" ", b"\t")
    )


def _check_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise MalformedFields("illegal field name")
    if name in _HOP_BY_HOP or (name == b"te" and value.lower() != b"trailers"):
        raise MalformedFields("connection-specific field")


def _add_host(authority: bytes | None, fields: list[tuple[bytes, bytes]]) -> None:
    """Give the app a ``host`` field, as HTTP/1.1 has; two must agree."""
    hosts = [value for name, value in fields if name == b"host"]
    if not hosts:
        if authority is None:
            raise MalformedFields("no authority")
        fields.insert(0, (b"host", authority))
    elif len(hosts) > 1 or authority not in (None, hosts[0]):
        raise MalformedFields("two hosts")


_BAD_RESPONSE_FIELD = re.compile(rb"[\x00\r\n]")


def response_fields(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Fit an app's response fields to HTTP/2: lower case, none of HTTP/1.1's own.

    Raises:
        MalformedFields: A field would split the message downstream.
    """
    fitted = []
    for name, value in fields:
        name = name.lower()
        if name in _HOP_BY_HOP:
            continue
        if not _NAME.fullmatch(name) or _BAD_RESPONSE_FIELD.search(value):
            raise MalformedFields(f"illegal response field {name!r}")
        fitted.append((name, value))
    return fitted
