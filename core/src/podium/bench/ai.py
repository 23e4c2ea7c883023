"""What the node adds to an AI job: the same client straight to a runner, and through a node.

The runner answers at once and is a process of its own, as is the node; the node side has TLS,
HTTP/2, credentials and a ticket with each job. Both get the same bodies from the same code, in
turn; all that a Gateway makes before it sends is made before anything is timed.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from podium.bench.load import LoadError, percentile
from podium.bench.process import program, server
from podium.bench.runner import MODEL
from podium.bench.server import HOST
from podium.crypto import KeySigner
from podium.testing.gateway.ai.pipelines import find_pipeline
from podium.testing.gateway.ai.requests import ai_capabilities, build_ai_request, encode
from podium.testing.gateway.ai.wire import AiHttp
from podium.testing.gateway.client import gather
from podium.testing.gateway.requests import SegmentRequest, build_payment, orchestrator_request
from podium.testing.gateway.tickets import TicketTerms
from podium.testing.gateway.transport import Rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from podium.bench.process import Server
    from podium.testing.gateway.ai.pipelines import BatchPipeline
    from podium.wire.pb import lp_rpc_pb2 as net

GATEWAY_KEY = b"\x61" * 32
"""A throwaway private key."""

NONCES_PER_PARAMS = 600
TIMEOUT_S = 60.0
MEMORY_POLL_S = 0.005


@frozen(kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: Of which the median is taken; each has both sides in turn.
        jobs: Per round and side.
        clients: Jobs at a time.
        alone: Jobs sent one at a time to either side, for the latency; as many are streamed.
        result_bytes: Of the large result.
    """

    rounds: int = 7
    jobs: int = 500
    clients: int = 8
    alone: int = 300
    result_bytes: int = 50_000_000


@frozen
class Rates:
    """Jobs a second in one round, and the node's processor time for one of its jobs."""

    direct: float
    node: float
    node_cpu_ms: float


@frozen
class Taken:
    """How long one job took: to the first piece of its answer, and to the last."""

    first_s: float
    total_s: float


@frozen(kw_only=True)
class AiReport:
    """What was measured.

    Attributes:
        rounds: Jobs a second of each side, by round.
        alone: One job at a time: straight and through the node.
        streamed: The same for streamed answers.
        rss_bytes: The node's memory before the large result.
        rss_growth_bytes: What it had more at its highest while that passed through.
        large_s: How long that took.
    """

    plan: Plan
    rounds: Sequence[Rates]
    alone: tuple[Sequence[Taken], Sequence[Taken]] = field(repr=False)
    streamed: tuple[Sequence[Taken], Sequence[Taken]] = field(repr=False)
    rss_bytes: int
    rss_growth_bytes: int
    large_s: float

    def added_ms(self, percent: int) -> float:
        """Return a percentile of the node's latency less the same of the runner's own."""
        direct, node = ([taken.total_s for taken in side] for side in self.alone)
        return 1000 * (percentile(node, percent) - percentile(direct, percent))

    @property
    def first_byte_added_ms(self) -> float:
        """What the node adds to the first event, at the median."""
        direct, node = ([taken.first_s for taken in side] for side in self.streamed)
        return 1000 * (statistics.median(node) - statistics.median(direct))

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        return {
            "ai.ratio_direct": statistics.median(r.node / r.direct for r in self.rounds),
            "ai.ratio_direct_min": min(r.node / r.direct for r in self.rounds),
            "ai.ratio_direct_max": max(r.node / r.direct for r in self.rounds),
            "ai.direct_per_s": statistics.median(r.direct for r in self.rounds),
            "ai.node_per_s": statistics.median(r.node for r in self.rounds),
            "ai.node_cpu_ms": statistics.median(r.node_cpu_ms for r in self.rounds),
            "ai.p50_added_ms": self.added_ms(50),
            "ai.p99_added_ms": self.added_ms(99),
            "ai.sse_first_byte_added_ms": self.first_byte_added_ms,
            "ai.rss_bytes": self.rss_bytes,
            "ai.rss_50mb_bytes": self.rss_growth_bytes,
            "ai.large_result_s": self.large_s,
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        found, mib = self.figures(), 2**20
        return [
            f"a chat answered at once, a ticket with each, {self.plan.clients} at a time",
            f"straight to the runner {found['ai.direct_per_s']:>8,.0f} jobs/s",
            f"through the node       {found['ai.node_per_s']:>8,.0f} jobs/s"
            f" ({found['ai.node_cpu_ms']:.2f} ms of its processor time a job)",
            f"node over runner {found['ai.ratio_direct']:.2f}x (median of"
            f" {len(self.rounds)} rounds,"
            f" {found['ai.ratio_direct_min']:.2f} to {found['ai.ratio_direct_max']:.2f})",
            f"one at a time, the node adds {self.added_ms(50):.2f} ms at p50,"
            f" {self.added_ms(99):.2f} ms at p99; {self.first_byte_added_ms:.2f} ms to the first"
            " event of a stream",
            f"resident {self.rss_bytes / mib:.0f} MiB; a result of"
            f" {self.plan.result_bytes / 1e6:.0f} MB took {self.large_s:.2f} s and"
            f" {self.rss_growth_bytes / mib:.1f} MiB more at its highest",
        ]


def run_ai_bench(
    plan: Plan | None = None, *, progress: Callable[[str], None] = lambda _text: None
) -> AiReport:
    """Measure with a runner, a node and this process as the client; about half a minute.

    Raises:
        LoadError: a job failed.
        BenchError: a server did not start.
    """
    plan = plan or Plan()
    with ExitStack() as stack:
        runner = stack.enter_context(program("podium.bench.runner"))
        node = stack.enter_context(server("ai", runner=f"http://{HOST}:{runner.port}"))
        return asyncio.run(_measure(plan, runner, node, progress))


@define
class Sender:
    """Makes paid jobs; asks for new ticket parameters when their nonces are used up."""

    uri: str
    rpc: Rpc
    pipeline: BatchPipeline
    signer: KeySigner = field(factory=lambda: KeySigner(GATEWAY_KEY))
    _info: net.OrchestratorInfo | None = None
    _nonces: Iterator[int] = field(factory=lambda: iter(()))

    async def jobs(self, content: tuple[str, bytes], number: int) -> list[SegmentRequest]:
        """Return the next jobs, with a ticket each."""
        return [await self._job(content) for _ in range(number)]

    async def _job(self, content: tuple[str, bytes]) -> SegmentRequest:
        capabilities = ai_capabilities(self.pipeline.capability, MODEL)
        nonce = next(self._nonces, None)
        if nonce is None or self._info is None:
            request = orchestrator_request(self.signer, capabilities)
            self._info = await self.rpc.get_orchestrator(self.uri, request, TIMEOUT_S)
            self._nonces = iter(range(1, NONCES_PER_PARAMS + 1))
            nonce = next(self._nonces)
        terms = TicketTerms.read(self._info.ticket_params)
        payment = build_payment(self.signer, self._info.price_info, terms, [nonce])
        return build_ai_request(
            self.signer, self._info, self.pipeline, MODEL, capabilities, payment, content
        )


@define
class _Sides:
    """A client, and where it sends the same jobs to."""

    http: AiHttp
    direct: str
    node: str
    chat: Sender
    speech: Sender

    async def take(self, side: str, request: SegmentRequest) -> Taken:
        """Send one job to one side, read all of the answer."""
        start, first_s = time.perf_counter(), 0.0
        url = f"{side}/{'llm' if b'messages' in request.body else 'text-to-speech'}"
        async with self.http.post(url, request, TIMEOUT_S) as incoming:
            if incoming.status != 200:
                raise LoadError(f"{incoming.status}: {await incoming.refusal()}")
            async for _ in incoming.pieces():
                first_s = first_s or time.perf_counter() - start
        return Taken(first_s, time.perf_counter() - start)


def _chat(*, stream: bool) -> tuple[str, bytes]:
    pipeline = find_pipeline("llm")
    fields = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
    return encode(pipeline, pipeline.complete(MODEL, {**fields, "stream": stream}, None), None)


async def _measure(
    plan: Plan, runner: Server, node: Server, progress: Callable[[str], None]
) -> AiReport:
    http, rpc = AiHttp(), Rpc()
    direct, uri = f"http://{HOST}:{runner.port}", f"https://{HOST}:{node.port}"
    senders = [Sender(uri, rpc, find_pipeline(name)) for name in ("llm", "text-to-speech")]
    sides = _Sides(http, direct, uri, *senders)
    try:
        await _round(plan, sides, node, max(plan.clients, plan.jobs // 4))  # warm up
        rounds = []
        for number in range(plan.rounds):
            rounds.append(await _round(plan, sides, node, plan.jobs))
            last = rounds[-1]
            progress(
                f"round {number + 1}: straight {last.direct:.0f}/s, node {last.node:.0f}/s"
                f" ({last.node_cpu_ms:.2f} ms of its processor time a job)"
            )
        alone = await _alone(plan, sides, _chat(stream=False))
        streamed = await _alone(plan, sides, _chat(stream=True))
        progress(f"a result of {plan.result_bytes / 1e6:.0f} MB")
        rss, growth, large_s = await _large(plan, sides, node)
        return AiReport(
            plan=plan,
            rounds=rounds,
            alone=alone,
            streamed=streamed,
            rss_bytes=rss,
            rss_growth_bytes=growth,
            large_s=large_s,
        )
    finally:
        await http.close()
        await rpc.close()


async def _round(plan: Plan, sides: _Sides, node: Server, jobs: int) -> Rates:
    """Send the same jobs to both sides in turn."""
    made = await sides.chat.jobs(_chat(stream=False), jobs)
    direct_s = await _together(plan, sides, sides.direct, made)
    before = node.cpu_s or 0.0
    node_s = await _together(plan, sides, sides.node, made)
    cpu_s = (node.cpu_s or 0.0) - before
    return Rates(jobs / direct_s, jobs / node_s, 1000 * cpu_s / jobs)


async def _together(
    plan: Plan, sides: _Sides, side: str, requests: Sequence[SegmentRequest]
) -> float:
    queue = iter(requests)

    async def client() -> None:
        for request in queue:
            await sides.take(side, request)

    start = time.perf_counter()
    await gather(*(client() for _ in range(plan.clients)))
    return time.perf_counter() - start


async def _alone(
    plan: Plan, sides: _Sides, content: tuple[str, bytes]
) -> tuple[list[Taken], list[Taken]]:
    """Send one job at a time, to either side in turn."""
    direct: list[Taken] = []
    node: list[Taken] = []
    for request in await sides.chat.jobs(content, plan.alone):
        direct.append(await sides.take(sides.direct, request))
        node.append(await sides.take(sides.node, request))
    return direct, node


async def _large(plan: Plan, sides: _Sides, node: Server) -> tuple[int, int, float]:
    """Let a large result through, and watch the node's memory meanwhile."""
    pipeline = find_pipeline("text-to-speech")
    fields = pipeline.complete(MODEL, {"text": str(plan.result_bytes)}, None)
    (small,) = await sides.speech.jobs(encode(pipeline, {**fields, "text": "44"}, None), 1)
    (large,) = await sides.speech.jobs(encode(pipeline, fields, None), 1)
    await sides.take(sides.node, small)  # what the first result of a kind loads is not its size
    before = highest = node.rss_bytes
    job = asyncio.create_task(sides.take(sides.node, large))
    while not job.done():
        highest = max(highest, node.rss_bytes)
        await asyncio.wait((job,), timeout=MEMORY_POLL_S)
    return before, highest - before, (await job).total_s
