"""The workers of the node: which are up, and who has their slots."""
