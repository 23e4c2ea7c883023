"""How an executor is run: where it listens, whom it registers with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen, validators

from podium_executor.errors import SetupError
from podium_executor.price import Price

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium_executor.executor import Executor


def _uri(text: str) -> str:
    return text.rstrip("/")


@frozen(kw_only=True)
class Settings:
    """Where and how; what and for how much is the :class:`Executor`'s.

    Attributes:
        orchestrator: URI to register with, such as ``https://host:8935``; empty: do not register.
        secret: The orchestrator's secret.
        url: Where the orchestrator reaches this executor; empty: host and port below.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        token: What the orchestrator must show with each request; empty: nothing.
        heartbeat_s: Seconds between registrations, so that an orchestrator that was restarted
            knows this executor again; 0: only once.
        shared: Other executors have the same name: leaving takes only this one's address away. A
            go-livepeer orchestrator knows one executor for each name, and would not understand.
        drain_s: Seconds that running requests may take after a stop was asked for.
        verify: Check the orchestrator's certificate. Most are self-signed: pin theirs with
            ``certificate``, or give verification up with ``verify=False``; whoever sits between
            then reads the secret.
        certificate: The orchestrator's certificate (PEM), to be trusted as it is, whatever name
            it bears.
    """

    orchestrator: str = field(default="", converter=_uri)
    secret: str = field(default="", repr=False)
    url: str = field(default="", converter=_uri)
    host: str = "127.0.0.1"
    port: int = field(default=9876, validator=validators.ge(0))
    token: str = field(default="", repr=False)
    heartbeat_s: float = field(default=30.0, validator=validators.ge(0))
    drain_s: float = field(default=30.0, validator=validators.ge(0))
    shared: bool = False
    verify: bool = True
    certificate: Path | None = None

    def __attrs_post_init__(self) -> None:
        if self.orchestrator and not self.orchestrator.startswith(("http://", "https://")):
            raise SetupError(f"an orchestrator is an http(s) URI, not {self.orchestrator!r}")
        if self.orchestrator and not self.secret:
            raise SetupError("registering needs the orchestrator's secret: ORCH_SECRET")


def settings_from(environ: Mapping[str, str], **given: Any) -> Settings:
    """Read ``ORCH_URL``, ``ORCH_SECRET``, ``CAPABILITY_URL`` and ``CAPABILITY_TOKEN``.

    Args:
        environ: The environment.
        given: What goes before it; None stands for nothing.

    Raises:
        SetupError: something is missing or cannot be.
    """
    values: dict[str, Any] = {
        "orchestrator": environ.get("ORCH_URL"),
        "secret": environ.get("ORCH_SECRET"),
        "url": environ.get("CAPABILITY_URL"),
        "token": environ.get("CAPABILITY_TOKEN"),
    }
    values |= {name: value for name, value in given.items() if value is not None}
    return Settings(**{name: value for name, value in values.items() if value is not None})


def renamed(executor: Executor, environ: Mapping[str, str], **given: Any) -> Executor:
    """Return an executor with what the environment or the command line says of it.

    ``CAPABILITY_NAME``, ``CAPABILITY_DESCRIPTION``, ``CAPABILITY_CAPACITY``,
    ``CAPABILITY_PRICE_PER_UNIT``, ``CAPABILITY_PRICE_SCALING`` and ``CAPABILITY_CURRENCY``.

    Raises:
        SetupError: a number is none.
    """
    changes: dict[str, Any] = {
        "name": environ.get("CAPABILITY_NAME"),
        "description": environ.get("CAPABILITY_DESCRIPTION"),
        "capacity": _whole(environ, "CAPABILITY_CAPACITY"),
    }
    per_unit = _whole(environ, "CAPABILITY_PRICE_PER_UNIT")
    if per_unit is not None:
        scaling = _whole(environ, "CAPABILITY_PRICE_SCALING") or 1
        changes["price"] = Price(per_unit, scaling, environ.get("CAPABILITY_CURRENCY", "wei"))
    changes |= {name: value for name, value in given.items() if value is not None}
    return evolve(executor, **{name: v for name, v in changes.items() if v is not None})


def _whole(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise SetupError(f"{name} must be a whole number, not {text!r}")
    return int(text)
