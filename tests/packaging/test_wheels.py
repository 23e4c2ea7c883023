"""The distributions stand alone: a plugin without core, core without plugins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = ROOT / ".uv/bin/uv"
PLUGINS = (
    "builtin_ai_runner",
    "builtin_byoc",
    "builtin_observers",
    "builtin_pricing",
    "builtin_transcode",
    "byoc_example",
    "executor_sdk",
)
DISTRIBUTIONS = (
    "podium-ai-runner",
    "podium-byoc",
    "podium-byoc-example",
    "podium-observers",
    "podium-pricing",
    "podium-transcode",
)

pytestmark = pytest.mark.timeout(300)


def run(*command, cwd=None):
    """Run a program outside the workspace's own environment; return its output."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Build each distribution's wheel with the pinned backend; return the folder."""
    out = tmp_path_factory.mktemp("wheels")
    for member in ("hookspecs", "core", *(f"plugins/{name}" for name in PLUGINS)):
        run(UV, "build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable,
            "--out-dir", out, ROOT / member)  # fmt: skip
    return out


@pytest.fixture
def install(wheels, tmp_path):
    """Make an empty environment with the named wheels and the pinned rest; return its bin."""

    def into_empty(*names):
        env = tmp_path / "env"
        run(UV, "venv", "-q", "--python", sys.executable, env)
        run(UV, "pip", "install", "-q", "-p", env / "bin/python", "--find-links", wheels,
            "-c", ROOT / "requirements.lock", *names)  # fmt: skip
        return env / "bin"

    return into_empty


def test_plugins_work_without_core(install, tmp_path):
    python = install(*DISTRIBUTIONS) / "python"
    code = (
        "import importlib.util, importlib.metadata, podium_hookspecs\n"
        "assert importlib.util.find_spec('podium') is None\n"
        "for point in importlib.metadata.entry_points(group='podium'):\n"
        "    print(point.name, point.load().podium_config_class().__name__)"
    )
    loaded = run(python, "-W", "error", "-c", code, cwd=tmp_path)
    for expected in (
        "ai AiConfig",
        "transcode TranscodeConfig",
        "price-fixed FixedConfig",
        "auth-webhook ",
        "byoc-example Config",
    ):
        assert expected in loaded


def test_an_executor_needs_nothing_of_podium(install, tmp_path):
    binaries = install("podium-executor")
    code = (
        "import importlib.util, podium_executor\n"
        "for name in ('podium', 'podium_hookspecs'):\n"
        "    assert importlib.util.find_spec(name) is None\n"
    )
    run(binaries / "python", "-W", "error", "-c", code, cwd=tmp_path)
    assert "--orchestrator" in run(binaries / "podium-executor", "--help", cwd=tmp_path)


def test_core_works_without_plugins(install, tmp_path):
    binaries = install("podium")
    code = (
        "import importlib.util, podium.app\n"
        "for name in ('ai_runner', 'byoc', 'transcode', 'observers', 'pricing'):\n"
        "    assert importlib.util.find_spec(f'podium_{name}') is None\n"
        "assert importlib.util.find_spec('av') is None, 'PyAV is the plugin\\'s'\n"
    )
    run(binaries / "python", "-W", "error", "-c", code, cwd=tmp_path)
    run(binaries / "podium", "init", cwd=tmp_path)
    listing = run(binaries / "podium", "plugins", "list", cwd=tmp_path)
    assert "ok" not in listing


def test_a_node_with_its_plugins_lists_them(install, tmp_path):
    binaries = install("podium", *DISTRIBUTIONS)
    listing = run(binaries / "podium", "plugins", "list", cwd=tmp_path)
    for name in ("ai", "transcode", "price-fiat", "admit-lists", "events-webhook"):
        assert name in listing


def test_wheels_carry_types_and_nothing_else(wheels):
    from zipfile import ZipFile

    for wheel in wheels.glob("*.whl"):
        names = ZipFile(wheel).namelist()
        package = wheel.name.split("-")[0]
        assert f"{package}/py.typed" in names
        roots = {name.split("/")[0].split("-")[0] for name in names}
        assert roots == {package}, f"{wheel.name} installs {roots}"
