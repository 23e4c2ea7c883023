"""Log lines: facts for people on a terminal, JSON for machines, secrets for nobody.

Nothing is configured globally but the standard library's root logger, which
third-party code (uvicorn) writes to and which is led into the same lines.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import structlog
from attrs import asdict, define
from podium_hookspecs import (
    Event,
    JobFinished,
    NodeStopping,
    PaymentRefused,
    PluginChanged,
    RedemptionFailed,
    RewardCalled,
    RewardFailed,
    RoundStarted,
    Secret,
    SessionClosed,
    SessionOpened,
    TicketRedeemed,
    TransactionEnded,
    WorkerChanged,
)

from podium.crypto import checksum_address

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

HIDDEN = "***"
_SECRET_KEY = re.compile(
    r"(^|_)(secret|password|passwd|private_key|token|credentials?|authorization|api_key)$"
)
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OUR_FAULT = frozenset({"job_failed", "worker_lost", "internal", "store"})
EventDict = MutableMapping[str, Any]


def make_log(
    *,
    log_format: Literal["auto", "human", "json"] = "auto",
    level: str = "info",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> FilteringBoundLogger:
    """Make the node's log.

    Args:
        log_format: ``auto`` writes for people when ``stream`` is a terminal.
        level: Least severe lines to write.
        secrets: Texts that must never appear, wherever they come from.
        stream: Standard error by default.
    """
    out = sys.stderr if stream is None else stream
    human = log_format == "human" or (log_format == "auto" and out.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _plain_values,
        Redactor.of(secrets),
    ]
    if human:
        colors = out.isatty()
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback
            )
        )
    else:
        processors.append(structlog.processors.JSONRenderer(default=str))
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Lasting(out))),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return log


@define(eq=False)
class _Lasting:
    """A stream whose reader may go away: a line that cannot be written is lost, not a job."""

    _out: TextIO

    def write(self, text: str) -> None:
        """Write, or not."""
        with suppress(OSError, ValueError):
            self._out.write(text)

    def flush(self) -> None:
        """Flush, or not."""
        with suppress(OSError, ValueError):
            self._out.flush()


def capture_standard_logs(log: FilteringBoundLogger, level: str = "info") -> logging.Handler:
    """Lead the standard library's logs (uvicorn's, asyncio's) into ours.

    Returns:
        The handler, for a test to remove.
    """
    handler = _ToStructlog(log)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    return handler


class _ToStructlog(logging.Handler):
    """Passes records on."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        facts: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            facts["exc_info"] = record.exc_info
        self._log.log(min(record.levelno, logging.CRITICAL), record.getMessage(), **facts)


@define
class Redactor:
    """Hides values of secret keys, and known secrets inside any text."""

    _known: re.Pattern[str] | None

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Redactor:
        """Know the secrets; short ones would hide innocent text and are skipped."""
        found = sorted({s for s in secrets if len(s) >= 6}, key=len, reverse=True)
        return cls(re.compile("|".join(map(re.escape, found))) if found else None)

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        """Hide what must be hidden (a structlog processor)."""
        for key, value in event.items():
            if isinstance(value, Secret) or _SECRET_KEY.search(key):
                event[key] = HIDDEN
            elif isinstance(value, str) and self._known is not None:
                event[key] = self._known.sub(HIDDEN, value)
        return event


def _plain_values(logger: object, method: str, event: EventDict) -> EventDict:
    """Make values readable: addresses, exact wei; control characters cannot forge lines."""
    for key, value in event.items():
        if isinstance(value, bytes):
            event[key] = checksum_address(value) if len(value) == 20 else value.hex()
        elif isinstance(value, Fraction):
            event[key] = str(value)
        elif isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event


@define
class EventLog:
    """Writes events that an operator wants to see; one canonical line for each job."""

    _log: FilteringBoundLogger

    def on_event(self, event: Event) -> None:
        """Write an event, or not."""
        match event:
            case JobFinished():
                self._job(event)
            case SessionOpened() | SessionClosed():
                self._session(event)
            case PaymentRefused():
                self._log.warning(
                    "payment refused",
                    session=event.session_id,
                    sender=event.sender,
                    reason=event.reason,
                )
            case WorkerChanged():
                self._state("worker", event.worker, event.state, event.reason)
            case PluginChanged():
                self._state("plugin", event.plugin, event.state, event.reason)
            case NodeStopping():
                self._log.info("draining", reason=event.reason)
            case _:
                self._chain(event)

    def _chain(self, event: Event) -> None:
        match event:
            case TicketRedeemed():
                self._log.info("ticket redeemed", **asdict(event))
            case RedemptionFailed():
                self._log.warning("ticket not redeemed", **asdict(event))
            case RewardCalled():
                self._log.info("reward called", **asdict(event))
            case RewardFailed():
                self._log.warning("reward not called", **asdict(event))
            case RoundStarted():
                self._log.info("round started", **asdict(event))
            case TransactionEnded():
                self._log.info("transaction", **asdict(event))

    def _job(self, event: JobFinished) -> None:
        write = self._log.warning if event.outcome in _OUR_FAULT else self._log.info
        facts: dict[str, Any] = dict(event.attributes)
        facts |= {
            "job": event.job_id,
            "session": event.session_id,
            "sender": event.sender,
            "pipeline": event.pipeline,
            "worker": event.worker,
            "outcome": event.outcome,
            "units": event.units,
            "unit": event.unit,
            "fee_wei": event.fee_wei,
            "queued_ms": round(event.queued_s * 1000, 1),
            "run_ms": round(event.run_s * 1000, 1),
        }
        if event.model:
            facts["model"] = event.model
        if event.media_duration_s is not None:
            facts["media_s"] = event.media_duration_s
        if event.detail:
            facts["detail"] = event.detail
        write("job", **{key: value for key, value in facts.items() if key != "event"})

    def _session(self, event: SessionOpened | SessionClosed) -> None:
        facts: dict[str, Any] = {"session": event.session_id, "open": event.open_sessions}
        if isinstance(event, SessionClosed):
            self._log.info("session closed", reason=event.reason, jobs=event.jobs, **facts)
        else:
            self._log.info("session opened", sender=event.sender, **facts)

    def _state(self, what: str, name: str, state: str, reason: str) -> None:
        write = self._log.info if state == "ok" else self._log.warning
        write(f"{what} {state}", **{what: name}, reason=reason)
