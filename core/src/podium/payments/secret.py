"""The node's ticket secret, kept so that offers outlive a restart."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from podium.errors import StartupError
from podium.payments.params import SECRET_BYTES

SECRET_FILE = "ticket-secret"


def load_secret(directory: Path) -> bytes:
    """Return the 32-byte ticket secret of a data directory; made there on first use.

    The file is readable by its owner only, and complete or absent: it is written aside and
    linked into place, so two starts at once agree on one secret.

    Raises:
        StartupError: it cannot be read or made, or is not 32 bytes.
    """
    path = directory / SECRET_FILE
    try:
        if not path.exists():
            _create(path)
        secret = path.read_bytes()
    except OSError as error:
        msg = f"cannot read or make the ticket secret {path}: {error.strerror}"
        raise StartupError(msg) from error
    if len(secret) != SECRET_BYTES:
        msg = (
            f"the ticket secret {path} has {len(secret)} bytes, not {SECRET_BYTES}: restore it,"
            " or remove it to start with a new one (open offers are then lost)"
        )
        raise StartupError(msg)
    return secret


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            return  # another start was first; its secret counts
    finally:
        aside.unlink()
