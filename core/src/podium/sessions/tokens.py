"""Auth tokens: an HMAC over session ID and expiry (wire-video 4)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

from podium.errors import CredentialsError
from podium.model import TOKEN_TTL_S, AuthToken

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET_BYTES = 32
SESSION_ID_BYTES = 4
CLOCK_SLACK_S = 60
"""How far the clock may be set back without making good tokens bad."""

_SESSION_ID = re.compile(r"[0-9a-f]{8}")


def token_bytes(secret: bytes, session_id: str, expiration: int) -> bytes:
    """Return the 32-byte token of a session that expires at Unix second ``expiration``."""
    tail = expiration.to_bytes((expiration.bit_length() + 7) // 8, "big") if expiration > 0 else b""
    return hmac.digest(secret, session_id.encode() + tail, hashlib.sha256)


class Tokens:
    """Issues and checks tokens under one secret, made anew at every start.

    Args:
        now: Returns Unix seconds.
        secret: 32 random bytes, for tests.
    """

    def __init__(self, now: Callable[[], float], secret: bytes | None = None) -> None:
        self._now = now
        self._secret = secret or secrets.token_bytes(SECRET_BYTES)

    def issue(self) -> AuthToken:
        """Return the token of a new session."""
        session_id = secrets.token_hex(SESSION_ID_BYTES)
        expiration = int(self._now()) + TOKEN_TTL_S
        return AuthToken(token_bytes(self._secret, session_id, expiration), session_id, expiration)

    def authenticate(self, token: AuthToken | None) -> AuthToken:
        """Check that we issued a token, whether or not it has expired.

        Raises:
            CredentialsError: there is none, or we did not issue it.
        """
        if token is None:
            raise CredentialsError("missing auth token")
        self._check_form(token)
        expected = token_bytes(self._secret, token.session_id, token.expiration)
        if not hmac.compare_digest(expected, token.token):
            raise CredentialsError("invalid auth token")
        return token

    def _check_form(self, token: AuthToken) -> None:
        """Refuse what we never issue: the HMAC has no separator, so its parts could be shifted."""
        latest = self._now() + TOKEN_TTL_S + CLOCK_SLACK_S
        if not _SESSION_ID.fullmatch(token.session_id) or not 0 < token.expiration <= latest:
            raise CredentialsError("invalid auth token")

    def check(self, token: AuthToken | None) -> AuthToken:
        """Check that we issued a token and that it has not expired.

        Raises:
            CredentialsError: with the reference's text.
        """
        good = self.authenticate(token)
        if self._now() > good.expiration:
            raise CredentialsError("expired auth token")
        return good
