"""The fake."""
