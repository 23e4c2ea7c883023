"""Metric families and their text form.

The text is written here because a Prometheus client library appends
``_total`` to counters, which would break every dashboard built on the
reference's names (operator 7.1). Labels that peers can choose are bounded:
past ``MAX_SERIES`` a gauge forgets its oldest series, and other families
count further ones under ``other``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Literal

from attrs import define, field, frozen

MAX_SERIES = 500
"""Series of one family."""
OTHER = "other"
Kind = Literal["counter", "gauge", "histogram"]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


@frozen
class Spec:
    """What a family is.

    Attributes:
        name: As exported, nothing is added to it.
        help: One line.
        kind: Prometheus type.
        labels: Names of the labels that each sample gives.
        buckets: Upper bounds of a histogram, ascending, without infinity.
        exclusive: A value equal to a bound counts in the next bucket, as the reference does it.
    """

    name: str
    help: str
    kind: Kind
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    exclusive: bool = False


@define
class _Histogram:
    counts: list[int]
    total: float = 0.0


@define(eq=False)
class Family:
    """The series of one metric.

    Attributes:
        spec: Its description.
        base: Labels that all its series carry.
    """

    spec: Spec
    base: Mapping[str, str] = field(factory=dict)
    _values: dict[tuple[str, ...], float] = field(factory=dict, init=False)
    _histograms: dict[tuple[str, ...], _Histogram] = field(factory=dict, init=False)

    def inc(self, amount: float = 1, **labels: str) -> None:
        """Add to a counter; a negative amount raises ``ValueError``."""
        if amount < 0:
            raise ValueError(f"{self.spec.name}: a counter does not go down")
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0) + amount

    def set(self, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._values[self._key(labels)] = value

    def observe(self, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        key = self._key(labels)
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = _Histogram([0] * (len(self.spec.buckets) + 1))
        find = bisect_right if self.spec.exclusive else bisect_left
        histogram.counts[find(self.spec.buckets, value)] += 1
        histogram.total += value

    def _key(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        if len(labels) != len(self.spec.labels):
            raise ValueError(f"{self.spec.name}: labels must be {self.spec.labels}")
        key = tuple(labels[name] for name in self.spec.labels)
        series = self._histograms if self.spec.kind == "histogram" else self._values
        if key in series or len(series) < MAX_SERIES:
            return key
        if self.spec.kind == "gauge":
            del self._values[next(iter(self._values))]
            return key
        return (OTHER,) * len(key)

    def lines(self) -> Iterator[str]:
        """Yield the text of the family; nothing before its first sample."""
        if not self._values and not self._histograms:
            return
        yield f"# HELP {self.spec.name} {self.spec.help.translate(_HELP_ESCAPES)}"
        yield f"# TYPE {self.spec.name} {self.spec.kind}"
        for key, value in self._values.items():
            yield f"{self.spec.name}{self._labels(key)} {number(value)}"
        for key, histogram in self._histograms.items():
            yield from self._histogram_lines(key, histogram)

    def _histogram_lines(self, key: tuple[str, ...], histogram: _Histogram) -> Iterator[str]:
        name = self.spec.name
        bounds = [number(bound) for bound in self.spec.buckets] + ["+Inf"]
        for bound, count in zip(bounds, accumulate(histogram.counts), strict=True):
            yield f"{name}_bucket{self._labels(key, le=bound)} {number(count)}"
        yield f"{name}_sum{self._labels(key)} {number(histogram.total)}"
        yield f"{name}_count{self._labels(key)} {number(sum(histogram.counts))}"

    def _labels(self, key: tuple[str, ...], **last: str) -> str:
        """Return ``{a="b"}``, sorted by name; a bucket's bound comes last, as in the reference."""
        pairs = {**self.base, **dict(zip(self.spec.labels, key, strict=True))}
        texts = [f'{name}="{escape(value)}"' for name, value in sorted(pairs.items())]
        texts += [f'{name}="{value}"' for name, value in last.items()]
        return "{" + ",".join(texts) + "}" if texts else ""


class Registry:
    """The families of one node; several registries can exist in a process."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._collectors: list[Callable[[], Iterator[str]]] = []
        self._refreshers: list[Callable[[], None]] = []

    def add(self, spec: Spec, base: Mapping[str, str] | None = None) -> Family:
        """Return the family of a description, made now if there is none.

        Raises:
            ValueError: another description has this name already.
        """
        family = self._families.get(spec.name)
        if family is None:
            family = self._families[spec.name] = Family(spec, base or {})
        elif family.spec != spec:
            raise ValueError(f"the metric {spec.name} exists already, and is another one")
        return family

    def before_render(self, refresh: Callable[[], None]) -> None:
        """Have something brought up to date before each scrape."""
        self._refreshers.append(refresh)

    def collect_with(self, collector: Callable[[], Iterator[str]]) -> None:
        """Have lines appended at each scrape."""
        self._collectors.append(collector)

    def render(self) -> bytes:
        """Return the page, families sorted by name."""
        for refresh in self._refreshers:
            refresh()
        lines = [line for name in sorted(self._families) for line in self._families[name].lines()]
        lines += [line for collector in self._collectors for line in collector()]
        return "".join(line + "\n" for line in lines).encode("utf-8", "replace")


def escape(text: str) -> str:
    """Escape a label's value."""
    return text.translate(_ESCAPES)


def number(value: float) -> str:
    """Write a number as Go does: the shortest digits that read back, large ones as ``1.5e+08``."""
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    digits = len(repr(value).partition("e")[0].replace(".", "").strip("-0")) or 1
    scientific = f"{value:.{digits - 1}e}"
    if value and not -4 <= int(scientific.partition("e")[2]) < 6:
        return scientific
    return str(int(value)) if value.is_integer() else repr(value)


def sorted_bounds(buckets: Sequence[float]) -> tuple[float, ...]:
    """Return ascending, distinct, finite bounds."""
    return tuple(sorted({float(b) for b in buckets if math.isfinite(b)}))
