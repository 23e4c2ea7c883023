"""The HTTP face: routes, replies, bounds."""
