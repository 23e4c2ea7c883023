"""The admin port tells how the node stands: what ``podium status`` shows of it."""

import attrs
import httpx
from podium.cli.probe import ask_node, node_facts


async def test_sessions_and_their_gateways(world):
    node = await world.node()
    uri = f"http://127.0.0.1:{node.admin.port}/podium/status"
    sender = await world.sender(node)
    async with httpx.AsyncClient() as client:
        before = (await client.get(uri)).json()
        await sender.result()
        after = (await client.get(uri)).json()
    assert (before["sessions"], before["gateways"]) == (0, [])
    assert before["ready"]
    assert before["service_uri"] == node.service_uri
    assert after["sessions"] == 1
    assert [g.lower() for g in after["gateways"]] == ["0x" + sender.signer.address.hex()]


async def test_the_command_line_finds_a_node_that_runs(world):
    node = await world.node()
    sender = await world.sender(node)
    await sender.result()
    listens = attrs.evolve(node.settings.node, admin_listen=f"127.0.0.1:{node.admin.port}")
    settings = attrs.evolve(node.settings, node=listens)
    facts = node_facts(await ask_node(settings))
    assert facts.service_uri == node.service_uri
    assert (facts.sessions, facts.max_sessions) == (1, node.sessions.max_sessions)
    assert facts.gateways == (sender.signer.address,)


async def test_another_program_at_the_admin_port_is_no_node(world):
    node = await world.node()
    public = attrs.evolve(node.settings.node, admin_listen=f"127.0.0.1:{node.public.port}")
    assert await ask_node(attrs.evolve(node.settings, node=public)) is None
