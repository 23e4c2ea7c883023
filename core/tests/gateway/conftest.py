import asyncio
import io
import itertools
import json
from base64 import b64decode
from importlib.resources import files
from pathlib import Path

import av
import pytest
from podium.testing.gateway.media import segments
from podium.wire.pb import lp_rpc_pb2 as net
from podium_hookspecs import (
    Chunk,
    Health,
    Offer,
    Pipeline,
    Requirements,
    Resources,
    Result,
    Units,
    Worker,
    WorkerState,
    hookimpl,
)

PIXELS = 50 * 1280 * 720
"""Of one whole segment of the committed clip."""

DATA = Path(__file__).parent / "data"


def decoded(message, header):
    return message.FromString(b64decode(header))


@pytest.fixture(scope="session")
def recorded():
    """Every ``/segment`` of an unmodified gateway on chain, as raw headers and results."""
    return json.loads((DATA / "onchain-segments.json").read_text())


@pytest.fixture(scope="session")
def exchanges(recorded):
    """(record, SegData, Payment, TranscodeResult) of each recorded segment."""
    return [
        (
            record,
            decoded(net.SegData, record["segment"]),
            decoded(net.Payment, record["payment"]),
            net.TranscodeResult.FromString(bytes.fromhex(record["result_hex"])),
        )
        for record in recorded["segments"]
    ]


@pytest.fixture(scope="session")
def offchain_segments():
    """SegData of an unmodified gateway off chain: presets, and ladders that use every field."""
    texts = json.loads((DATA / "offchain-segments.json").read_text())["segments"]
    return [decoded(net.SegData, text) for text in texts]


def count_pixels(data):
    """Of a piece of the committed clip: every packet of video is a frame."""
    with av.open(io.BytesIO(data), "r") as container:
        return 1280 * 720 * sum(packet.size > 0 for packet in container.demux(video=0))


class EchoWorker(Worker):
    """Returns the source as every rendition: real video, and cheap."""

    name = "echo"
    resources = Resources(pipelines={"transcode"}, capabilities=range(27), slots=4, version="0.9.1")

    def __init__(self):
        self.bend = None
        self.jobs = 0

    async def start(self):
        pass

    async def health(self):
        yield Health(WorkerState.OK)
        await asyncio.Event().wait()

    async def run(self, job):
        self.jobs += 1
        data = b"".join([piece async for piece in job.body])
        pixels = count_pixels(data)
        chunks = [
            Chunk(data, index=index, kind="video", units=pixels)
            for index in range(len(job.request.profiles))
        ]
        if self.bend is not None:
            chunks = await self.bend(self.jobs, chunks)
        for chunk in chunks:
            yield chunk
        yield Result(sum(chunk.units for chunk in chunks))

    async def cancel(self, job_id):
        pass

    async def close(self):
        pass


class EchoPipeline(Pipeline):
    name = "transcode"
    unit = "pixel"

    def offers(self, workers):
        return tuple(Offer(number) for number in range(27)) if workers else ()

    def require(self, request):
        return Requirements()

    def estimate(self, request):
        return Units(PIXELS * len(request.profiles), "pixel")

    async def run(self, job, worker, meter):
        async for output in worker.run(job):
            if isinstance(output, Chunk):
                meter.add(Units(output.units, "pixel"))
            yield output


class EchoPlugin:
    def __init__(self):
        self.worker = EchoWorker()

    @hookimpl
    def podium_pipelines(self, config, context):
        return [EchoPipeline()]

    @hookimpl
    def podium_workers(self, config, context):
        return [self.worker]


@pytest.fixture
def echo():
    return EchoPlugin()


@pytest.fixture(scope="session")
def clip():
    """The committed clip's path."""
    return Path(str(files("podium.assets") / "clip" / "bigbuckbunny.mp4"))


@pytest.fixture(scope="session")
def two_segments(clip):
    return list(itertools.islice(segments(clip), 2))


@pytest.fixture
def paid():
    """A node's configuration that takes tickets, one in five of which wins."""
    return {
        "payments": {
            "price_per_unit": 1200,
            "ticket_ev_wei": 8_000_000_000,
            "max_face_value_wei": 40_000_000_000,
        }
    }
