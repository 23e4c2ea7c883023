"""What the engine is told to create (ai 4.2), with everything shut that may be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium_ai_runner.executors.values import RunnerSpec

PORT = 8000
MODELS = "/models"
TMPFS_OPTIONS = "rw,nosuid,nodev,mode=1777"
LOG_SIZE = "10m"


def creation_of(spec: RunnerSpec, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of ``POST /containers/create``."""
    hard = spec.hardening
    port = f"{PORT}/tcp"
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in _environment(spec).items()],
        "Labels": dict(labels),
        "ExposedPorts": {port: {}},
        "HostConfig": {
            **_limits(spec),
            **_powers(spec),
            "Mounts": _mounts(spec),
            # An own process is the first, so that the runner's orphans are reaped.
            "Init": True,
            # What fails is replaced by us, with a wait in between.
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": LOG_SIZE, "max-file": "2"}},
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
    }
    if spec.command:
        body["Cmd"] = list(spec.command)
    if hard.user:
        body["User"] = hard.user
    if hard.network:
        body["HostConfig"]["NetworkMode"] = hard.network
    return body


def _environment(spec: RunnerSpec) -> dict[str, str]:
    """Return the environment; caches go where writing is allowed."""
    home = {"HOME": spec.hardening.tmpfs[0]} if _needs_home(spec) else {}
    return {"HOST": "0.0.0.0", "PORT": str(PORT), "MODEL_DIR": MODELS, **home, **spec.told}


def _needs_home(spec: RunnerSpec) -> bool:
    return spec.hardening.read_only_root and bool(spec.hardening.tmpfs)


def _limits(spec: RunnerSpec) -> dict[str, Any]:
    limits = spec.limits
    told: dict[str, Any] = {}
    memory_bytes = limits.memory_mb << 20 or machine_memory_bytes() * 9 // 10
    if memory_bytes:
        told["Memory"] = told["MemorySwap"] = memory_bytes
    if limits.pids:
        told["PidsLimit"] = limits.pids
    if limits.cpus:
        told["NanoCpus"] = int(limits.cpus * 1_000_000_000)
    if limits.shm_mb:
        told["ShmSize"] = limits.shm_mb << 20
    if spec.gpu:
        request = {"Driver": "", "DeviceIDs": [spec.gpu], "Capabilities": [["gpu"]]}
        told["DeviceRequests"] = [request]
    return told


def machine_memory_bytes() -> int:
    """Return how much memory this machine has; 0 when it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0


def _powers(spec: RunnerSpec) -> dict[str, Any]:
    hard = spec.hardening
    told: dict[str, Any] = {"ReadonlyRootfs": hard.read_only_root, "Privileged": False}
    if hard.drop_capabilities:
        told["CapDrop"] = ["ALL"]
    if hard.no_new_privileges:
        told["SecurityOpt"] = ["no-new-privileges"]
    if hard.tmpfs:
        told["Tmpfs"] = dict.fromkeys(hard.tmpfs, TMPFS_OPTIONS)
    return told


def _mounts(spec: RunnerSpec) -> list[dict[str, Any]]:
    if not spec.models_dir:
        return []
    # A mount, not a bind: the engine then says that the folder is missing, and makes no empty one.
    return [
        {
            "Type": "bind",
            "Source": spec.models_dir,
            "Target": MODELS,
            "ReadOnly": spec.hardening.read_only_models,
        }
    ]
