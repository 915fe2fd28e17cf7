"""Suites: prompts with what says how good an answer is, described by a small file; some are made here."""
