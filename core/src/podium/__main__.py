"""``python -m podium``: the command, with this very interpreter."""

from podium.cli import main

if __name__ == "__main__":
    main()
