"""``podium account``: keys are made only when that is asked for, and errors say what to do."""

import json
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner
from podium.chain import keyfile
from podium.chain.keystore import Keystore
from podium.cli import cli
from podium.crypto import KeySigner, checksum_address

KEY = bytes(range(1, 33))
ADDRESS = checksum_address(KeySigner(KEY).address)
PASSWORD = "correct horse"


@pytest.fixture
def podium(tmp_path, monkeypatch):
    """Run a command in an empty folder with an empty home; its new key files open fast."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PODIUM_CONFIG", raising=False)
    monkeypatch.delenv("PODIUM_PASSWORD_FILE", raising=False)
    monkeypatch.setattr("podium.cli.account.Keystore", lambda folder: Keystore(folder, scrypt_n=2))

    def run(*args, say=None):
        return CliRunner().invoke(cli, ["account", *map(str, args)], input=say)

    return run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return path


def only(folder):
    (found,) = Keystore(folder).accounts()
    return found


def test_create_asks_twice(podium, folder):
    result = podium("create", "--keystore", folder, say=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    made = only(folder)
    assert f"account {checksum_address(made.address)} (key in {made.path})" in result.output
    assert "keep a copy" in result.output
    assert PASSWORD not in result.output
    assert made.signer(PASSWORD).address == made.address
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600


def test_a_mistyped_password_is_asked_again(podium, folder):
    say = f"{PASSWORD}\nother\n{PASSWORD}\n{PASSWORD}\n"
    assert podium("create", "--keystore", folder, say=say).exit_code == 0
    only(folder).unlock(PASSWORD)


def test_without_a_password_nothing_is_made(podium, folder):
    result = podium("create", "--keystore", folder, say="")
    assert result.exit_code == 1
    assert "podium: no password: give it on the terminal, or with --password-file" in result.output
    assert not folder.exists()


@pytest.mark.parametrize("as_variable", [False, True])
def test_create_with_a_password_file(podium, folder, password_file, monkeypatch, as_variable):
    if as_variable:
        monkeypatch.setenv("PODIUM_PASSWORD_FILE", str(password_file))
        result = podium("create", "--keystore", folder)
    else:
        result = podium("create", "--keystore", folder, "--password-file", password_file)
    assert result.exit_code == 0, result.output
    only(folder).unlock(PASSWORD)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_password_file_that_is_none(podium, folder, tmp_path, content):
    path = tmp_path / "none"
    if content is not None:
        path.write_text(content)
    result = podium("create", "--keystore", folder, "--password-file", path)
    assert result.exit_code == 1
    assert result.output.startswith("podium: ")
    assert str(path) in result.output
    assert not folder.exists()


def test_the_keystore_is_where_the_node_s_data_is(podium, tmp_path, password_file):
    (tmp_path / "podium.toml").write_text('version = 1\nnode.data_dir = "data"\n')
    result = podium("create", "--password-file", password_file)
    assert result.exit_code == 0, result.output
    made = next(tmp_path.rglob("UTC--*"))
    assert made.parent.name == "keystore"
    assert made.parent.parent.name == "data"
    assert podium("list").output == f"{checksum_address(only(made.parent).address)}  {made}\n"


def test_without_a_configuration_the_keystore_has_to_be_named(podium):
    result = podium("list")
    assert result.exit_code == 2
    assert "--keystore" in result.output


def test_import_of_hex_digits(podium, folder, password_file, tmp_path):
    source = tmp_path / "account.key"
    source.write_text(f"0x{KEY.hex()}\n")
    result = podium("import", source, "--keystore", folder, "--password-file", password_file)
    assert result.exit_code == 0, result.output
    assert f"account {ADDRESS} " in result.output
    assert only(folder).unlock(PASSWORD) == KEY
    again = podium("import", source, "--keystore", folder, "--password-file", password_file)
    assert again.exit_code == 1
    assert f"{ADDRESS} is here already" in again.output


def test_import_of_a_key_file_with_a_new_password(podium, folder, password_file, tmp_path):
    source = tmp_path / "UTC--old"
    source.write_text(json.dumps(keyfile.encrypt(KEY, "old", scrypt_n=2)))
    result = podium(
        "import", source, "--keystore", folder, "--password-file", password_file, say="old\n"
    )
    assert result.exit_code == 0, result.output
    assert only(folder).unlock(PASSWORD) == KEY


def test_import_with_a_wrong_password(podium, folder, password_file, tmp_path):
    source = tmp_path / "UTC--old"
    source.write_text(json.dumps(keyfile.encrypt(KEY, "old", scrypt_n=2)))
    options = ("--password-file", password_file, "--source-password-file", password_file)
    result = podium("import", source, "--keystore", folder, *options)
    assert result.exit_code == 1
    assert result.output == f"podium: {source}: wrong password\n"
    assert not folder.exists()


def test_import_from_standard_input(podium, folder, password_file):
    options = ("--keystore", folder, "--password-file", password_file)
    assert podium("import", "-", *options, say=KEY.hex()).exit_code == 0
    assert only(folder).unlock(PASSWORD) == KEY


def test_a_key_file_on_standard_input(podium, folder, password_file):
    text = json.dumps(keyfile.encrypt(KEY, PASSWORD, scrypt_n=2))
    options = ("--keystore", folder, "--password-file", password_file)
    result = podium("import", "-", *options, say=text)
    assert result.exit_code == 1
    assert "needs --source-password-file" in result.output
    options = (*options, "--source-password-file", password_file)
    assert podium("import", "-", *options, say=text).exit_code == 0
    assert only(folder).unlock(PASSWORD) == KEY


@pytest.mark.parametrize("text", ["", "secretsecret", "zz" * 32, "00" * 32, f"{KEY.hex()}00"])
def test_import_of_something_else_shows_nothing_of_it(podium, folder, password_file, text):
    options = ("--keystore", folder, "--password-file", password_file)
    result = podium("import", "-", *options, say=text)
    assert result.exit_code == 1
    assert "neither a key file nor a private key of 64 hex digits" in result.output
    assert not text or text not in result.output
    assert not folder.exists()


def test_import_of_a_missing_file(podium, folder, tmp_path):
    result = podium("import", tmp_path / "none", "--keystore", folder)
    assert result.exit_code == 1
    assert result.output == f"podium: cannot read {tmp_path / 'none'}: No such file or directory\n"


def test_list_and_show(podium, folder):
    assert "no accounts in" in podium("list", "--keystore", folder).output
    store = Keystore(folder, scrypt_n=2)
    first, second = store.add(KEY, PASSWORD), store.create(PASSWORD)
    rows = json.loads(podium("list", "--keystore", folder, "--json").output)
    assert [row["address"] for row in rows] == [ADDRESS, checksum_address(second.address)]
    several = podium("show", "--keystore", folder)
    assert several.exit_code == 1
    assert "several accounts" in several.output
    shown = podium("show", ADDRESS, "--keystore", folder)
    assert shown.output == f"address: {ADDRESS}\nfile: {first.path}\n"
    by_file = podium("show", "--keystore", first.path, "--json")
    assert json.loads(by_file.output) == {"address": ADDRESS, "file": str(first.path)}
    assert podium("list", "--keystore", first.path).output == f"{ADDRESS}  {first.path}\n"


def test_show_tries_a_password(podium, folder, password_file):
    Keystore(folder, scrypt_n=2).add(KEY, PASSWORD)
    shown = podium("show", "--keystore", folder, "--password-file", password_file)
    assert shown.output.endswith("password: right\n")
    wrong = podium("show", "--keystore", folder, "--check", say="wrong\n")
    assert wrong.exit_code == 1
    assert "wrong password" in wrong.output


def test_a_typo_makes_no_key(podium, folder):
    Keystore(folder, scrypt_n=2).add(KEY, PASSWORD)
    result = podium("show", "0x" + "11" * 20, "--keystore", folder)
    assert result.exit_code == 1
    assert f"there is no account 0x{'11' * 20} in {folder}, only {ADDRESS}" in result.output
    assert len(list(folder.iterdir())) == 1


def test_new_keys_need_a_folder(podium, folder, password_file):
    made = Keystore(folder, scrypt_n=2).add(KEY, PASSWORD)
    result = podium("create", "--keystore", made.path, "--password-file", password_file)
    assert result.exit_code == 1
    assert "new keys need a folder" in result.output


def test_accounts_need_no_web3():
    script = (
        "import sys; import podium.cli.account\n"
        "print(sorted({'web3', 'eth_account', 'eth_abi', 'uvicorn'} & set(sys.modules)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"
