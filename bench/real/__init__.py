"""postlude on a real model: SmolLM2-135M-Instruct through every command."""
