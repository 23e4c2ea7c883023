"""The node's configuration: TOML, then secrets, then strict types, then frozen values."""

from podium.config.account import AccountSettings, KeySettings
from podium.config.address import ListenAddress
from podium.config.chain import ChainLocalSettings, ChainSettings
from podium.config.settings import (
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
    "KeySettings",
    "LimitsSettings",
    "ListenAddress",
    "NodeSettings",
    "PaymentsSettings",
    "PluginSettings",
    "Settings",
    "StorageSettings",
]
