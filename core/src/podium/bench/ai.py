"""What the node adds to an AI job: the same client straight to a runner, and through a node.

The runner answers at once and is a process of its own, as is the node; the node side has TLS,
HTTP/2, credentials and a ticket with each job. Both get the same bodies from the same code, in
turn; all that a Gateway makes before it sends is made before anything is timed. A second node has
a plugin that only passes bodies on: what of the cost is the core's.
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
        node: Kind of the node that is measured.
    """

    rounds: int = 7
    jobs: int = 400
    clients: int = 32
    alone: int = 300
    result_bytes: int = 50_000_000
    node: str = "ai"


@frozen
class Rates:
    """Jobs a second of each side in one round, and the nodes' processor time for a job."""

    direct: float
    core: float
    node: float
    core_cpu_ms: float
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
            "ai.core_per_s": statistics.median(r.core for r in self.rounds),
            "ai.node_per_s": statistics.median(r.node for r in self.rounds),
            "ai.core_cpu_ms": statistics.median(r.core_cpu_ms for r in self.rounds),
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
            f"node that passes on    {found['ai.core_per_s']:>8,.0f} jobs/s"
            f" ({found['ai.core_cpu_ms']:.2f} ms of its processor time a job)",
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
        url = f"http://{HOST}:{runner.port}"
        core = stack.enter_context(server("proxy", runner=url))
        node = stack.enter_context(server(plan.node, runner=url))
        return asyncio.run(_measure(plan, url, core, node, progress))


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
class _Side:
    """A node, and who sends to it."""

    server: Server
    rpc: Rpc
    chat: Sender = field(init=False)
    speech: Sender = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.chat = Sender(self.url, self.rpc, find_pipeline("llm"))
        self.speech = Sender(self.url, self.rpc, find_pipeline("text-to-speech"))

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.server.port}"

    @property
    def cpu_s(self) -> float:
        return self.server.cpu_s or 0.0


@define
class _Bench:
    """The client, and where it sends the same jobs to."""

    plan: Plan
    http: AiHttp
    direct: str
    core: _Side
    node: _Side

    async def take(self, url: str, request: SegmentRequest) -> Taken:
        """Send one job, read all of the answer."""
        start, first_s = time.perf_counter(), 0.0
        path = "llm" if b'"messages"' in request.body else "text-to-speech"
        async with self.http.post(f"{url}/{path}", request, TIMEOUT_S) as incoming:
            if incoming.status != 200:
                raise LoadError(f"{incoming.status}: {await incoming.refusal()}")
            async for _ in incoming.pieces():
                first_s = first_s or time.perf_counter() - start
        return Taken(first_s, time.perf_counter() - start)

    async def round(self, jobs: int) -> Rates:
        """Send the same jobs to all sides in turn."""
        made = await self.node.chat.jobs(_chat(stream=False), jobs)
        direct_s = await self.together(self.direct, made)
        core_s, core_cpu_s = await self._through(
            self.core, await self.core.chat.jobs(_chat(stream=False), jobs)
        )
        node_s, node_cpu_s = await self._through(self.node, made)
        return Rates(
            direct=jobs / direct_s,
            core=jobs / core_s,
            node=jobs / node_s,
            core_cpu_ms=1000 * core_cpu_s / jobs,
            node_cpu_ms=1000 * node_cpu_s / jobs,
        )

    async def _through(
        self, side: _Side, requests: Sequence[SegmentRequest]
    ) -> tuple[float, float]:
        before = side.cpu_s
        seconds = await self.together(side.url, requests)
        return seconds, side.cpu_s - before

    async def together(self, url: str, requests: Sequence[SegmentRequest]) -> float:
        """Send some at a time; return the seconds for all."""
        queue = iter(requests)

        async def client() -> None:
            for request in queue:
                await self.take(url, request)

        start = time.perf_counter()
        await gather(*(client() for _ in range(self.plan.clients)))
        return time.perf_counter() - start

    async def alone(self, content: tuple[str, bytes]) -> tuple[list[Taken], list[Taken]]:
        """Send one job at a time, to the runner and the node in turn."""
        direct: list[Taken] = []
        node: list[Taken] = []
        for request in await self.node.chat.jobs(content, self.plan.alone):
            direct.append(await self.take(self.direct, request))
            node.append(await self.take(self.node.url, request))
        return direct, node

    async def large(self) -> tuple[int, int, float]:
        """Let a large result through, and watch the node's memory meanwhile."""
        pipeline, node = self.node.speech.pipeline, self.node
        texts = ("44", str(self.plan.result_bytes))
        contents = [encode(pipeline, {"text": text, "model_id": MODEL}, None) for text in texts]
        small, large = [(await node.speech.jobs(content, 1))[0] for content in contents]
        await self.take(node.url, small)  # what the first result of a kind loads is not its size
        before = highest = node.server.rss_bytes
        job = asyncio.create_task(self.take(node.url, large))
        while not job.done():
            highest = max(highest, node.server.rss_bytes)
            await asyncio.wait((job,), timeout=MEMORY_POLL_S)
        return before, highest - before, (await job).total_s


def _chat(*, stream: bool) -> tuple[str, bytes]:
    pipeline = find_pipeline("llm")
    fields = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
    return encode(pipeline, pipeline.complete(MODEL, {**fields, "stream": stream}, None), None)


async def _measure(
    plan: Plan, direct: str, core: Server, node: Server, progress: Callable[[str], None]
) -> AiReport:
    http, rpc = AiHttp(), Rpc()
    bench = _Bench(plan, http, direct, _Side(core, rpc), _Side(node, rpc))
    try:
        await bench.round(max(plan.clients, plan.jobs // 4))  # warm up
        rounds = []
        for number in range(plan.rounds):
            rounds.append(await bench.round(plan.jobs))
            last = rounds[-1]
            progress(
                f"round {number + 1}: straight {last.direct:.0f}/s, passed on {last.core:.0f}/s,"
                f" node {last.node:.0f}/s"
            )
        alone = await bench.alone(_chat(stream=False))
        streamed = await bench.alone(_chat(stream=True))
        progress(f"a result of {plan.result_bytes / 1e6:.0f} MB")
        rss_bytes, growth_bytes, large_s = await bench.large()
    finally:
        await http.close()
        await rpc.close()
    return AiReport(
        plan=plan,
        rounds=rounds,
        alone=alone,
        streamed=streamed,
        rss_bytes=rss_bytes,
        rss_growth_bytes=growth_bytes,
        large_s=large_s,
    )
