"""``podium account``."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from podium.chain.keyfile import MAX_FILE_BYTES, check_private_key, decrypt
from podium.chain.keystore import KeyFile, Keystore, find_key, read_key, read_password
from podium.cli.lazy import Failed
from podium.cli.options import config_option
from podium.cli.values import EthereumAddress
from podium.config.load import find_config, load_settings
from podium.crypto import checksum_address
from podium.errors import AccountError, ConfigInvalid

KEYSTORE = "keystore"
HEX_KEY_DIGITS = 64
STDIN = "-"

_keystore_option = click.option(
    "--keystore",
    type=click.Path(path_type=Path),
    help="Folder of key files, or one of them [default: account.keystore, else keystore in"
    " node.data_dir].",
)
_password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PODIUM_PASSWORD_FILE",
    help="File with the password [default: asks].",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.group()
def account() -> None:
    """Make and look at accounts: keys, encrypted with a password."""


@account.command()
@config_option
@_keystore_option
@_password_option
def create(config_path: Path | None, keystore: Path | None, password_file: Path | None) -> None:
    """Make a new account."""
    store = _folder(config_path, keystore)
    _tell_new(store.create(_new_password(password_file)))


@account.command(name="import")
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@config_option
@_keystore_option
@_password_option
@click.option(
    "--source-password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the password of SOURCE, if it is a key file [default: asks].",
)
def import_command(
    source: Path,
    config_path: Path | None,
    keystore: Path | None,
    password_file: Path | None,
    source_password_file: Path | None,
) -> None:
    """Take over a key.

    SOURCE is a key file of geth or go-livepeer, or a file with a private key of 64 hex digits; -
    reads one of these from standard input, or asks for the digits on a terminal.
    """
    store = _folder(config_path, keystore)
    key = _source_key(source, source_password_file)
    _tell_new(store.add(key, _new_password(password_file)))


@account.command(name="list")
@config_option
@_keystore_option
@_json_option
def list_command(config_path: Path | None, keystore: Path | None, as_json: bool) -> None:
    """List the accounts, oldest first."""
    path = _path(config_path, keystore)
    files = [find_key(path)] if path.is_file() else Keystore(path).accounts()
    if as_json:
        click.echo(json.dumps([_row(file) for file in files]))
    elif not files:
        click.echo(f"no accounts in {path}; podium account create makes one")
    else:
        for file in files:
            click.echo(f"{checksum_address(file.address)}  {file.path}")


@account.command()
@click.argument("address", type=EthereumAddress(), required=False)
@config_option
@_keystore_option
@_password_option
@click.option("--check", is_flag=True, help="Ask for the password and try it.")
@_json_option
def show(
    address: bytes | None,
    config_path: Path | None,
    keystore: Path | None,
    password_file: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Show one account: ADDRESS, or the only one; with a password, whether it is right."""
    path = _path(config_path, keystore)
    file = find_key(path, address)
    row: dict[str, Any] = _row(file)
    if check or password_file is not None:
        file.unlock(_password(password_file, f"Password of {checksum_address(file.address)}"))
        row["password"] = "right"
    if as_json:
        click.echo(json.dumps(row))
        return
    for name, value in row.items():
        click.echo(f"{name}: {value}")


def _row(file: KeyFile) -> dict[str, str]:
    return {"address": checksum_address(file.address), "file": str(file.path)}


def _tell_new(file: KeyFile) -> None:
    click.echo(f"account {checksum_address(file.address)} (key in {file.path})")
    click.echo(
        "keep a copy of this file and of its password: without both, what the account owns is lost",
        err=True,
    )
    click.echo(
        f'to use it, in podium.toml under [account]: keystore = "{file.path.parent}"', err=True
    )


def _path(config_path: Path | None, keystore: Path | None) -> Path:
    """Return the keystore: as given, as configured, or where the node's data is."""
    if keystore is not None:
        return keystore.expanduser()
    try:
        settings = load_settings(find_config(config_path))
    except ConfigInvalid as invalid:
        msg = "there is no usable configuration that says where the keystore is; give --keystore\n"
        raise ConfigInvalid([*invalid.problems, msg.strip()]) from invalid
    return settings.account.keystore or settings.node.data_dir / KEYSTORE


def _folder(config_path: Path | None, keystore: Path | None) -> Keystore:
    path = _path(config_path, keystore)
    if path.exists() and not path.is_dir():
        raise Failed(f"{path} is a file; new keys need a folder: give one with --keystore")
    return Keystore(path)


def _password(path: Path | None, prompt: str, *, confirm: bool = False) -> str:
    if path is not None:
        return read_password(path)
    return _ask(prompt, confirm=confirm)


def _new_password(path: Path | None) -> str:
    return _password(path, "Password for the key file", confirm=True)


def _ask(prompt: str, *, confirm: bool = False) -> str:
    """Ask on the terminal, without showing what is typed."""
    try:
        found: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm)
    except click.Abort:
        raise Failed("no password: give it on the terminal, or with --password-file") from None
    return found


def _source_key(source: Path, password_file: Path | None) -> bytes:
    """Return the private key of a source: a key file's, or as hex digits."""
    if str(source) != STDIN:
        text = _text(source)
        if text.startswith("{"):
            password = _password(password_file, f"Password of {source}")
            return read_key(source, password)
        return _hex_key(text, str(source))
    if sys.stdin.isatty():
        return _hex_key(_ask("Private key (64 hex digits)"), "what was typed")
    text = sys.stdin.read(MAX_FILE_BYTES).strip()
    if not text.startswith("{"):
        return _hex_key(text, "standard input")
    if password_file is None:
        raise Failed("a key file on standard input needs --source-password-file")
    return decrypt(text, read_password(password_file))


def _text(source: Path) -> str:
    try:
        with source.open(encoding="utf-8") as file:
            return file.read(MAX_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Failed(f"cannot read {source}: {reason}") from error


def _hex_key(text: str, where: str) -> bytes:
    """Read hex digits; the error never shows them."""
    digits = text.removeprefix("0x")
    if len(digits) == HEX_KEY_DIGITS:
        with contextlib.suppress(ValueError, AccountError):
            return check_private_key(bytes.fromhex(digits))
    raise AccountError(f"{where} holds neither a key file nor a private key of 64 hex digits")
