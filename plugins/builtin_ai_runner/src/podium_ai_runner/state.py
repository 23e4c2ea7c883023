"""What the hooks of one node's plugin share: made by the first of them, kept in its context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen
from podium_hookspecs import BadInput, JobFailed, Price

from podium_ai_runner.client import Engine, Limits, RunnerClient
from podium_ai_runner.hosting import Results
from podium_ai_runner.media.child import Children
from podium_ai_runner.models import Catalog, read_catalog
from podium_ai_runner.pipelines.describe import NO_DURATION, PIPELINES
from podium_ai_runner.pipelines.parse import Parser
from podium_ai_runner.pipelines.pipeline import AiPipeline, Settings
from podium_ai_runner.pipelines.video import VideoMaker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction

    from podium_hookspecs import Body, PluginContext, PriceRequest

    from podium_ai_runner.config import AiConfig
    from podium_ai_runner.executors.manager import Executors
    from podium_ai_runner.pipelines.request import FilePart

MIB = 2**20
PROBE_TIMEOUT_S = 10.0


@define(eq=False)
class Parts:
    """What the pipelines share, and how long it lives.

    Attributes:
        context: The plugin's.
        client: Calls runners.
        results: Hosts videos.
        probes: Children that measure audio.
        encoders: Children that make videos; these take longer.
        executors: Where models run; None before the hook that makes them.
    """

    context: PluginContext
    client: RunnerClient
    results: Results
    probes: Children = field(factory=Children)
    encoders: Children = field(factory=Children)
    executors: Executors | None = None
    _started: bool = False

    def start(self) -> None:
        """See ``Shared``."""
        if not self._started:
            self._started = True
            self.context.spawn(self.results.run(), name="results")
            if self.executors is not None:
                self.context.spawn(self.executors.prefetch(), name="images")

    async def close(self) -> None:
        """See ``Shared``."""
        await self.client.close()

    async def duration(self, body: Body, part: FilePart) -> int:
        """Measure audio: whole seconds, in milliseconds (ai 2.4).

        Raises:
            BadInput: that cannot be done, or it is shorter than a second.
        """
        try:
            descriptor = body.fileno()
        except OSError as error:
            raise BadInput("a body that is no file", public=NO_DURATION) from error
        facts = {"descriptor": descriptor, "offset": part.offset, "size_bytes": part.size_bytes}
        try:
            said = await self.probes.run("duration", facts, [descriptor], PROBE_TIMEOUT_S)
        except JobFailed as error:
            raise BadInput(str(error), public=NO_DURATION) from error
        seconds = int(said["duration_ms"]) // 1000
        if seconds < 1:
            raise BadInput("audio of less than a second", public=NO_DURATION)
        return seconds * 1000


@frozen
class State:
    """Everything.

    Attributes:
        catalog: The models and their prices.
        parts: What the pipelines share.
        pipelines: All of them.
        conversions: By currency, what an amount is in wei.
    """

    catalog: Catalog
    parts: Parts
    pipelines: tuple[AiPipeline, ...]
    conversions: Mapping[str, Callable[[Fraction], Fraction]] = field(factory=dict, repr=False)

    def price(self, request: PriceRequest) -> Price | None:
        """Price a model for a gateway; None where its configuration has no price.

        Raises:
            PluginError: its currency has no exchange rate now.
        """
        if request.model is None:
            return None
        rate = self.catalog.rate(request.sender, request.capability, request.model)
        if rate is None:
            return None
        wei = self.conversions[rate.currency](rate.amount)
        return Price(wei / rate.per, request.unit)


def state_of(config: AiConfig, context: PluginContext) -> State:
    """Return the node's state; made at the first call.

    Raises:
        ConfigError: the section cannot work.
        PluginError: a price is in a currency that the node has no feed for.
    """
    if context.state is None:
        context.state = _make(config, context)
    state: State = context.state
    return state


def _make(config: AiConfig, context: PluginContext) -> State:
    catalog = read_catalog(config)
    engines = {
        model.key: Engine(model.api, model.upstream_model)
        for model in catalog.models
        if model.api != "runner" or model.upstream_model
    }
    limits = Limits(config.max_reply_mb * MIB, config.idle_timeout_s)
    results = Results(
        context.state_dir / "results", context.service_uri, config.max_results_mb * MIB
    )
    parts = Parts(context, RunnerClient(limits, engines), results)
    videos = VideoMaker(parts.encoders, results)
    settings = Settings(config.queue_timeout_s, config.run_timeout_s)
    pipelines = tuple(
        AiPipeline(one, Parser(one, parts.duration, context.run_blocking), videos, settings, parts)
        for one in PIPELINES
    )
    currencies = {rate.currency for rate in catalog.rates.values()}
    return State(catalog, parts, pipelines, {name: context.currency(name) for name in currencies})
