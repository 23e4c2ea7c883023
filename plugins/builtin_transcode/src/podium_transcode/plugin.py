"""The entry point: configuration, pipeline and worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import evolve
from podium_hookspecs import ConfigError, Device, Pipeline, Resources, Worker, hookimpl

from podium_transcode.capabilities import detect
from podium_transcode.config import TranscodeConfig
from podium_transcode.devices import CPU, Balancer, choose_devices, find_gpus
from podium_transcode.engine.request import EngineOptions
from podium_transcode.engine.signature import find_program
from podium_transcode.gpu import encodes
from podium_transcode.pipeline import NAME, TranscodePipeline
from podium_transcode.worker import TranscodeWorker, node_label

if TYPE_CHECKING:
    from podium_hookspecs import PluginContext


@hookimpl
def podium_config_class() -> type:
    """Name the class of ``[plugins.transcode]``."""
    return TranscodeConfig


@hookimpl
def podium_pipelines(config: TranscodeConfig, context: PluginContext) -> list[Pipeline]:
    """Give the transcoding pipeline."""
    del config, context
    return [TranscodePipeline()]


@hookimpl
def podium_workers(config: TranscodeConfig, context: PluginContext) -> list[Worker]:
    """Give the worker of this machine."""
    devices = _devices(config)
    program = _program(config)
    processors = processor_count()
    gpu = devices[0].id != CPU
    slots = config.slots or (
        config.device_sessions * len(devices) if gpu else max(2, processors // 2)
    )
    options = EngineOptions(
        preset=config.preset,
        threads=config.threads or processors,
        max_pixels_per_frame=config.max_side**2,
        max_decoded_frames=config.max_frames,
        program=program,
        label=node_label(context.node_version, context.orchestrator_id),
    )
    resources = Resources(
        pipelines=frozenset({NAME}),
        capabilities=detect(gpu=gpu, signature=bool(program)),
        slots=slots,
        devices=_with_slots(devices, slots, config.device_sessions if gpu else slots),
    )
    balancer = Balancer(tuple(device.id for device in devices))
    return [
        TranscodeWorker(NAME, resources, options, balancer, config.memory_limit_mb, context.log)
    ]


def processor_count() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _devices(config: TranscodeConfig) -> tuple[Device, ...]:
    if config.devices == (CPU,):
        return choose_devices(config.devices, ())
    return choose_devices(config.devices, [device for device in find_gpus() if encodes(device.id)])


def _with_slots(devices: tuple[Device, ...], slots: int, cap: int) -> tuple[Device, ...]:
    return tuple(evolve(device, slots=min(slots, cap)) for device in devices)


def _program(config: TranscodeConfig) -> str:
    if config.signature == "off":
        return ""
    program = find_program()
    if config.signature == "on" and not program:
        msg = (
            "plugins.transcode.signature: no ffmpeg program with the signature filter; "
            "install podium-transcode[signature]"
        )
        raise ConfigError(msg)
    return program
