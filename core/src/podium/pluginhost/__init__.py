"""Plugins: found by metadata, imported only when enabled, kept apart from each other."""

from podium.pluginhost.call import PluginFailure
from podium.pluginhost.context import HostContext, NodeFacts, WorkerDoor
from podium.pluginhost.host import PluginHost
from podium.pluginhost.roster import Leaving, Services
from podium.pluginhost.status import PluginState, PluginStatus

__all__ = [
    "HostContext",
    "Leaving",
    "NodeFacts",
    "PluginFailure",
    "PluginHost",
    "PluginState",
    "PluginStatus",
    "Services",
    "WorkerDoor",
]
