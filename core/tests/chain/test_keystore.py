"""Key files: those of geth and eth_account open, ours open there, and hostile ones are refused."""

import calendar
import json
import stat
import time
import warnings

import pytest
from eth_account import Account
from eth_keyfile import create_keyfile_json
from podium.chain import keyfile
from podium.chain.keystore import (
    KeyFile,
    Keystore,
    file_name,
    find_key,
    read_key,
    read_password,
)
from podium.chain.signer import LocalSigner
from podium.crypto import KeySigner, checksum_address
from podium.errors import AccountError

KEY = bytes(range(1, 33))
ADDRESS = KeySigner(KEY).address
PASSWORD = "correct horse"

SCRYPT_VECTOR = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "r": 1,
            "p": 8,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
PBKDF2_VECTOR = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
VECTOR_KEY = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
"""Of the format's own description, with the password "testpassword"."""


@pytest.fixture
def store(tmp_path):
    return Keystore(tmp_path / "keystore", scrypt_n=2)


def theirs(key=KEY, password=PASSWORD, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Account.encrypt(key, password, **options)


def altered(**changes):
    """A good file with its encrypted part changed."""
    content = keyfile.encrypt(KEY, PASSWORD, scrypt_n=2)
    parameters = changes.pop("kdfparams", {})
    content["crypto"]["kdfparams"] |= parameters
    content["crypto"] |= changes
    return json.dumps(content)


# ---------------------------------------------------------------- the format


@pytest.mark.parametrize("vector", [SCRYPT_VECTOR, PBKDF2_VECTOR], ids=["scrypt", "pbkdf2"])
def test_the_format_s_own_vectors(vector):
    assert keyfile.decrypt(json.dumps(vector), "testpassword") == VECTOR_KEY


@pytest.mark.parametrize(
    "options", [{"kdf": "scrypt", "iterations": 4096}, {"kdf": "pbkdf2", "iterations": 1000}]
)
def test_files_of_eth_account_open(options):
    content = theirs(**options)
    assert keyfile.decrypt(json.dumps(content), PASSWORD) == KEY
    content["Crypto"] = content.pop("crypto")  # as old versions of geth have it
    content["address"] = "0x" + content["address"].removeprefix("0x")
    assert keyfile.decrypt(json.dumps(content), PASSWORD) == KEY


def test_ours_open_in_eth_account_and_cost_a_thief_what_geth_s_do():
    content = keyfile.encrypt(KEY, PASSWORD)
    parameters = content["crypto"]["kdfparams"]
    assert (parameters["n"], parameters["r"], parameters["p"]) == (262144, 8, 1)
    assert bytes(Account.decrypt(content, PASSWORD)) == KEY
    assert content["address"] == ADDRESS.hex()
    assert KEY.hex() not in json.dumps(content)


def test_a_password_may_have_any_characters(monkeypatch):
    password = "páss 🔑 word"
    content = theirs(password=password, kdf="pbkdf2", iterations=10)
    assert keyfile.decrypt(json.dumps(content), password) == KEY
    monkeypatch.setattr("eth_keyfile.keyfile.SCRYPT_R", 1)  # as it had them once
    monkeypatch.setattr("eth_keyfile.keyfile.SCRYPT_P", 8)
    content = create_keyfile_json(KEY, password.encode(), kdf="scrypt", iterations=2**16)
    assert content["crypto"]["kdfparams"]["r"] == 1
    assert keyfile.decrypt(json.dumps(content), password) == KEY


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no encrypted key"),
        ("[]", "no encrypted key"),
        ('{"version": 3}', "no encrypted key"),
        ('{"version": 1, "crypto": {}}', "version 3 but of 1"),
        ('{"version": 3, "crypto": {}}', "cipher is missing"),
        (altered(cipher="aes-128-cbc"), "aes-128-ctr"),
        (altered(kdf="argon2"), "neither scrypt nor pbkdf2"),
        (altered(kdf=["scrypt"]), "neither scrypt nor pbkdf2"),
        (altered(cipherparams="x"), "no object"),
        (altered(cipherparams={"iv": "00"}), "wrong length"),
        (altered(ciphertext="00" * 33), "wrong length"),
        (altered(ciphertext="zz"), "non-hexadecimal"),
        (altered(mac=7), "no text"),
        (altered(kdfparams={"n": 3}), "power of two"),
        (altered(kdfparams={"n": -8}), "positive"),
        (altered(kdfparams={"n": 1.5}), "positive"),
        (altered(kdfparams={"dklen": 16}), "between 32 and 64"),
        (altered(kdfparams={"dklen": 2**31}), "between 32 and 64"),
    ],
)
def test_what_is_no_key_file_is_said_so(text, problem):
    with pytest.raises(AccountError, match=problem):
        keyfile.decrypt(text, PASSWORD)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n": 2**30},
        {"n": 2**18, "r": 2**20},
        {"r": 2**40},
        {"p": 2**30},
        {"n": 2**18, "r": 8, "p": 64},
    ],
)
def test_a_hostile_file_costs_nothing(parameters):
    start = time.monotonic()
    with pytest.raises(AccountError, match="too much memory or time"):
        keyfile.decrypt(altered(kdfparams=parameters), PASSWORD)
    assert time.monotonic() - start < 0.5


def test_a_hostile_pbkdf2_file_costs_nothing():
    hostile = {"c": 10**12, "prf": "hmac-sha256", "dklen": 32, "salt": "00"}
    content = {**PBKDF2_VECTOR, "crypto": {**PBKDF2_VECTOR["crypto"], "kdfparams": hostile}}
    with pytest.raises(AccountError, match="too much time"):
        keyfile.decrypt(json.dumps(content), PASSWORD)


def test_a_wrong_password_is_a_wrong_password():
    with pytest.raises(AccountError, match=r"^wrong password$"):
        keyfile.decrypt(altered(), PASSWORD + " ")


def test_a_file_that_names_another_account_is_not_believed():
    content = json.loads(altered())
    content["address"] = "11" * 20
    with pytest.raises(AccountError, match="belongs to another address"):
        keyfile.decrypt(json.dumps(content), PASSWORD)


def test_a_key_that_is_none_cannot_be_kept():
    for key in (b"", bytes(32), b"\xff" * 32, bytes(31)):
        with pytest.raises(AccountError, match="not a private key"):
            keyfile.encrypt(key, PASSWORD, scrypt_n=2)


# ---------------------------------------------------------------- the folder


def test_a_new_account_can_be_listed_and_unlocked_and_is_nobody_elses(store):
    assert store.accounts() == []
    made = store.create(PASSWORD)
    assert store.accounts() == [made]
    assert store.find() == store.find(made.address) == find_key(store.folder) == made
    assert made.signer(PASSWORD).address == made.address
    assert isinstance(made.signer(PASSWORD), LocalSigner)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert [path.name for path in store.folder.iterdir()] == [made.path.name]


def test_files_are_named_as_geth_names_them(store):
    path = store.add(KEY, PASSWORD).path
    stamp, _, address = path.name.rpartition("--")
    assert address == ADDRESS.hex()
    assert path.name == file_name(ADDRESS, time_ns(stamp))
    assert file_name(ADDRESS, 1_467_896_274_920_751_759).startswith(
        "UTC--2016-07-07T12-57-54.920751759Z--"
    )


def time_ns(stamp):
    """What a file's name says, in nanoseconds."""
    whole, _, rest = stamp.removeprefix("UTC--").removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H-%M-%S"))
    assert abs(seconds - time.time()) < 60
    return seconds * 10**9 + int(rest)


def test_a_typo_makes_no_account(store):
    made = store.create(PASSWORD)
    other = bytes(19) + b"\x01"
    with pytest.raises(AccountError) as raised:
        find_key(store.folder, other)
    assert checksum_address(other) in str(raised.value)
    assert checksum_address(made.address) in str(raised.value)
    assert len(list(store.folder.iterdir())) == 1


def test_no_account_is_no_account(store, tmp_path):
    with pytest.raises(AccountError, match="podium account create"):
        store.find()
    with pytest.raises(AccountError, match="does not exist"):
        find_key(tmp_path / "typo")
    assert not store.folder.exists()


def test_one_of_several_must_be_named(store):
    first, second = store.create(PASSWORD), store.create(PASSWORD)
    with pytest.raises(AccountError, match="several accounts") as raised:
        store.find()
    for file in (first, second):
        assert checksum_address(file.address) in str(raised.value)
        assert store.find(file.address) == file


def test_an_account_in_two_files_is_not_guessed(store):
    made = store.create(PASSWORD)
    (store.folder / "copy").write_bytes(made.path.read_bytes())
    with pytest.raises(AccountError, match="several key files"):
        store.find(made.address)
    with pytest.raises(AccountError, match="several key files"):
        store.find()


def test_other_files_in_the_folder_do_not_matter(store):
    made = store.create(PASSWORD)
    (store.folder / "README").write_text("keys live here")
    (store.folder / "big").write_bytes(bytes(100_000))
    (store.folder / ".hidden").write_bytes(made.path.read_bytes())
    (store.folder / "folder").mkdir()
    assert store.accounts() == [made]


def test_a_key_is_kept_once_and_needs_a_password(store):
    store.add(KEY, PASSWORD)
    with pytest.raises(AccountError, match="is here already"):
        store.add(KEY, "another")
    with pytest.raises(AccountError, match="must not be empty"):
        store.create("")
    assert len(store.accounts()) == 1


def test_a_folder_that_cannot_be_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AccountError, match="cannot"):
        Keystore(tmp_path / "file" / "keystore", scrypt_n=2).create(PASSWORD)


def test_a_key_file_can_be_named_itself(store):
    made = store.create(PASSWORD)
    assert find_key(made.path) == find_key(made.path, made.address) == made
    with pytest.raises(AccountError, match=f"is the key of {checksum_address(made.address)}"):
        find_key(made.path, ADDRESS)
    with pytest.raises(AccountError, match=f"{made.path.name}: wrong password"):
        made.unlock("guess")


def test_a_file_that_keeps_its_account_to_itself_still_opens(tmp_path):
    path = tmp_path / "private"
    content = json.loads(altered())
    del content["address"]
    path.write_text(json.dumps(content))
    assert read_key(path, PASSWORD) == KEY
    with pytest.raises(AccountError, match="does not say which account"):
        KeyFile.read(path)


def test_neither_key_nor_password_shows(store):
    made = store.add(KEY, PASSWORD)
    shown = f"{made!r} {made.signer(PASSWORD)!r} {store!r}"
    assert KEY.hex() not in shown
    assert PASSWORD not in shown
    with pytest.raises(AccountError) as raised:
        made.unlock("secret guess")
    assert "secret guess" not in str(raised.value)


# ---------------------------------------------------------------- passwords


def test_a_password_file_is_read_without_its_line_end(tmp_path):
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\r\n")
    assert read_password(path) == PASSWORD


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b" \n", "is empty"), (b"\xff\xfe", "no text"), (bytes(70_000), "large")],
)
def test_password_files_that_are_none(tmp_path, content, problem):
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(AccountError, match=problem):
        read_password(path)
    with pytest.raises(AccountError, match="cannot read"):
        read_password(tmp_path / "missing")
