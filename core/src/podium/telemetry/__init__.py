"""Events turned into metrics and log lines; the rest of the code only emits events."""
