"""A run on disk: what is written there, what it means, its one reader, and how to steer it. Needs no torch."""

from postlude.runs.figures import Figure, lookup
from postlude.runs.history import Column, History, read
from postlude.runs.live import Live, checkpoint, status, stop

__all__ = ["Column", "Figure", "History", "Live", "checkpoint", "lookup", "read", "status", "stop"]
