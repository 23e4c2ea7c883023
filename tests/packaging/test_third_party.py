"""A plugin that this repository does not know: made, built, installed, enabled, paid, removed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
NAME = "captions"
VIDEO = ROOT / "plugins/byoc_example/tests/data/clip.mp4"
CONFIG = """\
[node]
data_dir = "{folder}/data"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[account]
private_key = "{key}"
[plugins.captions]
enabled = true
required = {required}
"""

pytestmark = pytest.mark.timeout(300)


def run(*command, cwd, status=0):
    """Run a program outside the workspace's own environment; return its output."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(folder, out):
    run(UV, "build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable,
        "--out-dir", out, folder, cwd=out)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An environment with Podium from its wheels, and PyAV; pip is there."""
    folder = tmp_path_factory.mktemp("site")
    wheels = folder / "wheels"
    wheels.mkdir()
    for member in ("hookspecs", "core"):
        build(ROOT / member, wheels)
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    run(UV, "pip", "install", "-q", "-p", folder / "env/bin/python", "--find-links", wheels,
        "-c", ROOT / "requirements.lock", "podium", "av", cwd=folder)  # fmt: skip
    return folder


@pytest.fixture
def binaries(site):
    """The environment with the plugin installed by pip, from a wheel built outside of here."""
    env = site / "env/bin"
    run(env / "podium", "plugins", "new", NAME, cwd=site)
    project = site / f"podium-{NAME}"
    build(project, site)
    shutil.rmtree(project)
    (wheel,) = site.glob("podium_captions-*.whl")
    run(env / "python", "-m", "pip", "install", "-q", "--no-index", wheel, cwd=site)
    yield env
    run(env / "python", "-m", "pip", "uninstall", "-q", "-y", f"podium-{NAME}", cwd=site)


class Node:
    """``podium serve`` in a process."""

    def __init__(self, program, folder):
        self.process = subprocess.Popen(
            [program, "serve"],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.banner = []
        while not self.banner or "serves" not in self.banner[-1]:
            line = self.process.stdout.readline()
            assert line, "".join(self.banner)
            self.banner.append(line)
        words = self.banner[-1].split()
        self.uri = words[words.index("serves") + 1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


def configure(folder, required="true"):
    folder.mkdir(exist_ok=True)
    text = CONFIG.format(folder=folder, key="11" * 32, required=required)
    (folder / "podium.toml").write_text(text)
    return folder


async def test_a_plugin_from_elsewhere_is_paid_and_can_be_removed(
    site, binaries, paid_request, tmp_path
):
    folder = configure(tmp_path / "node")
    assert "ok" in run(binaries / "podium", "plugins", "list", cwd=folder)
    assert "pipeline captions" in run(binaries / "podium", "plugins", "check", cwd=folder)
    with Node(binaries / "podium", folder) as node:
        prepared = await paid_request.prepare(node.uri, NAME)
        assert prepared.price.pricePerUnit == 1_000_000
        reply = await paid_request(node.uri, NAME, VIDEO.read_bytes(), parameters={"count": 2})
    assert reply.status_code == 200
    events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(event)["number"] for event in events[:2]] == [1, 2]
    assert events[-1] == "[DONE]"

    run(binaries / "python", "-m", "pip", "uninstall", "-q", "-y", f"podium-{NAME}", cwd=site)
    refused = run(binaries / "podium", "serve", cwd=folder, status=1)
    assert "plugin captions failed: install: no installed distribution offers it" in refused
    assert "Traceback" not in refused
    configure(folder, required="false")
    assert "no installed distribution" in run(binaries / "podium", "plugins", "list", cwd=folder)
    with Node(binaries / "podium", folder) as node:
        assert node.uri.startswith("https://127.0.0.1:")
