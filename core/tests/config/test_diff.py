"""What differs between two files is told exactly; secrets are compared and not shown."""

from pathlib import Path

from attrs import field, frozen
from podium.config.diff import (
    PluginChange,
    changed_limits,
    changed_options,
    needs_restart,
)
from podium.config.load import parse_settings
from podium.config.settings import PluginSettings
from podium_hookspecs import Secret

KEY, OTHER = "11" * 32, "22" * 32


def parsed(**sections):
    return parse_settings(sections, path=Path("/nowhere/podium.toml"))


def test_settings_that_hold_from_start_to_end_are_named_and_their_values_are_not():
    old = parsed(node={"max_sessions": 3}, account={"private_key": KEY})
    assert needs_restart(old, old) == []
    new = parsed(
        node={"max_sessions": 4, "listen": ":9000"},
        account={"private_key": OTHER},
        chain={"local": {"deposit_wei": 5}},
    )
    assert needs_restart(old, new) == [
        "node.listen",
        "node.max_sessions",
        "account.private_key",
        "chain.local.deposit_wei",
    ]
    plugins = parsed(
        node={"max_sessions": 3}, account={"private_key": KEY}, plugins={"p": {"enabled": True}}
    )
    assert needs_restart(old, plugins) == []


@frozen
class Inner:
    token: Secret


@frozen
class Options:
    slots: int = 1
    key: Secret | None = None
    places: tuple[Inner, ...] = ()
    prices: dict[str, int] = field(factory=dict)


def test_options_are_compared_by_what_they_hold():
    old = Options(1, Secret("a"), (Inner(Secret("b")),), {"x": 1})
    assert changed_options(old, Options(1, Secret("a"), (Inner(Secret("b")),), {"x": 1})) == ()
    new = Options(2, Secret("z"), (Inner(Secret("y")),), {"x": 2})
    told = PluginChange("p", "changed", changed_options(old, new))
    assert str(told) == (
        "p changed (slots: 1 -> 2; key changed; places changed; prices: {x = 1} -> {x = 2})"
    )
    assert "'z'" not in repr(told.as_json())
    (only,) = changed_options(Options(), Options(key=Secret("a")))
    assert str(only) == 'key: not set -> "***"'
    assert changed_options(None, None) == ()


def test_the_node_s_own_keys_are_compared_apart():
    old, new = (
        PluginSettings(enabled=True),
        PluginSettings(enabled=True, required=False, max_jobs=2),
    )
    assert [str(change) for change in changed_limits(old, new)] == [
        "required: true -> false",
        "max_jobs: not set -> 2",
    ]
