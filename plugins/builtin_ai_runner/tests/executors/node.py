"""A node's worth of executors in a process of its own, to be killed: ``node.py KIND IMAGE STATE``."""

import asyncio
import importlib.util
import sys
from pathlib import Path

from attrs import evolve

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("kit", HERE / "conftest.py")
kit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)


async def main(kind, image, state):
    """Start one warm runner, say its process id, then wait."""
    context = kit.Context(state_dir=Path(state))
    settings = kit.DOCKER_SETTINGS if kind == "docker" else kit.PROCESS_SETTINGS
    entry = evolve(kit.entry(executor=kind, warm=True), image=image)
    made = kit.Executors.of(settings, [entry], context, kit.call, ())
    (worker,) = made.workers
    await worker.recover()
    await worker.start()
    await kit.until_ok(worker)
    print((await kit.run(worker))["pid"], flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
