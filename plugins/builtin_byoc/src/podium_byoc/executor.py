"""An executor: an HTTP service under a name, as it registered or as the configuration has it."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import field, frozen
from podium_hookspecs import BadInput, Secret

from podium_byoc.config import MAX_CAPACITY, MAX_NAME_CHARS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium_byoc.config import ExecutorConfig

MAX_URL_CHARS = 2048
MAX_INT64 = 2**63 - 1
MAX_TOKEN_CHARS = 4096
_HEALTH_PATH = re.compile(r"(/[^?#\s]*)?")


@frozen
class Executor:
    """Where work of a name is done; ``key`` tells executors apart.

    Attributes:
        name: What gateways ask for, verbatim.
        url: Without a slash at its end.
        capacity: Requests at a time.
        price: Of one second, in ``currency``.
        currency: In lower case.
        token: Sent to it, if any.
        health_path: Asked for its health; empty: a connection is enough.
        declared: The configuration has it: it is never forgotten.
    """

    name: str
    url: str
    capacity: int
    price: Fraction = Fraction(0)
    currency: str = "wei"
    token: Secret | None = field(default=None, repr=False)
    health_path: str = ""
    declared: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Name and address: who registers again with both is the same executor."""
        return self.name, self.url

    @property
    def worker_name(self) -> str:
        """Unique on the node, stable over restarts."""
        return f"byoc:{self.name}@{self.url}"

    @property
    def host(self) -> str:
        """The address's host."""
        return urlsplit(self.url).hostname or ""


def declared(config: ExecutorConfig) -> Executor:
    """Return an executor of the configuration."""
    return Executor(
        name=config.name,
        url=config.url.rstrip("/"),
        capacity=config.capacity,
        price=config.price,
        currency=config.currency.lower() or "wei",
        token=config.token,
        health_path=config.health_path,
        declared=True,
    )


def registered(body: bytes) -> Executor:
    """Read a registration; members that are not known are ignored.

    Raises:
        BadInput: with the text for who registers.
    """
    try:
        fields = json.loads(body) if body else None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"invalid JSON: {error}" if body.strip() else "no JSON") from error
    if not isinstance(fields, dict):
        raise BadInput("unexpected end of JSON input" if not body else "no JSON object")
    scaling = _whole(fields, "price_scaling") or 1
    token = _text(fields, "token", MAX_TOKEN_CHARS)
    executor = Executor(
        name=_text(fields, "name", MAX_NAME_CHARS),
        url=_address(_text(fields, "url", MAX_URL_CHARS)),
        capacity=_whole(fields, "capacity"),
        price=Fraction(_whole(fields, "price_per_unit"), scaling),
        currency=_text(fields, "currency", 16).lower() or "wei",
        token=Secret(token) if token else None,
        health_path=_text(fields, "health_path", MAX_URL_CHARS),
    )
    if not executor.name:
        raise BadInput("name is empty")
    if executor.capacity > MAX_CAPACITY:
        raise BadInput(f"capacity is more than {MAX_CAPACITY}")
    if not _HEALTH_PATH.fullmatch(executor.health_path):
        raise BadInput("health_path is no path")
    if not executor.name.isprintable() or (token and not token.isprintable()):
        raise BadInput("name or token has characters that no header can carry")
    return executor


def as_json(executor: Executor) -> dict[str, Any]:
    """Return what a restart needs of an executor; its token is in it."""
    return {
        "name": executor.name,
        "url": executor.url,
        "capacity": executor.capacity,
        "price_per_unit": executor.price.numerator,
        "price_scaling": executor.price.denominator,
        "currency": executor.currency,
        "token": executor.token.reveal if executor.token else "",
        "health_path": executor.health_path,
    }


def _address(url: str) -> str:
    """Check an executor's address.

    Raises:
        BadInput: it is not one of HTTP.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isprintable() or " " in url:
        raise BadInput("url is not an http or https address")
    if parts.query or parts.fragment or parts.username is not None:
        raise BadInput("url has a query, a fragment or a user")
    return url.rstrip("/")


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INT64:
        raise BadInput(f"{name} is not a whole number from 0")
    return value


def _text(fields: Mapping[str, Any], name: str, limit: int) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit:
        raise BadInput(f"{name} is not a text of at most {limit} characters")
    return value
