"""Programs that show all of it at work on one machine."""
