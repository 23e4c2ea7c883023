"""The record of a devnet that runs on its own, and how it is ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from podium.crypto import checksum_address
from podium.devnet.errors import DevnetError
from podium.devnet.install import locked
from podium.devnet.network import Devnet
from podium.devnet.options import CHAIN_ID
from podium.devnet.start import attach_devnet, start_devnet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium.devnet.options import DevnetOptions

RECORD = "devnet.json"
LOCK = "devnet.lock"
STOP_TIMEOUT_S = 5.0
POLL_S = 0.02
PS_TIMEOUT_S = 5.0


@frozen
class Record:
    """A devnet that runs.

    Attributes:
        pid: Of Anvil.
        rpc_url: Where it answers.
        addresses: The contracts' 20-byte addresses by name.
    """

    pid: int
    rpc_url: str
    addresses: Mapping[str, bytes]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the devnet that a folder's record names, if it runs."""
        try:
            raw: dict[str, Any] = json.loads((folder / RECORD).read_text("utf-8"))
            addresses = {name: bytes.fromhex(text[2:]) for name, text in raw["contracts"].items()}
            found = cls(int(raw["pid"]), str(raw["rpc_url"]), addresses)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if is_anvil(found.pid) else None

    @classmethod
    def require(cls, folder: Path) -> Self:
        """Return the devnet that runs.

        Raises:
            DevnetError: none does.
        """
        found = cls.read(folder)
        if found is None:
            msg = f"no devnet runs for {folder}: podium devnet up"
            raise DevnetError(msg)
        return found

    def attach(self) -> Devnet:
        """Return it for use."""
        return attach_devnet(self.rpc_url, self.addresses)

    def end(self) -> None:
        """End it: this process and no other."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            if not is_anvil(self.pid):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, signal_number)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while is_anvil(self.pid) and time.monotonic() < deadline:
                time.sleep(POLL_S)


def up(folder: Path, options: DevnetOptions) -> Devnet:
    """Start a devnet and record it in a folder.

    Raises:
        DevnetError: one runs there already, or it cannot be started.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK):
            return _up(folder, options)
    except OSError as error:
        msg = f"cannot keep the devnet's record in {folder}: {error}"
        raise DevnetError(msg) from error


def _up(folder: Path, options: DevnetOptions) -> Devnet:
    running = Record.read(folder)
    if running is not None:
        msg = f"a devnet runs already at {running.rpc_url} (pid {running.pid}): podium devnet down"
        raise DevnetError(msg)
    devnet = start_devnet(options)
    try:
        text = json.dumps(describe(devnet), indent=2)
        made = folder / f"{RECORD}.new"
        made.write_text(text + "\n", "utf-8")
        made.replace(folder / RECORD)
    except BaseException:
        devnet.close()
        raise
    return devnet


def down(folder: Path) -> Record | None:
    """End the devnet that a folder's record names; None if none ran."""
    running = Record.read(folder)
    if running is not None:
        running.end()
    forget(folder)
    return running


def forget(folder: Path) -> None:
    """Remove a folder's record."""
    (folder / RECORD).unlink(missing_ok=True)


def describe(devnet: Devnet) -> dict[str, Any]:
    """Return what others need to use a devnet, as JSON can hold it; the keys are throwaway."""
    return {
        "pid": devnet.process.pid if devnet.process else None,
        "rpc_url": devnet.rpc_url,
        "chain_id": CHAIN_ID,
        "controller": checksum_address(devnet.controller),
        "contracts": {name: checksum_address(at) for name, at in devnet.addresses.items()},
        "accounts": {
            name: {"address": account.text, "private_key": "0x" + account.key.hex()}
            for name, account in devnet.accounts.items()
        },
    }


def is_anvil(pid: int) -> bool:
    """Return whether a process runs Anvil: an id may have gone to another one since."""
    if Path("/proc/self").exists():
        try:
            name = Path(f"/proc/{pid}/exe").readlink().name
        except OSError:
            return False
        return name.removesuffix(" (deleted)") == "anvil"
    try:
        found = subprocess.run(
            ["ps", "-o", "comm=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return Path(found.stdout.strip()).name == "anvil"
