"""Events as a node emits them, for plugins that listen."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from attrs import evolve
from podium_hookspecs import JobFinished

FINISHED = JobFinished(
    job_id="job-1",
    session_id="session-1",
    sender=b"\x5e" * 20,
    pipeline="transcode",
    capability=0,
    model=None,
    worker="transcode",
    outcome="ok",
    units=1_000_000,
    unit="pixel",
    fee_wei=Fraction(1_000_000),
    run_s=0.5,
)
"""A job that went well."""


def finished_job(**changes: Any) -> JobFinished:
    """Return the end of a job that went well, with changes."""
    return evolve(FINISHED, **changes)
