"""Fixtures for tests on a local chain with the real contracts; see :mod:`podium.devnet`.

Whoever asks for one needs npm on first use; a machine without it fails the test with a sentence
that says what to do. Nothing is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from podium.devnet import Devnet


@pytest.fixture(scope="session")
def devnet_base() -> Iterator[Devnet]:
    """One chain for the whole session; use ``devnet``, which gives it back as it was."""
    from podium.devnet import start_devnet

    with start_devnet() as running:
        yield running


@pytest.fixture
def devnet(devnet_base: Devnet) -> Iterator[Devnet]:
    """A chain with nothing but the contracts, in an initialized round.

    It mines with each transaction; a test may set an interval, freeze the node, or change any
    fact: all of it is undone.
    """
    accounts = dict(devnet_base.accounts)
    snapshot = devnet_base.snapshot()
    devnet_base.mine()  # the newest block is a fresh one, whatever ran before
    yield devnet_base
    devnet_base.resume_process()
    devnet_base.set_automine(True)
    devnet_base.drop_pending()
    devnet_base.revert(snapshot)
    devnet_base.accounts = accounts
