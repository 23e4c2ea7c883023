"""What crosses the process boundary: bytes to values and back. No I/O, no async."""
