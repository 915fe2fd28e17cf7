"""postlude demo"""


def demo() -> None:
    """Train a small model with SFT, GRPO and DRPO."""
