"""Plugins' own series: prefixed, bounded, and harmless to the node's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import define, field
from podium_hookspecs import ConfigError

from podium.telemetry.registry import Family, Kind, Registry, Spec, sorted_bounds

MAX_FAMILIES = 200
"""Metrics of one plugin."""
MAX_CHARS = 200
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@define
class PluginMetrics:
    """One plugin's metrics (``podium_hookspecs.Metrics``).

    Attributes:
        registry: The node's.
        plugin: The plugin's name; its series start with ``podium_<plugin>_``.
    """

    registry: Registry
    plugin: str
    _names: set[str] = field(factory=set, init=False)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``inc(amount=1, **labels)``."""
        record = self._family("counter", name, help, labels).inc

        def inc(amount: float = 1, **given: str) -> None:
            record(float(amount), **_short(given))

        return inc

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``set(value, **labels)``."""
        record = self._family("gauge", name, help, labels).set

        def set_(value: float, **given: str) -> None:
            record(float(value), **_short(given))

        return set_

    def histogram(
        self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Callable[..., None]:
        """Return ``observe(value, **labels)``."""
        bounds = sorted_bounds(buckets)
        record = self._family("histogram", name, help, labels, bounds).observe

        def observe(value: float, **given: str) -> None:
            record(float(value), **_short(given))

        return observe

    def _family(
        self,
        kind: Kind,
        name: str,
        help: str,
        labels: Sequence[str],
        buckets: tuple[float, ...] = (),
    ) -> Family:
        for text in (name, *labels):
            if not _NAME.fullmatch(text):
                raise ConfigError(f"{text!r} cannot be the name of a metric or label")
        if name not in self._names and len(self._names) >= MAX_FAMILIES:
            raise ConfigError(f"{name} is one metric too many: a plugin may have {MAX_FAMILIES}")
        full = f"podium_{self.plugin.replace('-', '_')}_{name}"
        try:
            spec = Spec(full, str(help)[:MAX_CHARS], kind, tuple(labels), buckets)
            family = self.registry.add(spec)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._names.add(name)
        return family


def _short(labels: Mapping[str, object]) -> dict[str, str]:
    """Make texts of labels, and short ones: one bad value would spoil the node's whole page."""
    return {name: str(value)[:MAX_CHARS] for name, value in labels.items()}
