"""Hugging Face models: loading, tiny ones made on the spot, chat templates, adapters."""
