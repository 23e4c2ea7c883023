"""Reading and making media, in child processes: a decoder's fault ends one job, not the node."""
