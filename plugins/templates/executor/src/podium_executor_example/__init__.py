"""A function that gets paid."""
