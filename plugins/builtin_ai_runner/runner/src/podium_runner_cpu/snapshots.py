"""Where a model's files lie: the layout of the Hugging Face cache, or plain folders."""

from __future__ import annotations

import re
from pathlib import Path

from podium_runner_cpu.errors import ModelUnavailable

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")


def find_snapshot(model_dir: Path, model_id: str) -> Path:
    """Return the folder with a model's files.

    Args:
        model_dir: holds ``models--ORG--NAME/snapshots/REVISION`` or plain ``ORG/NAME``.
        model_id: ``ORG/NAME`` or ``NAME``. It may come from a client: it never leads elsewhere.

    Raises:
        ModelUnavailable: the name is malformed, or there is no such folder.
    """
    if NAME.fullmatch(model_id):
        cached = model_dir / f"models--{model_id.replace('/', '--')}"
        for folder in (*_revisions(cached), model_dir / model_id):
            if folder.is_dir() and folder.resolve().is_relative_to(model_dir.resolve()):
                return folder
    raise ModelUnavailable(f"no files of the model in {model_dir}: {model_id[:200]!r}")


def _revisions(cached: Path) -> list[Path]:
    snapshots = cached / "snapshots"
    main = cached / "refs" / "main"
    if main.is_file():
        return [snapshots / main.read_text().strip()]
    return sorted(snapshots.iterdir()) if snapshots.is_dir() else []
