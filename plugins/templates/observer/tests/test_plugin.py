"""A finished job becomes a line, and the event loop never waits for it."""

import asyncio
import json
from fractions import Fraction

from podium.testing.events import finished_job
from podium_hookspecs import NodeStopping

from podium_observer_example.plugin import Config, podium_on_event


async def test_a_finished_job_becomes_a_line(plugin_context):
    podium_on_event(NodeStopping("test"), Config(), plugin_context)
    assert plugin_context.state is None, "only finished jobs are written"
    podium_on_event(finished_job(units=3, fee_wei=Fraction(7, 2)), Config(), plugin_context)
    async with asyncio.timeout(10):
        await plugin_context.state.waiting.join()
    line = json.loads((plugin_context.state_dir / "jobs.jsonl").read_text())
    assert (line["outcome"], line["units"], line["fee_wei"]) == ("ok", 3, "7/2")
    await plugin_context.close()


async def test_what_finds_no_room_is_counted(plugin_context):
    for _ in range(5):
        podium_on_event(finished_job(), Config(backlog=2), plugin_context)
    assert plugin_context.state.dropped == 3
    await plugin_context.close()
