"""The only place where an error becomes an HTTP answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium_hookspecs import PluginError

INTERNAL_SERVER_ERROR = "Internal Server Error"

STATUS: Mapping[str, int] = {
    "payment_base64": 402,
    "payment_protobuf": 402,
    "segment_encoding": 403,
    "wire": 403,
    "credentials": 403,
    "capacity": 403,
    "payment": 400,
    "ticket": 400,
    "expected_price": 400,
    "inactive": 400,
    "insufficient_balance": 400,
    "remote_storage": 400,
    "hash_mismatch": 403,
    "byoc_refused": 400,
    "byoc_full": 503,
}
"""Statuses by code (wire-video 5.4); every other code is a 500 that tells nothing."""

TEXT: Mapping[str, str] = {
    "remote_storage": "BadRequest",
    "hash_mismatch": "Forbidden",
}
"""Texts that stand for the error's own, where the wire has a fixed one."""


class HashMismatch(PodiumError):
    """A body is not what its sender signed."""

    code = "hash_mismatch"


class ByocRefused(PodiumError):
    """A BYOC request is refused; the text goes to the sender (byoc 2.2, 2.3)."""

    code = "byoc_refused"


class ByocFull(ByocRefused):
    """Nothing that serves the name has room: the sender tries the next node."""

    code = "byoc_full"


class BodyIncomplete(PodiumError):
    """The peer stopped sending before the body's end, or sent too slowly."""

    code = "body_incomplete"


def answer_to(error: PodiumError) -> tuple[int, str]:
    """Return status and text of the plain-text answer to an error."""
    status = STATUS.get(error.code, 500)
    if status == 500:
        return status, INTERNAL_SERVER_ERROR
    return status, TEXT.get(error.code, str(error))


def result_text(error: PodiumError | PluginError) -> str:
    """Return the text of a failure that is reported inside a 200."""
    return error.public if not isinstance(error, PodiumError) else str(error)
