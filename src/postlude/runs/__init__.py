"""A run on disk: what is written there, what its figures mean, and the one reader of it. Needs no torch."""

from postlude.runs.history import History, read

__all__ = ["History", "read"]
