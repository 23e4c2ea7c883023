"""Podium's built-in BYOC plugin: executors that register by HTTP, and a pipeline that asks them."""
