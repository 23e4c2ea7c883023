"""The transcoding itself: plain functions over PyAV that run inside a child process."""
