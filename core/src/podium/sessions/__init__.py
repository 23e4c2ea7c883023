"""Sessions: their tokens, and which of them are open."""
