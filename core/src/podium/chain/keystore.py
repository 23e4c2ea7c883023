"""Folders of key files, as geth has them. A key is only ever made by ``create`` and ``add``."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.chain import keyfile
from podium.chain.keyfile import MAX_FILE_BYTES, SCRYPT_N, address_of, check_private_key
from podium.chain.signer import LocalSigner
from podium.crypto import KeySigner, checksum_address
from podium.errors import AccountError

if TYPE_CHECKING:
    from pathlib import Path

CREATE_HINT = "podium account create makes one"


@frozen
class KeyFile:
    """An encrypted key on disk.

    Attributes:
        address: 20 bytes.
        path: The file.
    """

    address: bytes
    path: Path

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """Read which account a file is of, without its password.

        Raises:
            AccountError: it is no key file, or does not say.
        """
        content = _content(path)
        address = address_of(content)
        if address is None:
            msg = f"{path} does not say which account it is of"
            raise AccountError(msg)
        return cls(address, path)

    def unlock(self, password: str) -> bytes:
        """Return the private key. It takes about a second of one processor.

        Raises:
            AccountError: the password is wrong, or the file damaged.
        """
        return read_key(self.path, password)

    def signer(self, password: str) -> LocalSigner:
        """Return the account's signer; see :meth:`unlock`."""
        return LocalSigner(self.unlock(password))


@frozen
class Keystore:
    """A folder of key files.

    Attributes:
        folder: Where; made when the first key is.
        scrypt_n: Cost of opening the files made here.
    """

    folder: Path
    scrypt_n: int = SCRYPT_N

    def accounts(self) -> list[KeyFile]:
        """Return the key files, oldest first; other files do not matter.

        Raises:
            AccountError: the folder cannot be read.
        """
        found = []
        for path in self._paths():
            with contextlib.suppress(AccountError):
                found.append(KeyFile.read(path))
        return found

    def find(self, address: bytes | None = None) -> KeyFile:
        """Return an account's file, or the only one there is.

        Raises:
            AccountError: there is none, or it is not clear which; the text names those there are.
        """
        files = self.accounts()
        if not files:
            msg = f"there is no account in {self.folder}: {CREATE_HINT}"
            raise AccountError(msg)
        matching = [file for file in files if address in (None, file.address)]
        if not matching and address is not None:
            msg = f"there is no account {checksum_address(address)} in {self.folder}, only "
            raise AccountError(msg + _names(files))
        if len({file.address for file in matching}) > 1:
            msg = f"there are several accounts in {self.folder}: say which of {_names(files)}"
            raise AccountError(msg)
        if len(matching) > 1:
            paths = ", ".join(file.path.name for file in matching)
            msg = f"{checksum_address(matching[0].address)} has several key files: name one, or "
            raise AccountError(f"{msg}remove the others: {paths}")
        return matching[0]

    def create(self, password: str) -> KeyFile:
        """Make an account.

        Raises:
            AccountError: the password is empty, or the file cannot be written.
        """
        while True:
            with contextlib.suppress(AccountError):  # 1 in 2^128 is beyond the curve's order
                key = check_private_key(secrets.token_bytes(keyfile.KEY_BYTES))
                break
        return self.add(key, password)

    def add(self, private_key: bytes, password: str) -> KeyFile:
        """Keep a private key that exists already.

        Raises:
            AccountError: it is no key, it is here already, the password is empty, or the file
                cannot be written.
        """
        if not password:
            raise AccountError("the password must not be empty")
        address = KeySigner(check_private_key(private_key)).address
        present = [file for file in self.accounts() if file.address == address]
        if present:
            msg = f"{checksum_address(address)} is here already: {present[0].path}"
            raise AccountError(msg)
        content = keyfile.encrypt(private_key, password, scrypt_n=self.scrypt_n)
        path = self.folder / file_name(address, time.time_ns())
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, json.dumps(content))
        except OSError as error:
            msg = f"cannot write {path}: {error.strerror}"
            raise AccountError(msg) from error
        return KeyFile(address, path)

    def _paths(self) -> list[Path]:
        try:
            if not self.folder.exists():
                return []
            paths = sorted(self.folder.iterdir())
        except OSError as error:
            msg = f"cannot read {self.folder}: {error.strerror}"
            raise AccountError(msg) from error
        return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def find_key(path: Path, address: bytes | None = None) -> KeyFile:
    """Return a key file: the one that a path names, or one of the folder that it names.

    Args:
        path: A key file, or a folder of them.
        address: 20 bytes, whose key it must be; None: the only one there is.

    Raises:
        AccountError: there is no such key; the text names those there are.
    """
    if not path.exists():
        msg = f"{path} does not exist: {CREATE_HINT}"
        raise AccountError(msg)
    if path.is_dir():
        return Keystore(path).find(address)
    found = KeyFile.read(path)
    if address not in (None, found.address):
        assert address is not None
        msg = f"{path} is the key of {checksum_address(found.address)}, not of "
        raise AccountError(msg + checksum_address(address))
    return found


def read_key(path: Path, password: str) -> bytes:
    """Return the private key in a key file, whether the file names its account or not.

    Raises:
        AccountError: it is no key file, or the password is wrong.
    """
    try:
        return keyfile.decrypt(_read(path), password)
    except AccountError as error:
        msg = f"{path}: {error}"
        raise AccountError(msg) from error


def read_password(path: Path) -> str:
    """Return the password in a file, without the white space around it.

    Raises:
        AccountError: it cannot be read, or is empty.
    """
    try:
        password = _read(path).decode().strip()
    except UnicodeDecodeError as error:
        msg = f"the password in {path} is no text"
        raise AccountError(msg) from error
    if not password:
        msg = f"the password in {path} is empty"
        raise AccountError(msg)
    return password


def file_name(address: bytes, time_ns: int) -> str:
    """Return the name that geth would give a key file."""
    seconds, rest = divmod(time_ns, 10**9)
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(seconds))
    return f"UTC--{stamp}.{rest:09d}Z--{address.hex()}"


def _content(path: Path) -> dict[str, Any]:
    try:
        return keyfile.parse(_read(path))
    except AccountError as error:
        msg = f"{path}: {error}"
        raise AccountError(msg) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise AccountError(msg) from error
    if len(data) > MAX_FILE_BYTES:
        msg = f"{path} is too large for a key or a password"
        raise AccountError(msg)
    return data


def _write(path: Path, text: str) -> None:
    """Write a file that is whole or not there, and that nobody else can read."""
    work = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        work.rename(path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _names(files: list[KeyFile]) -> str:
    return ", ".join(dict.fromkeys(checksum_address(file.address) for file in files))
