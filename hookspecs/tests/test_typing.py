"""The contract type-checks as its users use it."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("typing_api.py")


def _mypy(path, cache):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", cache]
    done = subprocess.run(
        [*command, "--config-file", "", path], capture_output=True, text=True, cwd=path.parent
    )
    return done.stdout + done.stderr


def test_a_plugin_type_checks(tmp_path):
    assert _mypy(EXAMPLE, tmp_path) == ""


def test_a_wrong_plugin_does_not(tmp_path):
    """The check above can fail."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(EXAMPLE.read_text().replace("Fraction(1, 3)", "0.3"))
    assert "arg-type" in _mypy(wrong, tmp_path)
