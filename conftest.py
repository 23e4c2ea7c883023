"""What holds for every test of the workspace."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

MAY_SKIP_IN_CI = ("GPU", "NVENC", "CUDA")
"""Words of a skip's reason that name hardware CI does not have."""


RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_runtest_setup() -> None:
    """Give every test the interpreter's own recursion limit.

    A library that some tests import (and the node never does) raises it so far that the next
    test's hostile JSON would end the process instead of being refused.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that CI skips: CI installs every program that tests look for.

    At a desk a missing ``h2load`` or ``ffmpeg`` skips; in CI it would hide a loss of coverage.
    """
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(word in reason for word in MAY_SKIP_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: CI must not skip this: {reason}"
    return report
