"""What GetOrchestrator costs, against a bare gRPC echo behind the same listener.

The call is the one that a gateway makes beside nearly every segment: signed, answered with ticket
parameters and a price. Ten streams on one connection give the rate, one request at a time on one
connection gives the latency.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from podium.bench.load import Connection, percentile
from podium.bench.paid import GATEWAY_KEY, discover, discovery
from podium.bench.process import BenchError, server
from podium.bench.server import HOST, METHOD
from podium.crypto import KeySigner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium.bench.load import Request

STREAMS = 10
_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s), ([\d.]+) req/s")
_SUCCEEDED = re.compile(r"(\d+) succeeded")


@frozen(kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: Of which the median is taken; each has both servers in turn.
        calls: Per round and server.
        alone: Calls made one at a time, for the latency.
        h2load: The program that loads; empty for grpcio in this process.
    """

    rounds: int = 7
    calls: int = 4000
    alone: int = 2000
    h2load: str = field(factory=lambda: shutil.which("h2load") or "")


@frozen(kw_only=True)
class SessionsReport:
    """What was measured.

    Attributes:
        ratios: GetOrchestrator over echo, by round.
        echo_per_s: Calls a second of the echo, median.
        node_per_s: Calls a second of GetOrchestrator, median.
        echo_s: Latencies of the echo, one call at a time.
        node_s: Latencies of GetOrchestrator, likewise.
    """

    plan: Plan
    ratios: Sequence[float]
    echo_per_s: float
    node_per_s: float
    echo_s: Sequence[float] = field(repr=False)
    node_s: Sequence[float] = field(repr=False)

    def figures(self) -> dict[str, float]:
        """Return the figures by their names in the JSON."""
        return {
            "sessions.ratio_bare": statistics.median(self.ratios),
            "sessions.ratio_bare_min": min(self.ratios),
            "sessions.ratio_bare_max": max(self.ratios),
            "sessions.echo_per_s": self.echo_per_s,
            "sessions.node_per_s": self.node_per_s,
            "sessions.p50_ms": 1000 * percentile(self.node_s, 50),
            "sessions.p99_ms": 1000 * percentile(self.node_s, 99),
            "sessions.echo_p50_ms": 1000 * percentile(self.echo_s, 50),
        }

    def lines(self) -> list[str]:
        """Return the report as text."""
        figures = self.figures()
        return [
            f"loaded by {'h2load' if self.plan.h2load else 'grpcio'}, {STREAMS} streams on one"
            " connection",
            f"bare echo       {self.echo_per_s:>8,.0f} calls/s",
            f"GetOrchestrator {self.node_per_s:>8,.0f} calls/s   "
            f"{figures['sessions.ratio_bare']:.2f}x (median of {len(self.ratios)} rounds,"
            f" {min(self.ratios):.2f} to {max(self.ratios):.2f})",
            f"one at a time: p50 {figures['sessions.p50_ms']:.2f} ms,"
            f" p99 {figures['sessions.p99_ms']:.2f} ms;"
            f" echo p50 {figures['sessions.echo_p50_ms']:.2f} ms",
        ]


def run_sessions_bench(
    plan: Plan | None = None, *, progress: Callable[[str], None] = lambda _text: None
) -> SessionsReport:
    """Measure with two servers in processes of their own; some seconds.

    Raises:
        LoadError: a call failed.
        BenchError: a server did not start, or h2load saw failures.
    """
    plan = plan or Plan()
    signer = KeySigner(GATEWAY_KEY)
    call = discovery(signer)
    with server("echo") as echo, server("node") as node:
        echo_s, node_s = _alone(call, signer, echo.port, node.port, plan.alone)
        rounds = []
        for number in range(plan.rounds):
            rounds.append(tuple(_rate(plan, call, port) for port in (echo.port, node.port)))
            progress(f"round {number + 1}: echo {rounds[-1][0]:.0f}/s, node {rounds[-1][1]:.0f}/s")
    return SessionsReport(
        plan=plan,
        ratios=[node_per_s / echo_per_s for echo_per_s, node_per_s in rounds],
        echo_per_s=statistics.median(echo_per_s for echo_per_s, _ in rounds),
        node_per_s=statistics.median(node_per_s for _, node_per_s in rounds),
        echo_s=echo_s,
        node_s=node_s,
    )


def _alone(
    call: Request, signer: KeySigner, echo_port: int, node_port: int, calls: int
) -> tuple[list[float], list[float]]:
    """Call one at a time, either server in turn; return the latencies of both."""
    echo, node = Connection.open(HOST, echo_port), Connection.open(HOST, node_port)
    discover(node, signer)  # so that an error would show: its status comes with a 200
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(calls):
        for connection, latencies in zip((echo, node), found, strict=True):
            latencies.append(connection.request(call).total_s)
    echo.close()
    node.close()
    return found


def _rate(plan: Plan, call: Request, port: int) -> float:
    """Return calls a second."""
    if not plan.h2load:
        return asyncio.run(_grpcio_rate(call, port, plan.calls))
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(call.body)
        headers = [option for key, value in call.headers for option in ("-H", f"{key}: {value}")]
        command = [plan.h2load, "-n", str(plan.calls), "-c", "1", "-m", str(STREAMS)]
        command += ["-d", body.name, *headers, f"https://{HOST}:{port}{call.path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return h2load_rate(done.stdout, plan.calls)


def h2load_rate(output: str, calls: int) -> float:
    """Read h2load's output; return requests a second.

    Raises:
        BenchError: not every request succeeded.
    """
    finished, succeeded = _FINISHED.search(output), _SUCCEEDED.search(output)
    if finished is None or succeeded is None or int(succeeded[1]) != calls:
        raise BenchError(f"h2load did not get {calls} answers: {output[-500:]}")
    return float(finished[3])


async def _grpcio_rate(call: Request, port: int, calls: int) -> float:
    """Load with grpcio, which is slower than what it measures: the ratio is then too good."""
    import grpc

    pem = await asyncio.to_thread(ssl.get_server_certificate, (HOST, port))
    credentials = grpc.ssl_channel_credentials(pem.encode())
    options = (("grpc.ssl_target_name_override", HOST),)
    message = call.body[5:]
    async with grpc.aio.secure_channel(f"{HOST}:{port}", credentials, options) as channel:
        method = channel.unary_unary(METHOD)
        await method(message)

        async def one_stream() -> None:
            for _ in range(-(-calls // STREAMS)):
                await method(message)

        started_s = time.perf_counter()
        await asyncio.gather(*(one_stream() for _ in range(STREAMS)))
        seconds = time.perf_counter() - started_s
    return STREAMS * -(-calls // STREAMS) / seconds
