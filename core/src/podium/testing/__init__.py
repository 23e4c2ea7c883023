"""Tools for people who test plugins, and for Podium's own tests."""
