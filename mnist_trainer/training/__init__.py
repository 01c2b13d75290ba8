"""The loop, and everything that changes while it runs. Nothing here writes or prints."""
