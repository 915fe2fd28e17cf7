"""What the figures of a run show: `examine(track)`, by the rules of one table, live or of a run's folder."""
