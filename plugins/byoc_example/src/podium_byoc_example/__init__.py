"""Thumbnails of a video, streamed as they are made."""
