"""Finished jobs, a line of JSON each."""
