"""Runs whose servers fail on purpose: every call, in every way, at every moment; and what became of each run."""
