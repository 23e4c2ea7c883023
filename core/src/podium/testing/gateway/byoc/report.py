"""What a BYOC request came to: one dictionary, and its bill for a person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from podium.testing.gateway.report import counted, wei_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from podium.testing.gateway.byoc.client import ByocGateway, ByocResult


def payments(gateway: ByocGateway) -> dict[str, Any]:
    """Return the Gateway's books; wei as exact fraction texts."""
    return {
        "sender": "0x" + gateway.signer.address.hex(),
        "accounts": [
            {
                "key": account.key,
                "session_id": account.key,
                "tickets": account.tickets,
                "opening": str(account.opening),
                "credited": str(account.credited),
                "debited": str(account.debited),
                "balance": str(account.balance),
                "unconfirmed": str(account.unconfirmed),
                "unsettled": account.unsettled,
            }
            for account in gateway.accounts
        ],
    }


def summarise(
    capability: str, gateway: ByocGateway, result: ByocResult, files: Sequence[Path]
) -> dict[str, Any]:
    """Return the figures of a request that was done."""
    return {
        "version": 1,
        "ok": True,
        "capability": capability,
        "status": result.status,
        "content_type": result.content_type,
        "metadata": result.metadata,
        "answer": _answer(result),
        "events": list(result.events),
        "files": [str(path) for path in files],
        "units": result.seconds_billed,
        "unit": "second",
        "price_wei": result.price,
        "fee_wei": str(result.fee_wei),
        "tickets": result.tickets,
        "balance_wei": None if result.balance is None else str(result.balance),
        "attempts": result.attempts,
        "first_s": round(result.first_s, 4),
        "seconds": round(result.seconds, 4),
        "orchestrator": result.orchestrator,
        "payments": payments(gateway),
    }


def failed(
    capability: str, gateway: ByocGateway, status: int, reason: str, attempts: int
) -> dict[str, Any]:
    """Return the figures of a request that was not done."""
    return {
        "version": 1,
        "ok": False,
        "capability": capability,
        "status": status,
        "error": reason,
        "attempts": attempts,
        "payments": payments(gateway),
    }


def _answer(result: ByocResult) -> Any:
    """Return an answer as JSON can hold it; None for bytes that are no text."""
    if result.events:
        return None
    try:
        text = result.body.decode()
    except UnicodeDecodeError:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def bill(summary: Mapping[str, Any]) -> list[str]:
    """Return the bill, one line each."""
    lines = [
        f"{summary['capability']} at {summary['orchestrator']}: {summary['seconds']:.2f} s,"
        f" {counted(summary['attempts'], 'attempt')}"
    ]
    if not summary["price_wei"]:
        return [*lines, "free of charge"]
    balance = summary["balance_wei"]
    left = "" if balance is None else f", {wei_text(balance)} left"
    return [
        *lines,
        f"{counted(summary['units'], 'second')} for {wei_text(summary['fee_wei'])}, paid with"
        f" {counted(summary['tickets'], 'ticket')}{left}",
    ]
