"""AI pipelines of the network, run by ai-runner containers, local processes or HTTP services."""
