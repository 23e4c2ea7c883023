"""Reads safetensors files: a length, a JSON table, then raw arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from podium_runner_cpu.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LENGTH_BYTES = 8
MAX_TABLE_BYTES = 100_000_000
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read every array of a model, whether in one file or several.

    Raises:
        ModelUnavailable: there is no such file, or it is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelUnavailable(f"no safetensors in {folder}")
    weights: dict[str, NDArray[np.float32]] = {}
    for path in files:
        try:
            weights |= _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable(f"{path}: damaged: {error}") from error
    return weights


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    raw = np.memmap(path, np.uint8, "r")
    length = int.from_bytes(raw[:LENGTH_BYTES].tobytes(), "little")
    if length > min(MAX_TABLE_BYTES, raw.size - LENGTH_BYTES):
        raise ValueError("the table is longer than the file")
    table = json.loads(raw[LENGTH_BYTES : LENGTH_BYTES + length].tobytes())
    if not isinstance(table, dict):
        raise TypeError("the table is no object")
    data = raw[LENGTH_BYTES + length :]
    return {name: _array(data, entry) for name, entry in table.items() if name != "__metadata__"}


def _array(data: Any, entry: dict[str, Any]) -> NDArray[np.float32]:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= data.size:
        raise ValueError("an array lies outside of the file")
    kind = entry["dtype"]
    values = data[start:end].view(TYPES[kind])
    if kind == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(values.reshape(entry["shape"]), np.float32)
