"""Podium's AI pipelines and the places where their models run."""
