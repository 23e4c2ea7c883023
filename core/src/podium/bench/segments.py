"""What the node adds to a paid segment, against an app that reads and discards the same bodies.

Both stand behind the same listener, TLS and HTTP/2, and get the same requests; the node's plugin
does no work, so what is left is checks, payment, hash, bookkeeping and result. A third server reads
the bodies and takes their Keccak-256, which every orchestrator has to: no node can be faster.
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


@frozen
class Rates:
    """Segments a second of each server in one round."""

    bare: float
    hashing: float
    node: float


@frozen(kw_only=True)
class SegmentsReport:
    """What was measured.

    Attributes:
        rounds: Segments a second of each server, by round.
        bare_s: Latencies of the bare app, one segment at a time.
        node_s: Latencies of the node, likewise.
        rss_bytes: Resident memory of the node before the sessions were opened.
        rss_per_session_bytes: What one open session adds to it.
        rss_growth_bytes: What ``plan.flat`` segments added to it.
    """

    plan: Plan
    rounds: Sequence[Rates]
    bare_s: Sequence[float] = field(repr=False)
    node_s: Sequence[float] = field(repr=False)
    rss_bytes: int
    rss_per_session_bytes: float
    rss_growth_bytes: int

    def added_ms(self, percent: int) -> float:
        """Return a percentile of the node's latency less the same of the bare app's."""
        return 1000 * (percentile(self.node_s, percent) - percentile(self.bare_s, percent))

    @property
    def ratios(self) -> list[float]:
        """Node over bare app, by round."""
        return [rates.node / rates.bare for rates in self.rounds]

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        return {
            "segments.ratio_bare": statistics.median(self.ratios),
            "segments.ratio_bare_min": min(self.ratios),
            "segments.ratio_bare_max": max(self.ratios),
            "segments.ratio_hashing": statistics.median(r.node / r.hashing for r in self.rounds),
            "segments.bare_per_s": statistics.median(rates.bare for rates in self.rounds),
            "segments.hashing_per_s": statistics.median(rates.hashing for rates in self.rounds),
            "segments.node_per_s": statistics.median(rates.node for rates in self.rounds),
            "segments.p50_added_ms": self.added_ms(50),
            "segments.p99_added_ms": self.added_ms(99),
            "segments.rss_bytes": self.rss_bytes,
            "segments.rss_per_session_bytes": self.rss_per_session_bytes,
            "segments.rss_growth_10k_bytes": self.rss_growth_bytes,
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        plan, mib, figures = self.plan, 2**20, self.figures()
        return [
            f"{plan.body_bytes / 1000:g} KB a segment, a ticket with each, {plan.senders} senders",
            f"bare app               {figures['segments.bare_per_s']:>8,.0f} segments/s",
            f"bare app that hashes   {figures['segments.hashing_per_s']:>8,.0f} segments/s",
            f"node                   {figures['segments.node_per_s']:>8,.0f} segments/s",
            f"node over bare app {figures['segments.ratio_bare']:.2f}x (median of"
            f" {len(self.rounds)} rounds, {min(self.ratios):.2f} to {max(self.ratios):.2f}),"
            f" over the one that hashes {figures['segments.ratio_hashing']:.2f}x",
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
        hashing = stack.enter_context(server("hash"))
        # One is left free: with all taken, nobody gets new ticket parameters.
        most = plan.sessions + plan.senders + 1
        node = stack.enter_context(server("node", max_sessions=most))
        lanes = [_Lane.open(bare, hashing, node, plan) for _ in range(plan.senders)]
        for lane in lanes:
            stack.callback(lane.close)
        return _measure(plan, node, lanes, progress)


@define
class _Lane:
    """A sender to the node, and connections that send the same to the bare apps."""

    sender: Sender
    bare: Connection
    hashing: Connection

    @classmethod
    def open(cls, bare: Server, hashing: Server, node: Server, plan: Plan) -> _Lane:
        body = secrets.token_bytes(plan.body_bytes)
        sender = Sender.open(Connection.open(HOST, node.port), body)
        return cls(sender, Connection.open(HOST, bare.port), Connection.open(HOST, hashing.port))

    def close(self) -> None:
        for connection in (self.sender.connection, self.bare, self.hashing):
            connection.close()


def _measure(
    plan: Plan, node: Server, lanes: list[_Lane], progress: Callable[[str], None]
) -> SegmentsReport:
    _round(lanes, max(1, plan.segments // 4))  # warm up
    rounds = []
    for number in range(plan.rounds):
        rounds.append(_round(lanes, plan.segments))
        progress(
            f"round {number + 1}: bare {rounds[-1].bare:.0f}/s,"
            f" hashing {rounds[-1].hashing:.0f}/s, node {rounds[-1].node:.0f}/s"
        )
    bare_s, node_s = _alone(lanes[0], plan.alone)
    progress(f"memory of {plan.sessions:,} sessions")
    rss_bytes = node.rss_bytes
    _open_sessions(lanes[0].sender, plan.sessions)
    opened = node.rss_bytes
    progress(f"memory over {plan.flat:,} segments")
    _send(lanes, plan.flat)
    return SegmentsReport(
        plan=plan,
        rounds=rounds,
        bare_s=bare_s,
        node_s=node_s,
        rss_bytes=rss_bytes,
        rss_per_session_bytes=(opened - rss_bytes) / plan.sessions,
        rss_growth_bytes=node.rss_bytes - opened,
    )


def _round(lanes: list[_Lane], segments: int) -> Rates:
    """Send the same requests to all servers in turn."""
    work = [(lane, lane.sender.segments(segments // len(lanes) or 1)) for lane in lanes]
    return Rates(
        run_load([(lane.bare, requests) for lane, requests in work]).rate,
        run_load([(lane.hashing, requests) for lane, requests in work]).rate,
        run_load([(lane.sender.connection, made) for lane, made in work], check_result).rate,
    )


def _alone(lane: _Lane, segments: int) -> tuple[list[float], list[float]]:
    """Send one segment at a time, to either server in turn; return the latencies of both."""
    bare_s: list[float] = []
    node_s: list[float] = []
    for request in lane.sender.segments(segments):
        for connection, latencies in ((lane.bare, bare_s), (lane.sender.connection, node_s)):
            answer = connection.request(request)
            answer.require_ok()
            latencies.append(answer.total_s)
    return bare_s, node_s


def _send(lanes: list[_Lane], segments: int) -> None:
    for size in _batches(segments // len(lanes) or 1):
        work = [(lane.sender.connection, lane.sender.segments(size)) for lane in lanes]
        run_load(work, check_result)


def _batches(total: int) -> Iterator[int]:
    for start in range(0, total, BATCH):
        yield min(BATCH, total - start)


def _open_sessions(sender: Sender, sessions: int) -> None:
    """Open sessions with a segment each, over one connection, as one Gateway would."""
    for _ in range(sessions):
        fresh = Sender.open(sender.connection, sender.body)
        run_load([(fresh.connection, fresh.segments(1))], check_result)
