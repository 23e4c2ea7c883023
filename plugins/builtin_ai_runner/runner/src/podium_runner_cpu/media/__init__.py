"""Pictures and sound from strangers: checked, then decoded."""
