"""What outlives a restart: the executors that registered, in a file of the plugin's own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from podium_hookspecs import BadInput

from podium_byoc.executor import as_json, registered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podium_byoc.executor import Executor

FILE = "executors.json"
VERSION = 1


def save(folder: Path, executors: Sequence[Executor]) -> None:
    """Write the file anew: it is whole at every moment, and its owner's only (tokens are in it)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {"version": VERSION, "executors": [as_json(executor) for executor in executors]}
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{FILE}-")  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(folder / FILE)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(folder: Path) -> list[Executor]:
    """Return the executors that were kept; none where there is no file.

    Raises:
        BadInput: the file is not one of ours; it says why.
        OSError: it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_bytes())
        entries = document["executors"] if document["version"] == VERSION else None
        if not isinstance(entries, list):
            raise BadInput(f"{path} is of another version")
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {error!r}") from error
    return [registered(json.dumps(entry).encode()) for entry in entries]
