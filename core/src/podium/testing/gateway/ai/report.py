"""What an AI job came to: one dictionary, and its bill for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podium.testing.gateway.ai.events import text_of
from podium.testing.gateway.report import counted, wei_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from podium.testing.gateway.ai.client import AiGateway, AiResult


def payments(gateway: AiGateway) -> dict[str, Any]:
    """Return the Gateway's books; wei as exact fraction texts."""
    return {
        "sender": "0x" + gateway.signer.address.hex(),
        "accounts": [
            {
                "key": key,
                "session_id": account.session_id,
                "tickets": account.tickets,
                "credited": str(account.credited),
                "debited": str(account.debited),
                "unconfirmed": str(account.unconfirmed),
                "unsettled": account.unsettled,
            }
            for key, account in gateway.accounts
        ],
    }


def summarise(
    pipeline: str, model: str, gateway: AiGateway, result: AiResult, files: Sequence[Path]
) -> dict[str, Any]:
    """Return the figures of a job that was done."""
    return {
        "version": 1,
        "ok": True,
        "pipeline": pipeline,
        "model": model,
        "status": result.status,
        "text": answer_text(result.json),
        "answer": _without_data(result.json),
        "files": [str(path) for path in files],
        "units": result.units,
        "unit": result.unit,
        "fee_wei": str(result.fee_wei),
        "tickets": result.tickets,
        "attempts": result.attempts,
        "first_s": round(result.first_s, 4),
        "seconds": round(result.seconds, 4),
        "orchestrator": result.orchestrator,
        "payments": payments(gateway),
    }


def failed(
    pipeline: str, model: str, gateway: AiGateway, status: int, reason: str, attempts: int
) -> dict[str, Any]:
    """Return the figures of a job that was not done."""
    return {
        "version": 1,
        "ok": False,
        "pipeline": pipeline,
        "model": model,
        "status": status,
        "error": reason,
        "attempts": attempts,
        "payments": payments(gateway),
    }


def answer_text(answer: Any) -> str:
    """Return what an answer says in words; empty when it holds only files."""
    if isinstance(answer, list):
        return "".join(text_of(event) for event in answer)
    if not isinstance(answer, dict):
        return ""
    if isinstance(answer.get("text"), str):
        return str(answer["text"])
    return text_of(answer) if answer.get("choices") else ""


def _without_data(value: Any) -> Any:
    """Leave the bytes of data URLs out: they are in the files."""
    if isinstance(value, dict):
        return {key: _without_data(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_data(each) for each in value]
    if isinstance(value, str) and value.startswith("data:"):
        return value.partition(",")[0] + ",..."
    return value


def bill(summary: Mapping[str, Any]) -> list[str]:
    """Return the bill, one line each."""
    lines = [
        f"{summary['pipeline']} by {summary['model']} at {summary['orchestrator']}: "
        f"{summary['seconds']:.2f} s, {counted(summary['attempts'], 'attempt')}"
    ]
    accounts = summary["payments"]["accounts"]
    if not any(account["tickets"] for account in accounts) and summary["fee_wei"] == "0":
        return [*lines, f"{counted(summary['units'], summary['unit'])}, free of charge"]
    return [
        *lines,
        f"{counted(summary['units'], summary['unit'])} for {wei_text(summary['fee_wei'])}, "
        f"paid with {counted(summary['tickets'], 'ticket')}",
    ]
