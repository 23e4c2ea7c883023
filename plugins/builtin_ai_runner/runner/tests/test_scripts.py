"""The scripts beside the runner, as far as they go without an engine."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
NOBODY = 65534


def run(name, *options):
    """Run a script as an ordinary user for whom no engine answers."""
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environ = {
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": "unix:///nonexistent",
        "HOME": "/nonexistent",
    }
    text = (HERE / name).read_text()
    command = ["bash", "-c", text, name, *options]
    return subprocess.run(
        command, cwd="/", env=environ, capture_output=True, text=True, timeout=60, **user
    )


@pytest.mark.parametrize("name", ["ensure-engine.sh", "build-image.sh"])
def test_without_an_engine_the_script_says_what_to_do(name):
    done = run(name)
    assert done.returncode == 1, done.stdout
    assert "no Docker engine answers" in done.stderr


@pytest.mark.parametrize("name", ["ensure-engine.sh", "build-image.sh"])
def test_the_scripts_can_be_started(name):
    assert os.access(HERE / name, os.X_OK)
