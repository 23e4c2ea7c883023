"""Files that travel in the wheel: the demo's clip and the result page's player."""
