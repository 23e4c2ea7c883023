"""The entry point: configuration, pipelines, workers, prices and routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium_hookspecs import Mount, Pipeline, Price, PriceRequest, Worker, hookimpl

from podium_ai_runner import admin, hosting, openapi
from podium_ai_runner.admin import Admin
from podium_ai_runner.config import AiConfig
from podium_ai_runner.places import make_executors
from podium_ai_runner.state import state_of

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext


@hookimpl
def podium_config_class() -> type:
    """Name the class of ``[plugins.ai]``."""
    return AiConfig


@hookimpl
def podium_pipelines(config: AiConfig, context: PluginContext) -> list[Pipeline]:
    """Give the nine batch pipelines; they offer what their workers serve."""
    return list(state_of(config, context).pipelines)


@hookimpl
def podium_workers(config: AiConfig, context: PluginContext) -> list[Worker]:
    """Give the places where models run: GPUs, the processor, services behind URLs."""
    state = state_of(config, context)
    state.parts.executors = make_executors(config, state.catalog, context, state.parts.client.call)
    return list(state.parts.executors.workers)


@hookimpl
def podium_price(request: PriceRequest, config: AiConfig, context: PluginContext) -> Price | None:
    """Price a model for a gateway, as its configuration says (ai 2.6)."""
    return state_of(config, context).price(request)


@hookimpl
def podium_asgi(config: AiConfig, context: PluginContext) -> list[Mount]:
    """Give the results that gateways fetch, and the description of the pipelines."""
    state = state_of(config, context)
    page = openapi.Page(context.service_uri, context.node_version)
    routes = [
        Mount(hosting.PATH, state.parts.results),
        Mount(openapi.DOCUMENT_PATH, page.document),
        Mount(openapi.PAGE_PATH, page.page),
    ]
    if state.parts.executors is not None:
        routes.append(
            Mount(admin.PATH, Admin(state.parts.executors, state.catalog).routes(), "admin")
        )
    return routes
