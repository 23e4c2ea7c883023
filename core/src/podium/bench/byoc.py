"""What the node adds to a BYOC request: one client straight to a container, and through a node.

The container answers at once and is a process of its own, as is the node. The node side has TLS,
a signed header with each request, a price and a balance; tickets are sent once, as by the
network's gateways while a balance lasts. Both sides get the same bodies from the same code in turn.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

import httpx
from attrs import define, field, frozen

from podium.bench.container import CAPABILITY
from podium.bench.load import LoadError, percentile
from podium.bench.process import program, server
from podium.bench.server import HOST
from podium.crypto import KeySigner
from podium.testing.gateway.ai.wire import AiHttp
from podium.testing.gateway.byoc.client import ByocGateway
from podium.testing.gateway.byoc.wire import job_header, payment_header
from podium.testing.gateway.client import gather
from podium.testing.gateway.requests import SegmentRequest, build_payment
from podium.testing.gateway.transport import http_client
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium.bench.process import Server

GATEWAY_KEY = b"\x61" * 32
"""A throwaway private key."""

BODY = b'{"text": "' + b"x" * 500 + b'"}'
TICKETS = 100
TIMEOUT_S = 120
STREAMS_PER_CONNECTION = 100
SETTLE_S = 1.0


@frozen(kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: Of which the median is taken; each has both sides in turn.
        jobs: Per round and side.
        clients: Jobs at a time.
        alone: Jobs sent one at a time to either side, for the latency.
        streams: Streams at a time, in each round.
        events: Of each.
        idle: Streams that say nothing.
    """

    rounds: int = 7
    jobs: int = 400
    clients: int = 32
    alone: int = 300
    streams: int = 8
    events: int = 2000
    idle: int = 1000


@frozen
class Rates:
    """Both sides in one round: jobs a second and events a second; the node's processor time."""

    direct: float
    node: float
    node_cpu_ms: float
    direct_events: float
    node_events: float


@frozen(kw_only=True)
class ByocReport:
    """What was measured.

    Attributes:
        rounds: Rates of both sides.
        alone: Seconds of one job at a time: straight and through the node.
        rss_bytes: The node's memory before the idle streams.
        idle_rss_bytes: What it had more with them.
    """

    plan: Plan
    rounds: Sequence[Rates]
    alone: tuple[Sequence[float], Sequence[float]] = field(repr=False)
    rss_bytes: int
    idle_rss_bytes: int

    def added_ms(self, percent: int) -> float:
        """Return a percentile of the node's latency less the same of the container's own."""
        direct, node = self.alone
        return 1000 * (percentile(node, percent) - percentile(direct, percent))

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        ratios = [r.node / r.direct for r in self.rounds]
        return {
            "byoc.ratio_direct": statistics.median(ratios),
            "byoc.ratio_direct_min": min(ratios),
            "byoc.ratio_direct_max": max(ratios),
            "byoc.direct_per_s": statistics.median(r.direct for r in self.rounds),
            "byoc.node_per_s": statistics.median(r.node for r in self.rounds),
            "byoc.node_cpu_ms": statistics.median(r.node_cpu_ms for r in self.rounds),
            "byoc.p50_added_ms": self.added_ms(50),
            "byoc.p99_added_ms": self.added_ms(99),
            "byoc.sse_ratio_direct": statistics.median(
                r.node_events / r.direct_events for r in self.rounds
            ),
            "byoc.sse_direct_events_per_s": statistics.median(r.direct_events for r in self.rounds),
            "byoc.sse_node_events_per_s": statistics.median(r.node_events for r in self.rounds),
            "byoc.rss_bytes": self.rss_bytes,
            "byoc.idle_streams_rss_bytes": self.idle_rss_bytes,
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        found, mib = self.figures(), 2**20
        return [
            f"a request of 512 bytes answered at once, {self.plan.clients} at a time",
            f"straight to the container {found['byoc.direct_per_s']:>8,.0f} jobs/s",
            f"through the node          {found['byoc.node_per_s']:>8,.0f} jobs/s"
            f" ({found['byoc.node_cpu_ms']:.2f} ms of its processor time a job)",
            f"node over container {found['byoc.ratio_direct']:.2f}x (median of"
            f" {len(self.rounds)} rounds, {found['byoc.ratio_direct_min']:.2f} to"
            f" {found['byoc.ratio_direct_max']:.2f})",
            f"one at a time, the node adds {self.added_ms(50):.2f} ms at p50,"
            f" {self.added_ms(99):.2f} ms at p99",
            f"{self.plan.streams} streams at a time: {found['byoc.sse_direct_events_per_s']:,.0f}"
            f" events/s straight, {found['byoc.sse_node_events_per_s']:,.0f} through the node,"
            f" {found['byoc.sse_ratio_direct']:.2f}x",
            f"resident {self.rss_bytes / mib:.0f} MiB; {self.plan.idle} idle streams take"
            f" {self.idle_rss_bytes / mib:.0f} MiB more",
        ]


def run_byoc_bench(
    plan: Plan | None = None, *, progress: Callable[[str], None] = lambda _text: None
) -> ByocReport:
    """Measure with a container, a node and this process as the client; about half a minute.

    Raises:
        LoadError: a job failed.
        BenchError: a server did not start.
    """
    plan = plan or Plan()
    with ExitStack() as stack:
        container = stack.enter_context(program("podium.bench.container"))
        url = f"http://{HOST}:{container.port}"
        node = stack.enter_context(server("byoc", runner=url))
        return asyncio.run(_measure(plan, url, node, progress))


@define
class _Bench:
    """The client, and where it sends the same requests to."""

    plan: Plan
    http: AiHttp
    direct: str
    server: Server
    headers: dict[str, str] = field(factory=dict)

    @property
    def node(self) -> str:
        return f"https://{HOST}:{self.server.port}/process/request"

    async def pay(self) -> None:
        """Send tickets once; they last for all that is measured."""
        signer = KeySigner(GATEWAY_KEY)
        async with ByocGateway(signer=signer, token_timeout_s=TIMEOUT_S) as gateway:
            token = await gateway.token(f"https://{HOST}:{self.server.port}", CAPABILITY)
        self.headers = {
            "Content-Type": "application/json",
            "Livepeer": job_header(
                signer,
                capability=CAPABILITY,
                job_id="bench",
                request="{}",
                parameters="{}",
                timeout_s=TIMEOUT_S,
            ),
        }
        price = net.PriceInfo(pricePerUnit=token.price, pixelsPerUnit=1)
        payment = build_payment(signer, price, token.terms, range(1, TICKETS + 1))
        paid = {**self.headers, "Livepeer-Payment": payment_header(payment)}
        await self.take(f"{self.node}/echo", BODY, paid)

    async def take(self, url: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        """Send one request, read all of the answer."""
        request = SegmentRequest(self.headers if headers is None else headers, body)
        async with self.http.post(url, request, TIMEOUT_S) as incoming:
            if incoming.status != 200:
                raise LoadError(f"{incoming.status}: {await incoming.refusal()}")
            return await incoming.read()

    async def together(self, url: str, body: bytes, number: int, at_a_time: int) -> float:
        """Send some at a time; return the seconds for all."""
        queue = iter(range(number))

        async def client() -> None:
            for _ in queue:
                await self.take(url, body)

        start = time.perf_counter()
        await gather(*(client() for _ in range(at_a_time)))
        return time.perf_counter() - start

    async def round(self, jobs: int) -> Rates:
        """Send the same to both sides in turn."""
        plan, events = self.plan, b"%d" % self.plan.events
        total = plan.streams * plan.events
        direct_s = await self.together(f"{self.direct}/echo", BODY, jobs, plan.clients)
        before = self.server.cpu_s or 0.0
        node_s = await self.together(f"{self.node}/echo", BODY, jobs, plan.clients)
        cpu_s = (self.server.cpu_s or 0.0) - before
        streamed = (f"{self.direct}/events", f"{self.node}/events")
        direct_events_s, node_events_s = [
            await self.together(url, events, plan.streams, plan.streams) for url in streamed
        ]
        return Rates(
            direct=jobs / direct_s,
            node=jobs / node_s,
            node_cpu_ms=1000 * cpu_s / jobs,
            direct_events=total / direct_events_s,
            node_events=total / node_events_s,
        )

    async def alone(self) -> tuple[list[float], list[float]]:
        """Send one request at a time, to the container and the node in turn."""
        sides: tuple[list[float], list[float]] = ([], [])
        for _ in range(self.plan.alone):
            for seconds, url in zip(sides, (self.direct, self.node), strict=True):
                start = time.perf_counter()
                await self.take(f"{url}/echo", BODY)
                seconds.append(time.perf_counter() - start)
        return sides

    async def idle(self) -> tuple[int, int]:
        """Open streams that say nothing; return the node's memory before, and what it took."""
        before = self.server.rss_bytes
        async with AsyncExitStack() as stack:
            left = self.plan.idle
            while left > 0:
                client = await stack.enter_async_context(http_client(http2=True))
                opened = [
                    self._open(client, stack) for _ in range(min(left, STREAMS_PER_CONNECTION))
                ]
                await gather(*opened)
                left -= len(opened)
            await asyncio.sleep(SETTLE_S)
            return before, self.server.rss_bytes - before

    async def _open(self, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        request = client.build_request(
            "POST", f"{self.node}/idle", headers=self.headers, content=b"{}"
        )
        reply = await client.send(request, stream=True)
        stack.push_async_callback(reply.aclose)
        if reply.status_code != 200:
            raise LoadError(f"{reply.status_code}: {await reply.aread()!r}")
        async for _ in reply.aiter_bytes():
            return


async def _measure(
    plan: Plan, direct: str, node: Server, progress: Callable[[str], None]
) -> ByocReport:
    http = AiHttp(http2=False)  # the same protocol on both sides, less the encryption
    bench = _Bench(plan, http, direct, node)
    try:
        await bench.pay()
        await bench.round(max(plan.clients, plan.jobs // 4))  # warm up
        rounds = []
        for number in range(plan.rounds):
            rounds.append(await bench.round(plan.jobs))
            last = rounds[-1]
            progress(
                f"round {number + 1}: straight {last.direct:.0f}/s, node {last.node:.0f}/s; events"
                f" {last.direct_events:,.0f}/s, {last.node_events:,.0f}/s"
            )
        alone = await bench.alone()
        progress(f"{plan.idle} idle streams")
        rss_bytes, idle_rss_bytes = await bench.idle()
    finally:
        await http.close()
    return ByocReport(
        plan=plan,
        rounds=rounds,
        alone=alone,
        rss_bytes=rss_bytes,
        idle_rss_bytes=idle_rss_bytes,
    )
