"""The entry point: configuration, pipeline, routes and prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium_hookspecs import Mount, Pipeline, hookimpl

from podium_byoc.config import ByocConfig
from podium_byoc.pipeline import CAPABILITY, ByocPipeline
from podium_byoc.prices import Prices
from podium_byoc.registry import Registry
from podium_byoc.routes import REGISTER, UNREGISTER, Register, Unregister

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext, Price, PriceRequest


@hookimpl
def podium_config_class() -> type:
    """Name the class of ``[plugins.byoc]``."""
    return ByocConfig


@hookimpl
def podium_pipelines(config: ByocConfig, context: PluginContext) -> list[Pipeline]:
    """Give the one pipeline of all names."""
    prices = Prices(context)
    for currency in (*config.currencies, *(executor.currency for executor in config.executors)):
        prices.know(currency)
    prices.for_gateways(config.gateway_prices)
    registry = context.state = Registry(config, context, prices)
    return [ByocPipeline(config, registry)]


@hookimpl
def podium_asgi(config: ByocConfig, context: PluginContext) -> list[Mount]:
    """Give the paths where executors come and go."""
    registry: Registry = context.state
    return [
        Mount(REGISTER, Register(config.secret, registry)),
        Mount(UNREGISTER, Unregister(config.secret, registry)),
    ]


@hookimpl
def podium_price(request: PriceRequest, context: PluginContext) -> Price | None:
    """Price a second of a name that executors have registered."""
    if request.capability != CAPABILITY or request.model is None:
        return None
    registry: Registry = context.state
    return registry.prices.price(request.sender, request.model)
