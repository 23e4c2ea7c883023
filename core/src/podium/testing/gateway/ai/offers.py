"""Which models an orchestrator offers at the moment, asked once."""

from __future__ import annotations

import asyncio

from podium.testing.gateway.ai.pipelines import PIPELINES
from podium.testing.gateway.errors import OrchestratorFailed
from podium.testing.gateway.requests import orchestrator_request
from podium.testing.gateway.transport import Rpc

ASK_TIMEOUT_S = 5.0
THROWAWAY_KEY = b"\x0a" * 32


def models_offered(uri: str) -> set[tuple[str, str]]:
    """Return pipelines and models; none when it does not answer. Blocks: not for event loops."""
    return asyncio.run(_ask(uri))


async def _ask(uri: str) -> set[tuple[str, str]]:
    from podium.crypto import KeySigner

    rpc = Rpc()
    try:
        request = orchestrator_request(KeySigner(THROWAWAY_KEY))
        info = await rpc.get_orchestrator(uri, request, ASK_TIMEOUT_S)
    except OrchestratorFailed:
        return set()
    finally:
        await rpc.close()
    offered = info.capabilities.constraints.PerCapability
    return {
        (pipeline.name, model)
        for pipeline in PIPELINES.values()
        if pipeline.capability in offered
        for model in offered[pipeline.capability].models
    }
