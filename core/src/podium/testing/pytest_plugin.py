"""The pytest plugin: fixtures only, none of them autouse, everything imported lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from podium.testing.chain import FakeChain
    from podium.testing.clock import ManualClock
    from podium.testing.gateway import GatewayClient
    from podium.testing.gateway.ai import AiGateway
    from podium.testing.gateway.byoc.client import ByocGateway
    from podium.testing.node import PodiumApp
    from podium.testing.paying import Payer
    from podium.testing.plugins import HookRecorder, RecordingContext

pytest.register_assert_rewrite("podium.testing.conformance", "podium.testing.work")

pytest_plugins = ("podium.testing.devnet_fixtures",)

GATEWAY_KEY = bytes.fromhex("6777" * 16)
"""A throwaway private key for gateways under test."""


@pytest.fixture
def plugin_context(tmp_path: Path) -> RecordingContext:
    """A ``PluginContext`` whose log and metrics can be read afterwards."""
    from podium.testing.plugins import RecordingContext

    return RecordingContext(state_dir=tmp_path)


@pytest.fixture
def hook_recorder() -> HookRecorder:
    """An observer plugin that keeps every event; give it to ``podium_app``."""
    from podium.testing.plugins import HookRecorder

    return HookRecorder()


@pytest.fixture
def chain() -> FakeChain:
    """A chain in memory: clock, broker and gas price, every fact settable."""
    from podium.testing.chain import FakeChain

    return FakeChain()


@pytest.fixture
def clock() -> ManualClock:
    """Unix time that stands still until the test moves it: ``podium_app(..., now=clock)``."""
    from podium.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def paid_request() -> Payer:
    """Send paid requests to HTTP pipelines, one at a time, from a throwaway wallet.

    ``reply = await paid_request(app.uri, "my-capability", body)`` for BYOC; for AI jobs also
    ``capability=`` and ``model=``. ``paid_request.stream`` gives the answer as it comes.
    """
    from podium.crypto import KeySigner
    from podium.testing.paying import Payer

    return Payer(KeySigner(GATEWAY_KEY))


@pytest.fixture
def podium_app(tmp_path: Path) -> Iterator[Callable[..., PodiumApp]]:
    """Start real nodes: ``podium_app(config, plugins={"name": object}, **overrides)``.

    ``config`` is a configuration document as in TOML; loopback ports, a data folder and a
    throwaway key are filled in. Plugins given as objects are enabled by being given. Further
    arguments replace parts of the node, such as ``clock`` or ``broker``.
    """
    from podium.assembly import Overrides
    from podium.testing.node import PodiumApp, node_document

    started: list[PodiumApp] = []

    def start(
        config: Mapping[str, Any] | None = None,
        plugins: Mapping[str, object] | None = None,
        **overrides: Any,
    ) -> PodiumApp:
        given = dict(plugins or {})
        document = node_document(tmp_path / f"node-{len(started)}", config or {})
        enabled = {name: {"enabled": True} for name in given}
        document["plugins"] = {**enabled, **document.get("plugins", {})}
        started.append(PodiumApp.start(document, Overrides(plugins=given, **overrides)))
        return started[-1]

    yield start
    for app in started:
        app.stop()


@pytest.fixture
def gateway() -> Callable[..., GatewayClient]:
    """Make Gateway clients: ``gateway(uri, "P144p30fps16x9", **more)``.

    Use each with ``async with``, which ends its sessions. They have a throwaway wallet;
    ``signer=NoSigner()`` makes one off chain.
    """
    from podium.crypto import KeySigner
    from podium.testing.gateway import GatewayClient, parse_addresses, parse_ladder

    def make(uri: str, ladder: str = "P144p30fps16x9", **more: Any) -> GatewayClient:
        more.setdefault("signer", KeySigner(GATEWAY_KEY))
        return GatewayClient(parse_ladder(ladder), addresses=parse_addresses(uri), **more)

    return make


@pytest.fixture
def ai_gateway() -> Callable[..., AiGateway]:
    """Make Gateway clients for AI jobs: ``ai_gateway(uri, **more)``.

    Use each with ``async with``. They have a throwaway wallet; ``signer=NoSigner()`` makes one off
    chain.
    """
    from podium.crypto import KeySigner
    from podium.testing.gateway import parse_addresses
    from podium.testing.gateway.ai import AiGateway

    def make(uri: str, **more: Any) -> AiGateway:
        more.setdefault("signer", KeySigner(GATEWAY_KEY))
        return AiGateway(parse_addresses(uri), **more)

    return make


@pytest.fixture
def byoc_gateway() -> Callable[..., ByocGateway]:
    """Make Gateway clients for BYOC requests: ``byoc_gateway(uri, **more)``.

    Use each with ``async with``. They have a throwaway wallet; they choose among orchestrators,
    try again and keep books. For a single request ``paid_request`` is shorter.
    """
    from podium.crypto import KeySigner
    from podium.testing.gateway import parse_addresses
    from podium.testing.gateway.byoc.client import ByocGateway

    def make(uri: str, **more: Any) -> ByocGateway:
        more.setdefault("signer", KeySigner(GATEWAY_KEY))
        return ByocGateway(parse_addresses(uri), **more)

    return make
