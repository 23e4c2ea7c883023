"""The command ``podium``."""

from podium.cli.main import cli, main

__all__ = ["cli", "main"]
