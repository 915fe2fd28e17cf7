"""Where groups come from: files, and policies answering prompts under a reward."""
