"""GPUs: which there are, and which one a session gets (wire-video 7)."""

from __future__ import annotations

import math
import subprocess
import time
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen
from podium_hookspecs import ConfigError, Device

from podium_transcode.engine.sizes import clamped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from podium_hookspecs import Profile

CPU = "cpu"
PASS_THROUGH_FPS = 30
PIN_IDLE_S = 70.0
"""A pin unused for so long is dropped; the node ends an idle session after as long."""
MAX_PINS = 4096
QUERY = "index,name,memory.total,memory.free"


@frozen
class Pin:
    """A session's place: its device, the load it was counted with, and its last job's time."""

    device: str
    cost: int
    used_at_s: float


@define
class Balancer:
    """Pins each session to the device with the least accumulated cost.

    Ties go to the first device from an index that advances by one with every new session, so
    equal sessions go round. The cost is charged once and returned when the session ends, or when
    it has had no job for ``PIN_IDLE_S`` seconds, or is the idlest of more than ``MAX_PINS``: a
    job that comes after its session's end pins it again, and nobody ends it twice.
    """

    devices: tuple[str, ...]
    monotonic: Callable[[], float] = time.monotonic
    _load: dict[str, int] = field(factory=dict)
    _pins: dict[str, Pin] = field(factory=dict)
    _next: int = 0

    def device_for(self, session_id: str, cost: int) -> str:
        """Return the session's device, choosing one at its first job."""
        now_s = self.monotonic()
        pin = self._pins.pop(session_id, None)
        self._drop_idle(now_s)
        if pin is None:
            pin = Pin(self._least_loaded(), cost, now_s)
            self._load[pin.device] = self._load.get(pin.device, 0) + cost
        self._pins[session_id] = evolve(pin, used_at_s=now_s)  # last: they stay in order of use
        return pin.device

    def release(self, session_id: str) -> None:
        """Forget a session and give back its cost; an unknown one is no error."""
        pin = self._pins.pop(session_id, None)
        if pin is not None:
            self._load[pin.device] -= pin.cost

    def load(self, device: str) -> int:
        """Return a device's accumulated cost, pixels per second."""
        return self._load.get(device, 0)

    def _drop_idle(self, now_s: float) -> None:
        """Release pins unused for too long, and make room for one more."""
        while self._pins:
            session_id, pin = next(iter(self._pins.items()))
            if now_s - pin.used_at_s < PIN_IDLE_S and len(self._pins) < MAX_PINS:
                return
            self.release(session_id)

    def _least_loaded(self) -> str:
        start, count = self._next, len(self.devices)
        self._next = (start + 1) % count
        order = [self.devices[(start + step) % count] for step in range(count)]
        return min(order, key=self.load)


def session_cost(profiles: Sequence[Profile]) -> int:
    """Return the load of a session: pixels per second, whole frames, 30 when passed through.

    Sizes count within the encoder's limits, as they are encoded: what a peer asks for, negative
    or huge, must not make a device look idle or full.
    """
    return sum(
        math.prod(clamped(profile.codec, (profile.width, profile.height)))
        * (PASS_THROUGH_FPS if profile.fps is None else max(0, int(profile.fps)))
        for profile in profiles
    )


def find_gpus() -> tuple[Device, ...]:
    """Ask the NVIDIA driver which GPUs there are; none without a driver."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(listed.stdout)


def parse_gpus(table: str) -> tuple[Device, ...]:
    """Read the driver's table: index, name, total and free MiB."""
    devices = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4 and cells[0].isdigit():
            total, free = (int(cell) << 20 if cell.isdigit() else 0 for cell in cells[2:])
            devices.append(Device(cells[0], cells[1], total, free))
    return tuple(devices)


def choose_devices(wanted: Sequence[str], found: Sequence[Device]) -> tuple[Device, ...]:
    """Match what the operator wants with what there is.

    Args:
        wanted: ``("auto",)``, ``("cpu",)`` or GPU indexes.
        found: GPUs on which a test encode worked.

    Returns:
        At least one device; the processor when ``auto`` finds no GPU.

    Raises:
        ConfigError: a GPU is named that is not there or does not encode.
    """
    processor = (Device(CPU, "software"),)
    if tuple(wanted) == (CPU,):
        return processor
    if tuple(wanted) == ("auto",):
        return tuple(found) or processor
    by_id = {device.id: device for device in found}
    missing = [device for device in wanted if device not in by_id]
    if missing:
        msg = f"plugins.transcode.devices: no working encoder on {', '.join(missing)}"
        raise ConfigError(msg)
    return tuple(by_id[device] for device in wanted)
