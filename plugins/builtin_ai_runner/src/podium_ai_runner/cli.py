"""``podium ai``: what runs where, and what should."""

import click


@click.group()
def ai() -> None:
    """Look at models and runners, and load or drop them."""
