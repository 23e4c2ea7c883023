"""The slots of a machine: its GPUs, each cut into as many places as the operator says."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from podium_hookspecs import ConfigError, Device

from podium_ai_runner.executors.values import CPU

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_GPU = ("none",)
QUERY = "index,uuid,name,memory.total,memory.free,compute_cap"
QUERY_TIMEOUT_S = 10.0


@frozen
class Place:
    """Where one runner may be.

    Attributes:
        name: Unique and stable over restarts.
        device: The hardware.
    """

    name: str
    device: Device


def find_gpus() -> tuple[Device, ...]:
    """Ask the NVIDIA driver which GPUs there are; none without a driver."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=QUERY_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(listed.stdout)


def parse_gpus(table: str) -> tuple[Device, ...]:
    """Read the driver's table: index, UUID, name, total and free MiB, compute capability."""
    devices = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 6 and cells[0].isdigit():
            total, free = (int(cell) << 20 if cell.isdigit() else 0 for cell in cells[3:5])
            compute = cells[5] if cells[5].replace(".", "").isdigit() else ""
            devices.append(Device(cells[0], cells[2], total, free, compute=compute))
    return tuple(devices)


def find_places(
    wanted: Sequence[str], found: Sequence[Device], per_gpu: int, cpu_slots: int
) -> tuple[Place, ...]:
    """Cut the machine into places, GPU by GPU before a second one on any (ai 4.2).

    Args:
        wanted: ``("auto",)``, ``("none",)`` or GPU indexes.
        found: The machine's GPUs.
        per_gpu: Runners on each GPU.
        cpu_slots: Runners where there is no GPU.

    Raises:
        ConfigError: a GPU is named that is not there.
    """
    chosen = _chosen(tuple(wanted), found)
    if not chosen:
        processor = Device(CPU, "processor", slots=cpu_slots)
        return tuple(Place(f"cpu-{number}", processor) for number in range(cpu_slots))
    return tuple(
        Place(
            f"gpu-{device.id}" if per_gpu == 1 else f"gpu-{device.id}-{number}",
            evolve(device, slots=per_gpu),
        )
        for number in range(per_gpu)
        for device in chosen
    )


def _chosen(wanted: tuple[str, ...], found: Sequence[Device]) -> tuple[Device, ...]:
    if wanted == NO_GPU:
        return ()
    if wanted == ("auto",):
        return tuple(found)
    by_id = {device.id: device for device in found}
    if missing := [device for device in wanted if device not in by_id]:
        msg = f"plugins.ai.gpus: there is no GPU {', '.join(missing)}"
        raise ConfigError(msg)
    return tuple(by_id[device] for device in wanted)
