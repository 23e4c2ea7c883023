"""Where things are kept: objects for download, spooled bodies, the database."""
