"""Compiled contracts: read, linked, with their constructors' arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.devnet.errors import DevnetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@frozen
class Artifact:
    """A compiled contract.

    Attributes:
        name: The contract's name.
        bytecode: Creation code as hex, with placeholders where libraries are linked.
        links: Library name to the byte offsets of its address.
        constructor: Types of the constructor's arguments.
    """

    name: str
    bytecode: str
    links: Mapping[str, tuple[int, ...]]
    constructor: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path, name: str) -> Artifact:
        """Read a contract's artifact.

        Raises:
            DevnetError: it is not there, or not readable.
        """
        path = folder / f"{name}.json"
        try:
            return cls._parse(name, json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            msg = f"cannot read the contract {name}: {error}; remove {folder.parent} and try again"
            raise DevnetError(msg) from error

    @classmethod
    def _parse(cls, name: str, raw: dict[str, Any]) -> Artifact:
        links = {
            library: tuple(place["start"] for place in places)
            for libraries in raw["linkReferences"].values()
            for library, places in libraries.items()
        }
        makers = [item for item in raw["abi"] if item["type"] == "constructor"]
        types = tuple(arg["type"] for arg in makers[0]["inputs"]) if makers else ()
        return cls(name, raw["bytecode"].removeprefix("0x"), links, types)

    def creation_code(self, *arguments: Any, libraries: Mapping[str, bytes] | None = None) -> bytes:
        """Return the code that makes the contract."""
        from eth_abi.abi import encode

        code = self.bytecode
        for library, offsets in self.links.items():
            address = (libraries or {})[library].hex()
            for offset in offsets:
                code = code[: 2 * offset] + address + code[2 * offset + len(address) :]
        return bytes.fromhex(code) + encode(self.constructor, arguments)


def wrap_runtime(code: bytes) -> bytes:
    """Return creation code that leaves exactly this code as the contract.

    It copies what follows its own ten bytes, and returns it.
    """
    size = len(code).to_bytes(2, "big")
    return b"\x61" + size + b"\x80\x60\x0a\x5f\x39\x5f\xf3" + code
