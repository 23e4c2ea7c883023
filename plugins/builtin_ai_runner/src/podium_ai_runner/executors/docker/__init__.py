"""Runners in containers, by the Docker engine's HTTP API."""
