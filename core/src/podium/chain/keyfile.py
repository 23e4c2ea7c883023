"""Web3 Secret Storage, version 3: a private key encrypted with a password, as geth keeps it."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from podium.crypto import KeySigner, keccak256
from podium.errors import AccountError

SCRYPT_N = 262_144
"""What geth uses: opening takes about a second and 256 MiB, for us and for a thief."""

SCRYPT_R = 8
SCRYPT_P = 1
KEY_BYTES = 32
MAX_FILE_BYTES = 65_536
MAX_BRACKETS = 32
MAX_SCRYPT_BYTES = 512 * 2**20
MAX_SCRYPT_COST = 2**24
"""Of N * r * p: eight times geth's."""

MAX_PBKDF2_ROUNDS = 10_000_000
MAX_DERIVED_BYTES = 64
_SCRYPT_SPARE_BYTES = 2**20
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def check_private_key(key: bytes) -> bytes:
    """Return a private key if it is one.

    Raises:
        AccountError: it is not 32 bytes, or not within the curve's order.
    """
    if len(key) != KEY_BYTES or not 0 < int.from_bytes(key, "big") < _ORDER:
        msg = "not a private key: it must be 32 bytes, 64 hex digits, within the curve's order"
        raise AccountError(msg)
    return key


def encrypt(private_key: bytes, password: str, *, scrypt_n: int = SCRYPT_N) -> dict[str, Any]:
    """Return the content of a key file."""
    salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    derivation = _Scrypt(salt, scrypt_n, SCRYPT_R, SCRYPT_P, KEY_BYTES)
    derived = derivation.derive(password.encode())
    ciphertext = _aes_ctr(derived[:16], iv, check_private_key(private_key))
    return {
        "address": KeySigner(private_key).address.hex(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "ciphertext": ciphertext.hex(),
            "cipherparams": {"iv": iv.hex()},
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": KEY_BYTES,
                "n": scrypt_n,
                "p": SCRYPT_P,
                "r": SCRYPT_R,
                "salt": salt.hex(),
            },
            "mac": keccak256(derived[16:32] + ciphertext).hex(),
        },
        "id": str(uuid.uuid4()),
        "version": 3,
    }


def decrypt(text: str | bytes, password: str) -> bytes:
    """Return the private key in a key file's content.

    It may come from anybody: what it asks for in memory and time is bounded.

    Raises:
        AccountError: it is no key file, it asks for too much, or the password is wrong.
    """
    content = parse(text)
    try:
        box = _Box.read(_mapping(content, "crypto"))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the key file is damaged or of an unknown kind: {_what(error)}"
        raise AccountError(msg) from error
    derived = box.derivation.derive(password.encode())
    if not hmac.compare_digest(keccak256(derived[16:32] + box.ciphertext), box.mac):
        msg = "wrong password"
        raise AccountError(msg)
    key = check_private_key(_aes_ctr(derived[:16], box.iv, box.ciphertext))
    named = address_of(content)
    if named is not None and named != KeySigner(key).address:
        msg = "the key file is damaged: its key belongs to another address than it says"
        raise AccountError(msg)
    return key


def parse(text: str | bytes) -> dict[str, Any]:
    """Return a key file's content as JSON, its outer keys in lower case.

    Raises:
        AccountError: it is no key file of version 3.
    """
    try:
        plain = text.decode() if isinstance(text, bytes) else text
        # Some libraries raise the recursion limit so high that deep nesting ends the process.
        found = None if sum(map(plain.count, "[{")) > MAX_BRACKETS else json.loads(plain)
    except ValueError as error:
        msg = "not a key file: no JSON"
        raise AccountError(msg) from error
    content = {str(k).lower(): v for k, v in found.items()} if isinstance(found, dict) else {}
    if not isinstance(content.get("crypto"), dict):
        msg = "not a key file: it holds no encrypted key"
        raise AccountError(msg)
    if content.get("version") not in (3, "3"):
        msg = f"not a key file of version 3 but of {str(content.get('version'))[:20]}"
        raise AccountError(msg)
    return content


def address_of(content: Mapping[str, Any]) -> bytes | None:
    """Return the 20 bytes of the address that a key file names, None if it names none."""
    try:
        address = bytes.fromhex(str(content.get("address", "")).removeprefix("0x"))
    except ValueError:
        return None
    return address if len(address) == 20 else None


@frozen(repr=False)
class _Scrypt:
    salt: bytes
    n: int
    r: int
    p: int
    length: int

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> _Scrypt:
        """Read and bound the parameters.

        Raises:
            AccountError: they ask for too much.
            KeyError, TypeError, ValueError: they are none.
        """
        n, r, p = (_whole(parameters[name]) for name in ("n", "r", "p"))
        if n < 2 or n & (n - 1):
            raise ValueError("n is no power of two")
        if 128 * n * r > MAX_SCRYPT_BYTES or n * r * p > MAX_SCRYPT_COST:
            msg = (
                f"the key file wants too much memory or time to be opened (scrypt n={n} r={r}"
                f" p={p}): it is hostile, or made by an unusual program"
            )
            raise AccountError(msg)
        return cls(_hex(parameters["salt"]), n, r, p, _derived_length(parameters))

    def derive(self, password: bytes) -> bytes:
        """Return the key that a password leads to; it takes about a second."""
        if self.n >= 2 ** (16 * self.r):
            return self._derive_beyond_rfc(password)
        memory = 128 * self.r * (self.n + self.p + 2) + _SCRYPT_SPARE_BYTES
        return hashlib.scrypt(
            password,
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=memory,
            dklen=self.length,
        )

    def _derive_beyond_rfc(self, password: bytes) -> bytes:
        """Do as some programs did that had r and p mixed up; OpenSSL follows RFC 7914 and won't."""
        from Crypto.Protocol.KDF import scrypt

        # It takes texts and encodes them as Latin-1, so these are the bytes themselves.
        texts = password.decode("latin-1"), self.salt.decode("latin-1")
        found = scrypt(*texts, self.length, self.n, self.r, self.p)
        assert isinstance(found, bytes)
        return found


@frozen(repr=False)
class _Pbkdf2:
    salt: bytes
    rounds: int
    length: int

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> _Pbkdf2:
        """Read and bound the parameters; see :meth:`_Scrypt.read`."""
        rounds = _whole(parameters["c"])
        if parameters.get("prf", "hmac-sha256") != "hmac-sha256":
            raise ValueError("prf is not hmac-sha256")
        if rounds > MAX_PBKDF2_ROUNDS:
            msg = f"the key file wants too much time to be opened (pbkdf2 c={rounds})"
            raise AccountError(msg)
        return cls(_hex(parameters["salt"]), rounds, _derived_length(parameters))

    def derive(self, password: bytes) -> bytes:
        """Return the key that a password leads to."""
        return hashlib.pbkdf2_hmac("sha256", password, self.salt, self.rounds, self.length)


@frozen(repr=False)
class _Box:
    """The encrypted part of a key file."""

    derivation: _Scrypt | _Pbkdf2
    iv: bytes
    ciphertext: bytes
    mac: bytes

    @classmethod
    def read(cls, crypto: Mapping[str, Any]) -> _Box:
        """Read it; see :meth:`_Scrypt.read`."""
        if crypto["cipher"] != "aes-128-ctr":
            raise ValueError("its cipher is not aes-128-ctr")
        kinds: dict[Any, type[_Scrypt | _Pbkdf2]] = {"scrypt": _Scrypt, "pbkdf2": _Pbkdf2}
        kind = kinds.get(str(crypto["kdf"]))
        if kind is None:
            raise ValueError("its kdf is neither scrypt nor pbkdf2")
        iv = _hex(_mapping(crypto, "cipherparams")["iv"])
        ciphertext = _hex(crypto["ciphertext"])
        if len(iv) != 16 or len(ciphertext) != KEY_BYTES:
            raise ValueError("its ciphertext or iv has a wrong length")
        derivation = kind.read(_mapping(crypto, "kdfparams"))
        return cls(derivation, iv, ciphertext, _hex(crypto["mac"]))


def _mapping(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found[name]
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is no object")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError("a parameter is no positive whole number")
    return value


def _hex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a value is no text")
    return bytes.fromhex(value.removeprefix("0x"))


def _derived_length(parameters: Mapping[str, Any]) -> int:
    length = _whole(parameters["dklen"])
    if not KEY_BYTES <= length <= MAX_DERIVED_BYTES:
        raise ValueError("dklen is not between 32 and 64")
    return length


def _what(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt, or decrypt: the same in this mode."""
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
