"""Podium's built-in video transcoder: a pipeline and a worker on PyAV."""
