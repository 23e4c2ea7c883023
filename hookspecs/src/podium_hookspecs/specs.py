"""The seven hooks. This module is the whole contract of calls; objects do the work.

Kinds:

* *Register* (``config_class``, ``pipelines``, ``workers``, ``asgi``): called plugin by plugin at
  start; each result is credited to its plugin, and one plugin's failure stays its own.
* *Decide* (``price``, ``admit``): asked in the order of the TOML until one plugin answers; an
  error refuses the work (fail closed).
* *Observe* (``on_event``): everyone hears, results and errors are ignored (errors are counted).

Hooks are synchronous; ``async def`` and arguments with defaults are refused at load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from podium_hookspecs.admission import Admission, AdmitRequest, PendingAdmission
    from podium_hookspecs.context import PluginContext
    from podium_hookspecs.events import Event
    from podium_hookspecs.money import Price, PriceRequest
    from podium_hookspecs.pipeline import Pipeline
    from podium_hookspecs.routes import Mount
    from podium_hookspecs.worker import Worker

PROJECT = "podium"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def podium_config_class() -> type | None:
    """Name the class of the plugin's ``[plugins.NAME]`` section.

    Register hook; called first, once, before any other hook of the plugin.

    Returns:
        A frozen attrs class. Every field is typed, has a default unless the operator must
        choose, and carries ``metadata={"help": "..."}``, which feeds ``podium init`` and the
        docs. A field typed ``podium_hookspecs.Secret`` also takes ``{env = "NAME"}`` or
        ``{file = "PATH"}``. None: the plugin has no options, and any option is an error.

    Source: hashicorp/nomad plugins/base/base.go (plugins return a schema, receive checked config).

    .. versionadded:: 1.0
    """


@hookspec
def podium_pipelines(config: Any, context: PluginContext) -> list[Pipeline]:  # type: ignore[empty-body]
    """Give the pipelines this plugin adds.

    Register hook; called once at start. Two plugins that give one pipeline name stop the start.

    Args:
        config: The plugin's own checked section, an instance of its config class (or None).
        context: The plugin's own view of the node.

    Returns:
        Pipelines, not yet started; possibly none.

    Raises:
        ConfigError: the section is valid but cannot work; say which key and why.

    Source: go-livepeer core/capabilities.go, core/ai_orchestrator.go (pipelines are hard-wired).

    .. versionadded:: 1.0
    """


@hookspec
def podium_workers(config: Any, context: PluginContext) -> list[Worker]:  # type: ignore[empty-body]
    """Give the workers this plugin adds.

    Register hook; called once at start, after every plugin's pipelines. A worker may serve
    pipelines of other plugins. Two workers of one name stop the start.

    Args:
        config: The plugin's own checked section.
        context: The plugin's own view of the node.

    Returns:
        Workers, not yet started; possibly none.

    Raises:
        ConfigError: the section is valid but cannot work.

    Source: go-livepeer core/orchestrator.go, RemoteTranscoderManager; core/lb.go.

    .. versionadded:: 1.0
    """


@hookspec
def podium_asgi(config: Any, context: PluginContext) -> list[Mount]:  # type: ignore[empty-body]
    """Give extra HTTP routes.

    Register hook; called once at start. A path of the core or of another plugin stops the start.

    Args:
        config: The plugin's own checked section.
        context: The plugin's own view of the node.

    Returns:
        Mounts; possibly none.

    Source: simonw/datasette, register_routes.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def podium_price(request: PriceRequest, config: Any, context: PluginContext) -> Price | None:
    """Price one unit of work for one sender, or pass.

    Decide hook; called when a session opens, then frozen for it. Sync, no I/O, under 1 ms:
    refresh feeds in a background task (``context.spawn``). ``context.currency`` converts what is
    not wei, and ``context.next_price`` says what would be charged without this plugin.

    Args:
        request: sender (20-byte address), capability, model or None, unit.
        config: The plugin's own checked section.
        context: The plugin's own view of the node; ``context.state`` keeps what it needs.

    Returns:
        Exact wei per unit, and that unit; None lets the next plugin answer, the configured
        price answers last.

    Raises:
        PluginError: the session is refused, never priced at zero.

    Source: go-livepeer core/orchestrator.go, priceInfo.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def podium_admit(
    request: AdmitRequest, config: Any, context: PluginContext
) -> Admission | PendingAdmission | None:
    """Let a sender in, or not, or pass.

    Decide hook; called at discovery and for each job. Sync, no I/O, under 1 ms: an answer that
    needs I/O is returned as ``PendingAdmission`` and awaited by the host, bounded in time.

    Args:
        request: sender (20-byte address), stage, capabilities, model, session.
        config: The plugin's own checked section.
        context: The plugin's own view of the node.

    Returns:
        An answer, which may carry a price for this sender; None lets the next plugin answer.
        When no plugin answers the sender is let in.

    Raises:
        PluginError: the sender is refused with the error's public text.

    Source: go-livepeer server/rpc.go, authenticateBroadcaster (the auth webhook).

    .. versionadded:: 1.0
    """


@hookspec
def podium_on_event(event: Event, config: Any, context: PluginContext) -> None:
    """Hear what happens on the node.

    Observe hook; called on the event loop in order of the events. Under 1 ms: queue the work
    and do it in a background task.

    Args:
        event: One of ``podium_hookspecs.events``.
        config: The plugin's own checked section.
        context: The plugin's own view of the node.

    Source: go-livepeer monitor/census.go (where metrics calls sit in business code instead).

    .. versionadded:: 1.0
    """
