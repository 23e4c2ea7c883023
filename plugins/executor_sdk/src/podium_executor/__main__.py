"""``python -m podium_executor``."""

from podium_executor.cli import main

main()
