"""Bounds of the views."""

from __future__ import annotations

from attrs import frozen


@frozen
class ViewSettings:
    """Bounds of what is held, and of how long it is believed.

    Attributes:
        read_timeout_s: For one state: a gateway waits for an unknown sender's.
        update_timeout_s: For all that one block makes us read; the next one goes on.
        grace_s: How long a state that is known to be out of date still answers, while it cannot
            be read again.
        max_silence_s: How long states are believed without word of the chain; None: for ever,
            for chains that make blocks on demand only.
        max_head_age_s: States of a block older than this are not believed: the endpoint is stuck;
            None: blocks of any age are.
        max_senders: Senders held.
        unused_s: A sender nobody asks for is dropped after this.
        parallel_senders: Senders read at once.
        waiting_senders: Unknown senders in hand at once; more are refused.
        unknown_burst: Unknown senders that are read without a pause; whoever invents addresses
            must not use up the endpoint's quota.
        unknown_per_s: How many more each second.
        checks_per_update: Senders that are read again per block, after each new round, though
            no event says that they changed.
    """

    read_timeout_s: float = 4.0
    update_timeout_s: float = 10.0
    grace_s: float = 60.0
    max_silence_s: float | None = None
    max_head_age_s: float | None = None
    max_senders: int = 10_000
    unused_s: float = 172_800.0
    parallel_senders: int = 8
    waiting_senders: int = 256
    unknown_burst: int = 500
    unknown_per_s: float = 20.0
    checks_per_update: int = 32
