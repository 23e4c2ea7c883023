"""The template plugin on a real node: what peers can do to it, and what they cannot."""

import podium_byoc_example.plugin
import pytest
from podium.testing.hostile import assert_contained, replay_hostile
from podium.testing.paying import NoTerms
from podium_hookspecs import JobFinished

NAME = "byoc-example"


@pytest.fixture
def app(podium_app, hook_recorder):
    plugins = {NAME: podium_byoc_example.plugin, "ears": hook_recorder}
    return podium_app({"plugins": {NAME: {"enabled": True, "slots": 1}}}, plugins=plugins)


async def test_a_hostile_peer_gets_nothing_and_breaks_nothing(app, paid_request, segment):
    async def headers():
        return (await paid_request.prepare(app.uri, NAME)).headers

    replays = await replay_hostile(f"{app.uri}/process/request/", headers=headers)
    assert_contained(replays)
    assert (await paid_request(app.uri, NAME, segment)).status_code == 200


async def test_wrong_parameters_are_refused_before_they_cost(app, paid_request, segment):
    for wrong in ({"count": 0}, {"count": "5"}, {"width": 9999}, {"count": True}):
        reply = await paid_request(app.uri, NAME, segment, parameters=wrong)
        assert reply.status_code == 400
        assert "must be a whole number" in reply.text


async def test_a_client_that_leaves_frees_the_slot(app, paid_request, hook_recorder, segment):
    async with paid_request.stream(app.uri, NAME, segment, parameters={"count": 100}) as reply:
        assert reply.status_code == 200
        with pytest.raises(NoTerms):
            await paid_request.prepare(app.uri, NAME)  # the one slot is taken
    (job,) = await hook_recorder.wait_for(JobFinished)
    assert job.outcome == "cancelled"
    assert (await paid_request(app.uri, NAME, segment)).status_code == 200


async def test_a_gateway_and_the_node_agree_on_the_bill(app, byoc_gateway, hook_recorder, segment):
    async with byoc_gateway(app.uri) as gateway:
        result = await gateway.run(NAME, segment, content_type="video/mp2t", timeout_s=70)
    assert len(result.events) == 5
    (job,) = await hook_recorder.wait_for(JobFinished)
    assert job.fee_wei == result.price * result.seconds_billed == 1_000_000 * job.units
