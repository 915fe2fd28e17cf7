"""postlude against TRL on the same weights, prompts and settings, step by step in alternation: `make bench`."""
