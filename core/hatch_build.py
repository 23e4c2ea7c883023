"""Puts the templates of ``podium plugins new`` into the distribution.

They are real projects beside this one. In place (an editable install) they are read where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = {"pipeline": "byoc_example"}
KINDS = ("executor", "observer", "pipeline", "pricing", "worker")
SUFFIXES = {".py", ".toml", ".md", ".mp4"}


class Templates(BuildHookInterface):
    """Includes each template under ``podium/templates``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files, unless they come with an sdist already."""
        plugins = Path(self.root).parent / "plugins"
        if version == "editable" or not plugins.is_dir():
            return
        prefix = "podium" if self.target_name == "wheel" else "src/podium"
        for kind in KINDS:
            folder = plugins / HERE.get(kind, f"templates/{kind}")
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                hidden = any(part.startswith((".", "_")) for part in inside.parts[:-1])
                if not hidden and (path.name == "py.typed" or path.suffix in SUFFIXES):
                    build_data["force_include"][str(path)] = f"{prefix}/templates/{kind}/{inside}"
