"""NVIDIA GPUs as the driver's own program shows them; without it there are none."""

from __future__ import annotations

import shutil
import subprocess

from attrs import frozen

LIMIT_S = 5.0
MIB = 1024 * 1024
COLUMNS = (
    "uuid",
    "name",
    "memory.total",
    "memory.free",
    "compute_cap",
    "utilization.gpu",
    "utilization.memory",
)


@frozen
class Gpu:
    """One GPU.

    Attributes:
        id: its UUID.
        name: its product name.
        memory_total: bytes.
        memory_free: bytes.
        major: of its compute capability.
        minor: of its compute capability.
        utilization_compute: percent.
        utilization_memory: percent.
    """

    id: str
    name: str
    memory_total: int
    memory_free: int
    major: int
    minor: int
    utilization_compute: int
    utilization_memory: int

    @classmethod
    def from_line(cls, line: str) -> Gpu:
        """Read one line of the program's comma-separated output."""
        uuid, name, total, free, capability, compute, memory = line.split(", ")
        major, _, minor = capability.partition(".")
        return cls(
            uuid,
            name,
            int(total) * MIB,
            int(free) * MIB,
            _number(major),
            _number(minor),
            _number(compute),
            _number(memory),
        )

    def info(self) -> dict[str, object]:
        """What it is, as ``/hardware/info`` shows it."""
        return self._common() | {"major": self.major, "minor": self.minor}

    def stats(self) -> dict[str, object]:
        """What it does, as ``/hardware/stats`` shows it."""
        return self._common() | {
            "utilization_compute": self.utilization_compute,
            "utilization_memory": self.utilization_memory,
        }

    def _common(self) -> dict[str, object]:
        return {
            "id": self.id,
            "name": self.name,
            "memory_total": self.memory_total,
            "memory_free": self.memory_free,
        }


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0  # "[N/A]" where a GPU does not say


def list_gpus() -> list[Gpu]:
    """Return the GPUs of this machine. Blocks for `LIMIT_S` at most."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S, text=True)
        return [Gpu.from_line(line) for line in done.stdout.splitlines() if line.strip()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
