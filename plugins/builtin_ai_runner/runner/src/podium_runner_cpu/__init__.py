"""Podium's runner of AI pipelines: one process serves one pipeline with one model, over HTTP."""
