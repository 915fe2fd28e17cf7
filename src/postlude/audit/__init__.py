"""Reading rewards and models for over-optimisation and other ways to be fooled."""
