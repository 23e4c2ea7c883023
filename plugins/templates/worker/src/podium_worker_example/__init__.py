"""A program that does jobs."""
