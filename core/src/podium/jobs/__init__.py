"""The one way that paid work takes through the node, whatever face it came in by."""
