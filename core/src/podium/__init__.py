"""Podium, a Livepeer Orchestrator: a small core that finds its work in plugins."""
