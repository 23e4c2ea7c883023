"""What the node may advertise for a pipeline, from the workers that are up (ai 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import evolve
from podium_hookspecs import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from podium_hookspecs import Worker

    from podium_ai_runner.pipelines.describe import Description

DEFAULT_BITS = (*range(13), 14, 26)
"""Gateways ask every node for these beside what they want, so an AI node has to have them."""


class Runner(Protocol):
    """What is known of a runner that is up."""

    @property
    def version(self) -> str:
        """Of the program."""


@runtime_checkable
class HoldsRunners(Protocol):
    """A worker that says which models are loaded in it now."""

    @property
    def loaded(self) -> Mapping[tuple[str, str], Runner]:
        """Runners that answer at once, by pipeline and model."""


def offers_of(description: Description, workers: Sequence[Worker]) -> tuple[Offer, ...]:
    """Return an offer for each model, and the bits that gateways insist on."""
    models: dict[str, Offer] = {}
    for worker in workers:
        for offer in _offered(description, worker):
            assert offer.model is not None
            known = models.get(offer.model)
            models[offer.model] = offer if known is None else _together(known, offer)
    if not models:
        return ()
    bits = tuple(Offer(number) for number in DEFAULT_BITS)
    return (*(models[name] for name in sorted(models)), *bits)


def _offered(description: Description, worker: Worker) -> Iterator[Offer]:
    """Yield what a worker serves; it may be asked to spend all its slots on any of it."""
    resources = worker.resources
    if description.name not in resources.pipelines or not resources.slots:
        return
    number = description.capability
    named = [one for one in resources.offers if one.capability == number and one.model is not None]
    if not resources.offers and number in resources.capabilities:
        named = [Offer(number, model) for model in sorted(resources.models)]
    for offer in named:
        warm, version = offer.warm, offer.runner_version or resources.version
        if isinstance(worker, HoldsRunners):
            runner = worker.loaded.get((description.name, offer.model or ""))
            warm, version = runner is not None, runner.version if runner else version
        yield evolve(offer, warm=warm, capacity=resources.slots, in_use=0, runner_version=version)


def _together(one: Offer, other: Offer) -> Offer:
    return evolve(
        one,
        warm=one.warm or other.warm,
        capacity=one.capacity + other.capacity,
        runner_version=_lowest(one.runner_version, other.runner_version),
    )


def _lowest(one: str, other: str) -> str:
    """Return the lower of two versions; an unknown one says nothing."""
    if not one or not other:
        return one or other
    return min(one, other, key=_numbers)


def _numbers(version: str) -> tuple[int, ...]:
    core = version.removeprefix("v").partition("-")[0].partition("+")[0]
    return tuple(int(part) if part.isdecimal() else 0 for part in core.split("."))
