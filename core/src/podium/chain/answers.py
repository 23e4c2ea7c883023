"""What a JSON-RPC error means. The one place where a message's text decides anything.

JSON-RPC gives clients a code and a text, and nodes do not agree on codes: geth and nitro answer
-32000 for almost everything. So the texts of geth, nitro, erigon, Anvil and the hosted services
are told apart here, and turned into types.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen

from podium.errors import ChainError, Reverted, RpcError

_ERROR_STRING = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_REASON_CHARACTERS = 500

RANGE = "range"
"""``RpcError.kind`` of logs asked for over too many blocks: ask for fewer."""

ARBITRUM = frozenset({42161, 42170, 421611, 421614})
"""Chains whose contracts count L1 blocks: a block that does not tell its own is of no use."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]+")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_SHAPES = {
    "eth_call": _DATA,
    "eth_getCode": _DATA,
    "eth_gasPrice": _QUANTITY,
    "eth_getBalance": _QUANTITY,
    "eth_estimateGas": _QUANTITY,
    "eth_blockNumber": _QUANTITY,
    "eth_getTransactionCount": _QUANTITY,
    "eth_maxPriorityFeePerGas": _QUANTITY,
}

_NO_SUCH_METHOD = -32601
_INVALID = {-32600, -32602}
_LIMITED = {429, -32005, -32029, -32097}

_RATE_LIMITED = re.compile(
    r"rate.?limit|too many requests|request limit|compute units|capacity|throttl|quota", re.I
)
_LAGGING = re.compile(
    r"header not found|unknown block|block not found|unsupported block number"
    r"|missing trie node|blockoutofrange|block height is \d+ but|beyond current head"
    r"|could not find block|block.{0,60}cannot be found|state .{0,80}not available"
    r"|header for hash not found|after last accepted|not (yet )?(available|indexed|synced)",
    re.I,
)
_TOO_MANY = re.compile(
    r"query returned more than|more than \d+ (results|logs)|too many (results|logs)"
    r"|exceeds? (the )?(limit|max(imum)? results?|max(imum)? block range)|block range|range.{0,12}"
    r"(too )?(large|wide|big)|response size|query timeout|limited to (a )?[\d,]+ (block|range)",
    re.I,
)
_KINDS = (
    ("nonce_too_low", re.compile(r"nonce.{0,12}too low|old nonce|nonce has already been", re.I)),
    ("nonce_too_high", re.compile(r"nonce.{0,12}too high|nonce gap", re.I)),
    (
        "already_known",
        re.compile(r"already known|\bknown transaction|already imported|already exists", re.I),
    ),
    (
        "underpriced",
        re.compile(
            r"underpriced|fee (per gas|cap) (is )?less than block base fee|fee too low"
            r"|gas price (is )?too low|tip.{0,10}too low|below (the )?base fee",
            re.I,
        ),
    ),
    ("funds", re.compile(r"insufficient (funds|balance)|gas required exceeds allowance", re.I)),
)
_REVERTED = re.compile(r"(?:vm exception|vm execution error|execution reverted|reverted)", re.I)
_FAILED_OPCODE = re.compile(r"invalid opcode|InvalidFEOpcode|invalid jump", re.I)
_REASON = re.compile(
    r"(?:execution reverted|reverted with reason string|revert(?:ed)?)"
    r"(?:\s*:\s*|\s+)(?:revert(?:ed)?:\s*)?['\"]?(.*?)['\"]?$",
    re.I | re.S,
)
_PANIC_TEXT = re.compile(r"panic.*?\(?(0x[0-9a-f]+)\)?", re.I | re.S)


class EndpointFault(ChainError):
    """An endpoint did not do its part; another may.

    Attributes:
        retry_after_s: How long it asked to be left alone.
        unclear: It may have done what it was asked for, and only its answer was lost.
    """

    code = "endpoint"

    def __init__(self, reason: str, retry_after_s: float = 0.0, *, unclear: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.unclear = unclear


class EndpointLags(EndpointFault):
    """An endpoint does not have a block that the chain has."""

    code = "endpoint_lags"


@frozen
class Refusal:
    """The ``error`` object of a JSON-RPC answer."""

    number: int
    message: str
    data: Any = None

    @classmethod
    def parse(cls, error: Any) -> Refusal:
        """Read an ``error`` object, whatever its shape."""
        if not isinstance(error, dict):
            return cls(0, str(error)[:_REASON_CHARACTERS])
        number, message = error.get("code"), error.get("message")
        return cls(
            number if isinstance(number, int) else 0,
            message if isinstance(message, str) else "error without a message",
            error.get("data"),
        )

    def to_error(self) -> ChainError:
        """Return the error that this is to us."""
        if _FAILED_OPCODE.search(self.message):
            return Reverted("invalid opcode")
        if self.number == 3 or _REVERTED.search(self.message):
            return Reverted(self._reason())
        if self.number == _NO_SUCH_METHOD:
            return RpcError(self.message, self.number)
        if _LAGGING.search(self.message):
            return EndpointLags(self.message)
        for kind, texts in _KINDS:
            if texts.search(self.message):
                return RpcError(self.message, self.number, kind)
        if _RATE_LIMITED.search(self.message):
            return EndpointFault(f"limits our requests: {self.message}")
        if _TOO_MANY.search(self.message):
            return RpcError(self.message, self.number, RANGE)
        if self.number in _LIMITED:
            return EndpointFault(f"limits our requests: {self.message}")
        return RpcError(self.message, self.number)

    def _reason(self) -> str:
        decoded = decode_revert(_revert_data(self.data))
        if decoded is not None:
            return decoded
        found = _REASON.search(self.message)
        text = found.group(1).strip() if found else ""
        panic = _PANIC_TEXT.fullmatch(text)
        if panic:
            return f"Panic {hex(int(panic.group(1), 16))}"
        return "" if text in {"0x", "no data"} else text[:_REASON_CHARACTERS]


def require_sense(method: str, result: Any, chain_id: int | None) -> None:
    """Refuse a result that cannot be one, so that another endpoint is asked.

    Raises:
        EndpointFault: it is none.
    """
    shape = _SHAPES.get(method)
    if shape is not None and not (isinstance(result, str) and shape.fullmatch(result)):
        msg = f"answers {str(result)[:40]!r} to {method}"
        raise EndpointFault(msg)
    is_block = method in {"eth_getBlockByNumber", "eth_getBlockByHash"} and isinstance(result, dict)
    if is_block and chain_id in ARBITRUM and not result.get("l1BlockNumber"):
        msg = "leaves the l1BlockNumber out of its blocks"
        raise EndpointFault(msg)


def is_final(error: RpcError) -> bool:
    """Return whether every endpoint would answer the same, so that none needs to be asked."""
    return error.kind != "unknown" or error.number in _INVALID


def decode_revert(data: bytes) -> str | None:
    """Return the reason in a revert's data, None where there is none that can be read."""
    selector, body = data[:4], data[4:]
    if selector == _ERROR_STRING and len(body) >= 64:
        start, length = int.from_bytes(body[:32], "big"), 0
        if start + 32 <= len(body):
            length = int.from_bytes(body[start : start + 32], "big")
        text = body[start + 32 : start + 32 + length]
        return text.decode("utf-8", "replace")[:_REASON_CHARACTERS]
    if selector == _PANIC and len(body) >= 32:
        return f"Panic {hex(int.from_bytes(body[:32], 'big'))}"
    if len(selector) == 4:
        return f"custom error 0x{selector.hex()}"
    return None


def _revert_data(data: Any) -> bytes:
    """Return the bytes of an error's ``data``: a hex text, or one inside an object."""
    if isinstance(data, dict):
        data = data.get("data", data.get("result"))
    if not isinstance(data, str):
        return b""
    digits = data.removeprefix("Reverted ").removeprefix("0x")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""
