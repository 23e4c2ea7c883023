"""Each pipeline from a request to the runner and back."""

import pytest
from podium_ai_runner.pipelines.describe import PIPELINES
from podium_hookspecs import Units

NAMES = [one.name for one in PIPELINES]
UNITS = {
    "text-to-image": Units(512 * 512, "pixel"),
    "image-to-image": Units(96 * 64, "pixel"),
    "image-to-video": Units(576 * 1024 * 25, "pixel"),
    "upscale": Units(96 * 64, "pixel"),
    "audio-to-text": Units(2000, "millisecond"),
    "segment-anything-2": Units(96 * 64, "pixel"),
    "llm": Units(64, "token"),
    "image-to-text": Units(96 * 64, "pixel"),
    "text-to-speech": Units(5, "byte"),
}


@pytest.mark.parametrize("name", NAMES)
async def test_a_job_of_each_pipeline(host, runner, kit, name):
    runner.answers(kit.ANSWERS[name])
    done = await host.run(*kit.good_request(name))
    assert host.meter.added == [UNITS[name]]
    assert done.result.units == UNITS[name].amount
    assert {chunk.content_type for chunk in done.chunks} == {"application/json"}
    ((request, _),) = runner.requests
    assert request.path == f"/{name}"
    assert request.headers["Authorization"] == f"Bearer {kit.TOKEN}"
    if name != "image-to-video":
        assert done.json == kit.ANSWERS[name]


@pytest.mark.parametrize("name", NAMES)
async def test_the_estimate_is_the_bill(host, kit, name):
    parsed, _ = await host.parse(*kit.good_request(name))
    assert host.pipeline(name).estimate(parsed) == UNITS[name]
    needs = host.pipeline(name).require(parsed)
    assert (needs.model, needs.wait_s, needs.sticky) == (f"acme/{name}", 1.0, False)
    assert needs.capabilities == {host.pipeline(name).capability}
