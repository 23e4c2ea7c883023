"""Functions and events of contracts, declared by their signatures, encoded and decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from podium.crypto import keccak256
from podium.errors import ChainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium.chain.values import Log

Types = tuple[str, ...]


def _split(types: str) -> Types:
    """Split a list of types at the commas that are not inside a tuple."""
    found, depth, start = [], 0, 0
    for index, character in enumerate(types):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            found.append(types[start:index].strip())
            start = index + 1
    found.append(types[start:].strip())
    return tuple(name for name in found if name)


def _decode(types: Types, data: bytes) -> tuple[Any, ...]:
    """Decode arguments; addresses come as 20 bytes.

    Raises:
        ChainError: the data does not have these types: another contract answered.
    """
    try:
        values = decode(types, data)
    except (DecodingError, ValueError, OverflowError) as error:
        msg = f"the contract answered something else than {','.join(types)}: {error}"
        raise ChainError(msg) from error
    return _plain(types, values)


def _plain(types: Types, values: Sequence[Any]) -> tuple[Any, ...]:
    """Turn addresses, which are texts for eth_abi, into bytes; inside tuples and arrays too."""
    return tuple(_plain_one(kind, value) for kind, value in zip(types, values, strict=True))


def _plain_one(kind: str, value: Any) -> Any:
    if kind == "address":
        return bytes.fromhex(value[2:])
    if kind.endswith("[]"):
        return _plain((kind[:-2],) * len(value), value)
    if kind.startswith("("):
        return _plain(_split(kind[1:-1]), value)
    return value


@frozen
class Function:
    """A contract's function.

    Attributes:
        signature: ``bond(uint256,address)``, types only.
        returns: Types of what it returns, separated by commas.
    """

    signature: str
    returns: str = ""
    selector: bytes = field(init=False)
    inputs: Types = field(init=False, repr=False)
    outputs: Types = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        name, _, types = self.signature.partition("(")
        object.__setattr__(self, "selector", keccak256(self.signature.encode())[:4])
        object.__setattr__(self, "inputs", _split(types.removesuffix(")")))
        object.__setattr__(self, "outputs", _split(self.returns))
        assert name

    @property
    def name(self) -> str:
        """Without its types."""
        return self.signature.partition("(")[0]

    def encode(self, *arguments: Any) -> bytes:
        """Return call data; addresses as 20 bytes."""
        return self.selector + encode(self.inputs, arguments)

    def decode(self, data: bytes) -> Any:
        """Return what a call returned: a value where there is one, else a tuple of them.

        Raises:
            ChainError: the data does not have these types.
        """
        values = _decode(self.outputs, data)
        return values[0] if len(values) == 1 else values

    def decode_input(self, data: bytes) -> tuple[Any, ...]:
        """Return the arguments of call data.

        Raises:
            ChainError: it calls another function.
        """
        if data[:4] != self.selector:
            msg = f"not a call of {self.name}"
            raise ChainError(msg)
        return _decode(self.inputs, data[4:])


@frozen
class Event:
    """A contract's event.

    Attributes:
        signature: ``NewRound(uint256,bytes32)``, types only.
        names: The arguments' names, those that are indexed first marked by ``*``.
    """

    signature: str
    names: str
    topic: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "topic", keccak256(self.signature.encode()))

    def matches(self, log: Log) -> bool:
        """Return whether a log is one of this event."""
        return bool(log.topics) and log.topics[0] == self.topic

    def decode(self, log: Log) -> dict[str, Any]:
        """Return a log's arguments by name.

        Raises:
            ChainError: the log is of another event.
        """
        types = _split(self.signature.partition("(")[2].removesuffix(")"))
        names = self.names.split()
        indexed = [i for i, name in enumerate(names) if name.startswith("*")]
        plain = [i for i in range(len(types)) if i not in indexed]
        if not self.matches(log) or len(log.topics) != 1 + len(indexed):
            msg = f"not a log of {self.signature}"
            raise ChainError(msg)
        topics: Sequence[bytes] = log.topics[1:]
        found: dict[str, Any] = {}
        for place, topic in zip(indexed, topics, strict=True):
            found[names[place][1:]] = _decode((types[place],), topic)[0]
        values = _decode(tuple(types[i] for i in plain), log.data)
        found |= {names[i]: value for i, value in zip(plain, values, strict=True)}
        return found
