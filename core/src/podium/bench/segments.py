"""What the node adds to a paid segment, against an app that reads and discards the same bodies.

Both stand behind the same listener, TLS and HTTP/2, and get the same requests; the node's plugin
does no work, so what is left is checks, payment, hash, bookkeeping and result.
"""

from __future__ import annotations

import secrets
import statistics
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.bench.load import Connection, percentile, run_load
from podium.bench.paid import Sender, check_result
from podium.bench.process import server
from podium.bench.server import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from podium.bench.process import Server

BATCH = 100
"""Segments made ready at a time for each sender when only memory counts."""


@frozen(kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: Of which the median is taken; each has both servers in turn.
        segments: Per round and server.
        senders: Sessions and connections at a time.
        alone: Segments sent one at a time, for the latency.
        sessions: Opened for the memory of one.
        flat: Segments over which memory must not grow.
        body_bytes: Size of a segment.
    """

    rounds: int = 7
    segments: int = 400
    senders: int = 4
    alone: int = 400
    sessions: int = 1000
    flat: int = 10_000
    body_bytes: int = 500_000


@frozen(kw_only=True)
class SegmentsReport:
    """What was measured.

    Attributes:
        ratios: Node over bare app, by round.
        bare_per_s: Segments a second of the bare app, median.
        node_per_s: Segments a second of the node, median.
        bare_s: Latencies of the bare app, one segment at a time.
        node_s: Latencies of the node, likewise.
        rss_bytes: Resident memory of the node before the sessions were opened.
        rss_per_session_bytes: What one open session adds to it.
        rss_growth_bytes: What ``plan.flat`` segments added to it.
    """

    plan: Plan
    ratios: Sequence[float]
    bare_per_s: float
    node_per_s: float
    bare_s: Sequence[float] = field(repr=False)
    node_s: Sequence[float] = field(repr=False)
    rss_bytes: int
    rss_per_session_bytes: float
    rss_growth_bytes: int

    def added_ms(self, percent: int) -> float:
        """Return a percentile of the node's latency less the same of the bare app's."""
        return 1000 * (percentile(self.node_s, percent) - percentile(self.bare_s, percent))

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        return {
            "segments.ratio_bare": statistics.median(self.ratios),
            "segments.ratio_bare_min": min(self.ratios),
            "segments.ratio_bare_max": max(self.ratios),
            "segments.bare_per_s": self.bare_per_s,
            "segments.node_per_s": self.node_per_s,
            "segments.p50_added_ms": self.added_ms(50),
            "segments.p99_added_ms": self.added_ms(99),
            "segments.rss_bytes": self.rss_bytes,
            "segments.rss_per_session_bytes": self.rss_per_session_bytes,
            "segments.rss_growth_10k_bytes": self.rss_growth_bytes,
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        plan, mib = self.plan, 2**20
        return [
            f"{plan.body_bytes / 1000:g} KB a segment, a ticket with each, {plan.senders} senders",
            f"bare app {self.bare_per_s:>10,.0f} segments/s",
            f"node     {self.node_per_s:>10,.0f} segments/s   {statistics.median(self.ratios):.2f}x"
            f" (median of {plan.rounds} rounds, {min(self.ratios):.2f} to {max(self.ratios):.2f})",
            f"one at a time, the node adds {self.added_ms(50):.2f} ms at p50,"
            f" {self.added_ms(99):.2f} ms at p99",
            f"resident {self.rss_bytes / mib:.0f} MiB; an open session takes"
            f" {self.rss_per_session_bytes / 1024:.1f} KiB; {plan.flat:,} segments added"
            f" {self.rss_growth_bytes / mib:.1f} MiB",
        ]


def run_segments_bench(
    plan: Plan | None = None, *, progress: Callable[[str], None] = lambda _text: None
) -> SegmentsReport:
    """Measure with two servers and this process as the client; about a minute.

    Raises:
        LoadError: a segment failed.
        BenchError: a server did not start.
    """
    plan = plan or Plan()
    with ExitStack() as stack:
        bare = stack.enter_context(server("discard"))
        node = stack.enter_context(server("node", max_sessions=plan.sessions + plan.senders))
        pairs = [_Pair.open(bare, node, plan) for _ in range(plan.senders)]
        for pair in pairs:
            stack.callback(pair.close)
        return _measure(plan, node, pairs, progress)


@define
class _Pair:
    """A sender to the node, and a connection that sends the same to the bare app."""

    sender: Sender
    bare: Connection

    @classmethod
    def open(cls, bare: Server, node: Server, plan: Plan) -> _Pair:
        body = secrets.token_bytes(plan.body_bytes)
        sender = Sender.open(Connection.open(HOST, node.port), body)
        return cls(sender, Connection.open(HOST, bare.port))

    def close(self) -> None:
        self.sender.connection.close()
        self.bare.close()


def _measure(
    plan: Plan, node: Server, pairs: list[_Pair], progress: Callable[[str], None]
) -> SegmentsReport:
    _round(pairs, max(1, plan.segments // 4))  # warm up
    rounds = []
    for number in range(plan.rounds):
        rounds.append(_round(pairs, plan.segments))
        bare_per_s, node_per_s = rounds[-1]
        progress(f"round {number + 1}: bare {bare_per_s:.0f}/s, node {node_per_s:.0f}/s")
    bare_s, node_s = _alone(pairs[0], plan.alone)
    progress(f"memory over {plan.flat:,} segments")
    before = node.rss_bytes
    _send(pairs, plan.flat)
    rss_bytes = node.rss_bytes
    progress(f"memory of {plan.sessions:,} sessions")
    _open_sessions(pairs[0].sender, plan.sessions)
    return SegmentsReport(
        plan=plan,
        ratios=[node_per_s / bare_per_s for bare_per_s, node_per_s in rounds],
        bare_per_s=statistics.median(bare_per_s for bare_per_s, _ in rounds),
        node_per_s=statistics.median(node_per_s for _, node_per_s in rounds),
        bare_s=bare_s,
        node_s=node_s,
        rss_bytes=rss_bytes,
        rss_per_session_bytes=(node.rss_bytes - rss_bytes) / plan.sessions,
        rss_growth_bytes=rss_bytes - before,
    )


def _round(pairs: list[_Pair], segments: int) -> tuple[float, float]:
    """Send the same requests to both; return segments a second of the bare app and the node."""
    work = [(pair, pair.sender.segments(segments // len(pairs) or 1)) for pair in pairs]
    bare = run_load([(pair.bare, requests) for pair, requests in work])
    node = run_load([(pair.sender.connection, reqs) for pair, reqs in work], check_result)
    return bare.rate, node.rate


def _alone(pair: _Pair, segments: int) -> tuple[list[float], list[float]]:
    """Send one segment at a time, to either server in turn; return the latencies of both."""
    bare_s: list[float] = []
    node_s: list[float] = []
    for request in pair.sender.segments(segments):
        for connection, latencies in ((pair.bare, bare_s), (pair.sender.connection, node_s)):
            answer = connection.request(request)
            answer.require_ok()
            latencies.append(answer.total_s)
    return bare_s, node_s


def _send(pairs: list[_Pair], segments: int) -> None:
    for size in _batches(segments // len(pairs) or 1):
        work = [(pair.sender.connection, pair.sender.segments(size)) for pair in pairs]
        run_load(work, check_result)


def _batches(total: int) -> Iterator[int]:
    for start in range(0, total, BATCH):
        yield min(BATCH, total - start)


def _open_sessions(sender: Sender, sessions: int) -> None:
    """Open sessions with a segment each, over one connection, as one Gateway would."""
    for _ in range(sessions):
        fresh = Sender.open(sender.connection, sender.body)
        run_load([(fresh.connection, fresh.segments(1))], check_result)
