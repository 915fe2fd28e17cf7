"""What a whole file of rows shows that no row shows alone: repeats, leaks, contradictions, bias; and its mending."""
