"""Prices with a discount for friends."""
