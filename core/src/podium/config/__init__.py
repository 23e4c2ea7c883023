"""The node's configuration: TOML, then secrets, then strict types, then frozen values."""

from podium.config.address import ListenAddress
from podium.config.settings import (
    AccountSettings,
    ChainLocalSettings,
    ChainSettings,
    GatewayPrice,
    LimitsSettings,
    NodeSettings,
    PaymentsSettings,
    PluginSettings,
    Settings,
    StorageSettings,
)

__all__ = [
    "AccountSettings",
    "ChainLocalSettings",
    "ChainSettings",
    "GatewayPrice",
    "LimitsSettings",
    "ListenAddress",
    "NodeSettings",
    "PaymentsSettings",
    "PluginSettings",
    "Settings",
    "StorageSettings",
]
