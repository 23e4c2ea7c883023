"""From settings to the chain: connections, keys, and the parts of a node that need them."""
