"""The pipeline: checks, offers, estimates, metering; and the plugin's hooks."""

from fractions import Fraction

import pytest
from attrs import define
from podium_hookspecs import (
    BadInput,
    BudgetExhausted,
    Chunk,
    Clip,
    Codec,
    ConfigError,
    Container,
    Device,
    H264Profile,
    JobFailed,
    Resources,
    Result,
    TranscodeRequest,
    Units,
    Unsupported,
    Worker,
)
from podium_transcode import plugin
from podium_transcode.config import TranscodeConfig
from podium_transcode.devices import (
    MAX_PINS,
    PIN_IDLE_S,
    Balancer,
    choose_devices,
    parse_gpus,
    session_cost,
)


def request(*profiles, duration_ms=2000, **more):
    return TranscodeRequest("m", 0, duration_ms, profiles, **more)


@pytest.mark.parametrize(
    ("change", "text", "kind"),
    [
        ({"gop_ms": -2}, "TranscoderInvalidGOP", BadInput),
        ({"bitrate_bps": -1}, "Invalid argument", BadInput),
        ({"fps": Fraction(-1)}, "Invalid argument", BadInput),
        ({"fps": Fraction(10**6)}, "Invalid argument", BadInput),
        ({"codec": Codec.VP9}, "Muxer not found", Unsupported),
        ({"codec": Codec.VP8, "container": Container.MP4}, "Muxer not found", Unsupported),
    ],
)
def test_wrong_profiles(kit, pipeline, change, text, kind):
    with pytest.raises(kind) as caught:
        pipeline.require(request(kit.profile(**change)))
    assert caught.value.public == text


def test_too_many_outputs(kit, pipeline):
    pipeline.require(request(*[kit.profile()] * 10))
    with pytest.raises(BadInput) as caught:
        pipeline.require(request(*[kit.profile()] * 11))
    assert caught.value.public == "Too many outputs"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"clip": Clip(3000, 1000)}, "TranscoderInvalidClipConfig"),
        ({"duration_ms": 300_001}, "TranscoderInvalidDuration"),
        ({"duration_ms": -1}, "TranscoderInvalidDuration"),
    ],
)
def test_wrong_requests(kit, pipeline, more, text):
    with pytest.raises(BadInput) as caught:
        pipeline.require(request(kit.profile(), **more))
    assert caught.value.public == text


def test_something_else_is_refused(pipeline):
    with pytest.raises(BadInput):
        pipeline.require("a request")


def test_requirements(kit, pipeline):
    wanted = pipeline.require(
        request(
            kit.profile(fps=Fraction(30000, 1001), gop_ms=1000),
            kit.profile(container=Container.MP4, h264_profile=H264Profile.HIGH),
            kit.profile(codec=Codec.HEVC),
            clip=Clip(0, 100),
        )
    )
    assert wanted.capabilities == {0, 1, 2, 3, 9, 11, 16, 26}
    assert wanted.sticky


def test_session_cost_has_the_reference_value(kit):
    profiles = [kit.profile(fps=fps) for fps in (Fraction(1), None, Fraction(30000, 1001))]
    assert session_cost(profiles) == 2211840


@pytest.mark.parametrize("size", [(-(2**31), 2**31 - 1), (-5, -5), (0, 0), (2**31 - 1, 2**31 - 1)])
def test_a_mad_size_makes_no_device_look_idle_or_full(kit, pipeline, size):
    mad = kit.profile(width=size[0], height=size[1])
    cost = session_cost([mad])
    assert 146 * 50 * 30 <= cost <= 4096 * 4096 * 30
    assert pipeline.require(request(mad)).cost == cost
    assert pipeline.estimate(request(mad)).amount >= 0
    balancer = Balancer(("0", "1", "2", "3"))
    balancer.device_for("mad", cost)
    placed = [balancer.device_for(f"s{n}", 4096 * 4096 * 30) for n in range(8)]
    assert set(placed) == {"0", "1", "2", "3"}


def test_estimate_counts_as_senders_do(kit, pipeline):
    profiles = [kit.profile(fps=Fraction(30000, 1001)), kit.profile(fps=None)]
    pixels = 256 * 144 * 3 * (30 + 60)
    assert pipeline.estimate(request(*profiles, duration_ms=2001)) == Units(pixels, "pixel")


class Stub(Worker):
    """A worker that says what it is told."""

    name = "stub"
    resources = None

    def __init__(self, *outputs, pipelines=("transcode",), capabilities=(), slots=2):
        self.outputs = outputs
        self.resources = Resources(pipelines, capabilities, slots=slots)

    async def run(self, job):
        for output in self.outputs:
            yield output

    async def start(self): ...
    async def cancel(self, job_id): ...
    async def close(self): ...
    async def health(self):
        yield


def video(index, size=100, units=7):
    return Chunk(bytes(size), index, "video", units=units)


async def test_units_are_metered_before_a_chunk_is_given(kit, pipeline):
    meter = kit.Meter(budget=10)
    outputs = pipeline.run(
        kit.make_job(b"", kit.profile(), kit.profile()), Stub(video(0), video(1)), meter
    )
    assert (await anext(outputs)).index == 0
    assert meter.added == [7]
    with pytest.raises(BudgetExhausted):
        await anext(outputs)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([video(0), Result(7)], "MismatchedSegments"),
        ([video(0), video(0), Result(7)], "MismatchedSegments"),
        ([video(0, size=24), video(1), Result(14)], "ZeroSegments"),
    ],
)
async def test_bad_output_is_caught(kit, pipeline, outputs, text):
    job = kit.make_job(b"", kit.profile(), kit.profile())
    with pytest.raises(JobFailed) as caught:
        await kit.collect(pipeline.run(job, Stub(*outputs), kit.Meter()))
    assert caught.value.public == text


async def test_no_profiles_is_a_success_without_work(kit, pipeline):
    done = await kit.collect(pipeline.run(kit.make_job(b"x"), Stub(), kit.Meter()))
    assert (done.chunks, done.result) == ([], Result(0))


def test_offers_are_what_workers_can_do(pipeline):
    workers = [
        Stub(capabilities={0, 1}, slots=2),
        Stub(capabilities={0}, slots=3),
        Stub(capabilities={27}, pipelines=("text-to-image",)),
    ]
    offers = {offer.capability: offer.capacity for offer in pipeline.offers(workers)}
    assert offers == {0: 5, 1: 2}
    assert pipeline.offers([]) == ()


def test_what_this_installation_offers(kit):
    worker = plugin.podium_workers(
        TranscodeConfig(devices=("cpu",), signature="off"), kit.Context()
    )[0]
    software = {0, 1, 2, 3, 7, 8, 9, 10, 11, 15, 16, 18, 20, 21, 22, 23, 24, 25, 26}
    assert worker.resources.capabilities == software
    assert worker.resources.slots >= 2
    assert [device.id for device in worker.resources.devices] == ["cpu"]
    assert plugin.podium_config_class() is TranscodeConfig


def test_a_gpu_that_is_not_there(kit):
    with pytest.raises(ConfigError, match=r"plugins\.transcode\.devices"):
        plugin.podium_workers(TranscodeConfig(devices=("7",)), kit.Context())


# --- devices


def test_the_drivers_table():
    table = "0, NVIDIA A10, 23028, 22000\n1, NVIDIA A10, [N/A], [N/A]\n\nno devices were found\n"
    assert parse_gpus(table) == (
        Device("0", "NVIDIA A10", 23028 << 20, 22000 << 20),
        Device("1", "NVIDIA A10"),
    )


def test_choosing_devices():
    found = (Device("0"), Device("1"))
    assert choose_devices(("auto",), found) == found
    assert [device.id for device in choose_devices(("auto",), ())] == ["cpu"]
    assert [device.id for device in choose_devices(("cpu",), found)] == ["cpu"]
    assert choose_devices(("1",), found) == (Device("1"),)


def test_sessions_go_to_the_least_loaded_device():
    balancer = Balancer(("0", "1", "2"))
    assert [balancer.device_for(f"s{n}", 10) for n in range(3)] == ["0", "1", "2"]
    assert balancer.device_for("s1", 99) == "1", "a session keeps its device and its cost"
    assert balancer.load("1") == 10
    balancer.release("s1")
    balancer.release("s1")
    assert balancer.load("1") == 0
    assert balancer.device_for("big", 50) == "1"
    assert balancer.device_for("next", 1) in ("0", "2")


def test_ties_start_one_further_each_time():
    balancer = Balancer(("0", "1"))
    assert [balancer.device_for(f"s{n}", 0) for n in range(4)] == ["0", "1", "0", "1"]


@define
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_job_after_its_sessions_end_does_not_hold_a_device_for_ever():
    clock = Clock()
    balancer = Balancer(("0", "1"), clock)
    balancer.device_for("ended", 100)
    balancer.release("ended")
    late = balancer.device_for("ended", 100)  # it waited for its turn
    assert balancer.load(late) == 100
    clock.now_s = PIN_IDLE_S
    balancer.device_for("other", 0)
    assert balancer.load(late) == 0


def test_a_session_with_jobs_keeps_its_device():
    clock = Clock()
    balancer = Balancer(("0", "1"), clock)
    device = balancer.device_for("busy", 1)
    for n in range(5):
        clock.now_s += PIN_IDLE_S / 2
        balancer.device_for(f"other{n}", 100)
        assert balancer.device_for("busy", 1) == device
    assert balancer.load(device) >= 1


def test_pins_are_bounded_and_the_idlest_goes_first():
    clock = Clock()
    balancer = Balancer(("0",), clock)
    balancer.device_for("first", 10**9)
    balancer.device_for("second", 10**6)
    balancer.device_for("first", 0)
    for n in range(MAX_PINS - 2):
        balancer.device_for(f"s{n}", 1)
    assert balancer.load("0") == 10**9 + 10**6 + MAX_PINS - 2
    balancer.device_for("one more", 1)
    assert balancer.load("0") == 10**9 + MAX_PINS - 1
