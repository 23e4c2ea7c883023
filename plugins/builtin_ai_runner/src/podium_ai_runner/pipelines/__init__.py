"""The AI pipelines: what a request is, how much work it is, and what an answer is."""
