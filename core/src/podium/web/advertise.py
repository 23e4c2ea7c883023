"""What the node says it does: its pipelines' offers, less what is taken (wire-video 8, ai 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen
from podium_hookspecs import Requirements

from podium.jobs.till import Ware
from podium.model import BYOC, PROTOCOL_VERSION, Capabilities, ModelConstraint
from podium.wire import capabilities
from podium.wire.pb import lp_rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from podium_hookspecs import Device, Offer, Pipeline

    from podium.workers.pool import WorkerPool

STORAGE_DIRECT = 4
STORAGE_S3 = 5
STORAGE_GCS = 6
AUTH_TOKEN = 12
CORE_CAPABILITIES = frozenset({STORAGE_DIRECT, STORAGE_S3, STORAGE_GCS, AUTH_TOKEN})
"""What the core itself does, whatever the plugins do."""


@frozen
class Advertised:
    """What the node does now.

    Attributes:
        capabilities: As gateways match it.
        wares: What has a price of its own: each model, each BYOC name.
    """

    capabilities: Capabilities
    wares: tuple[Ware, ...] = ()

    def wanted(self, asked: Capabilities | None) -> tuple[Ware, ...]:
        """Return the wares that a request names; empty: transcoding (ai 2.6)."""
        if asked is None:
            return ()
        named = {
            (number, model)
            for number, models in asked.models.items()
            if number in asked.capacities
            for model in models
        }
        return tuple(ware for ware in self.wares if (ware.capability, ware.model) in named)


def advertise(pipelines: Sequence[Pipeline], pool: WorkerPool) -> Advertised:
    """Put together what the node does now, from its pipelines' offers."""
    workers = pool.up
    offers = [(p, offer) for p in pipelines for offer in p.offers(workers)]
    if not offers:
        empty = Capabilities(version=PROTOCOL_VERSION, min_version=PROTOCOL_VERSION)
        return Advertised(empty)
    # BYOC has neither a bit nor constraints: its names are found by token and price list.
    numbered = [(p, offer) for p, offer in offers if offer.capability != BYOC]
    bits = CORE_CAPABILITIES | {offer.capability for _, offer in numbered}
    models: dict[int, dict[str, ModelConstraint]] = {}
    for pipeline, offer in numbered:
        if offer.model is not None:
            entries = models.setdefault(offer.capability, {})
            fresh = _constraint(pipeline, offer, pool)
            entries[offer.model] = _together(entries.get(offer.model), fresh)
    capacities = dict.fromkeys(sorted(bits), 1)
    for number, constraints in models.items():
        capacities[number] = sum(entry.capacity for entry in constraints.values())
    return Advertised(
        Capabilities(
            bits=bits,
            words=len(capabilities.bits_to_words(bits)),
            capacities=capacities,
            version=PROTOCOL_VERSION,
            min_version=PROTOCOL_VERSION,
            models=models,
        ),
        tuple(_wares(offers)),
    )


def _wares(offers: Iterable[tuple[Pipeline, Offer]]) -> Iterable[Ware]:
    for pipeline, offer in offers:
        if name := offer.model or offer.name:
            yield Ware(offer.capability, name, pipeline.unit)


def _constraint(pipeline: Pipeline, offer: Offer, pool: WorkerPool) -> ModelConstraint:
    assert offer.model is not None
    in_use = pool.in_use(offer.capability, offer.model)
    needs = Requirements(capabilities={offer.capability}, model=offer.model)
    free = min(offer.capacity - in_use, pool.free(pipeline.name, needs))
    return ModelConstraint(offer.warm, max(0, free), offer.runner_version, in_use)


def _together(one: ModelConstraint | None, other: ModelConstraint) -> ModelConstraint:
    """Add up what two plugins offer of one model."""
    if one is None:
        return other
    return evolve(one, warm=one.warm or other.warm, capacity=one.capacity + other.capacity)


def hardware(pool: WorkerPool) -> list[pb.HardwareInformation]:
    """Name what runs which model now, for requests that ask for nothing in particular."""
    return [
        pb.HardwareInformation(
            pipeline=entry.pipeline,
            model_id=entry.model,
            gpu_info=_gpus(entry.devices),
        )
        for entry in pool.hardware()
    ]


def _gpus(devices: Sequence[Device]) -> Mapping[str, pb.GPUComputeInfo]:
    return {str(index): _gpu(device) for index, device in enumerate(devices)}


def _gpu(device: Device) -> pb.GPUComputeInfo:
    major, _, minor = device.compute.partition(".")
    return pb.GPUComputeInfo(
        id=device.id,
        name=device.name,
        major=int(major) if major.isdecimal() else 0,
        minor=int(minor) if minor.isdecimal() else 0,
        memory_free=device.memory_free_bytes,
        memory_total=device.memory_total_bytes,
    )
