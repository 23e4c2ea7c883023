"""Plugins' own series: prefixed, bounded, and harmless to the node's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import define
from podium_hookspecs import ConfigError

from podium.telemetry.registry import Family, Kind, Registry, Spec, sorted_bounds

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

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``inc(amount=1, **labels)``."""
        return self._family("counter", name, help, labels).inc

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Callable[..., None]:
        """Return ``set(value, **labels)``."""
        return self._family("gauge", name, help, labels).set

    def histogram(
        self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Callable[..., None]:
        """Return ``observe(value, **labels)``."""
        return self._family("histogram", name, help, labels, sorted_bounds(buckets)).observe

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
        full = f"podium_{self.plugin.replace('-', '_')}_{name}"
        try:
            return self.registry.add(Spec(full, help, kind, tuple(labels), buckets))
        except ValueError as error:
            raise ConfigError(str(error)) from error
