"""Readers of a run's events: what people look at."""
