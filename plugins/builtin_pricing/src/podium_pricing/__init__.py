"""Plugins that price work and admit senders, each by a table in the configuration."""
