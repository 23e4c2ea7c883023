"""The plugin is replaced while the node serves: executors stay, jobs finish."""

import asyncio

from podium.config.load import load_settings

TOML = """
[node]
data_dir = "{folder}/node"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
startup_check = false

[plugins.byoc]
enabled = true
secret = {{ file = "{folder}/secret" }}
max_timeout_s = {limit}
"""


async def test_executors_stay_when_the_section_changes(world):
    folder = world.folder
    (folder / "secret").write_text("s3cret")
    path = folder / "podium.toml"
    path.write_text(TOML.format(folder=folder, limit=60))
    node = await world.serve(load_settings(path, {}))
    container, url = await world.container(slow_s=1)
    await world.register(url, capacity=2)
    running = asyncio.create_task(world.post("slow"))
    await container.began.wait()
    path.write_text(TOML.format(folder=folder, limit=1))
    outcome = await node.reloader.reload()
    assert not outcome.refused, outcome
    assert (await running).status_code == 200, "what runs is finished"
    assert await world.capacity() == 2
    reply = await world.post("hang")
    assert "no end within 1 s" in reply.text, "the new limit holds"
    assert (await world.unregister()).status_code == 200
    assert await world.capacity() == 0
    assert (await world.register(url, capacity=3)).status_code == 200
    assert await world.capacity() == 3
