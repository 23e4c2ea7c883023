"""Models behind pipelines, without HTTP."""
