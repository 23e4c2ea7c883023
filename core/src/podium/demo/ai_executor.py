"""Where the AI demo's models run: in containers, or in processes of this machine."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import sys
from urllib.parse import quote, urlsplit

from attrs import frozen

from podium.demo.errors import DemoError

IMAGE = "podium/ai-runner-cpu:latest"
SOCKET = "/var/run/docker.sock"
ENGINE_TIMEOUT_S = 5.0
RUNNER = "podium_runner_cpu"
SPEECH_PROGRAM = "espeak-ng"


@frozen
class Executor:
    """The executor of the demo's models.

    Attributes:
        kind: ``docker`` or ``process``.
        options: What the section of each model says of it.
        note: Why it is this one, for the operator; may be empty.
    """

    kind: str
    options: str
    note: str = ""

    @property
    def where(self) -> str:
        """Return it in words."""
        return "containers" if self.kind == "docker" else "processes of this machine"


def choose(kind: str, image: str = "") -> Executor:
    """Return the executor that was asked for; ``auto`` takes containers where they can be had.

    Raises:
        DemoError: it cannot be had here; says what to do.
    """
    image = image or IMAGE
    if kind == "process":
        return _process("")
    trouble = engine_trouble(image)
    if not trouble:
        return Executor("docker", f"image = {json.dumps(image)}")
    if kind == "docker":
        raise DemoError(trouble)
    return _process(f"No containers: {trouble}.")


def _process(note: str) -> Executor:
    if importlib.util.find_spec(RUNNER) is None:
        raise DemoError(f"{note} The package podium-ai-runner-cpu[models] is not installed".strip())
    if shutil.which(SPEECH_PROGRAM) is None:
        raise DemoError(
            f"{note} Without containers the demo needs the program {SPEECH_PROGRAM}: "
            f"apt-get install {SPEECH_PROGRAM}".strip()
        )
    command = json.dumps([sys.executable, "-m", RUNNER])
    return Executor("process", f"command = {command}", note)


def engine_trouble(image: str) -> str:
    """Return why containers of an image cannot be started here; empty when they can."""
    path = _socket_path()
    if path is None:
        return "DOCKER_HOST names no local socket"
    try:
        with contextlib.closing(_Engine(path)) as engine:
            engine.request("GET", f"/images/{quote(image, safe='')}/json")
            status = engine.getresponse().status
    except (OSError, http.client.HTTPException):
        return f"no container engine answers at {path}"
    if status != 200:
        return f"the engine has no image {image}"
    return ""


def _socket_path() -> str | None:
    host = os.environ.get("DOCKER_HOST", "")
    if not host:
        return SOCKET
    parts = urlsplit(host)
    return parts.path if parts.scheme == "unix" else None


class _Engine(http.client.HTTPConnection):
    """HTTP to a container engine over its socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ENGINE_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ENGINE_TIMEOUT_S)
        self.sock.connect(self._path)
