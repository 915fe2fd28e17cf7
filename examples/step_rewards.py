"""Rewards of steps: a number for each step of an answer, where `steps` of the recipe says what stands between steps.

postlude train grpo_process model=... data=... 'reward={use: "examples/step_rewards.py:adds_up", steps: "\\n"}'
"""

from __future__ import annotations


def adds_up(prompts: list[str], steps: list[list[str]], **columns: object) -> list[list[float]]:
    """For sums a line each, such as `3:3`, `4:7`, `#7`: 1 for a line that follows from the one before, else 0.

    An answer that stops early gets 0 for its last line: otherwise one right line alone would be a perfect answer.
    """
    return [_lines(prompt, lines) for prompt, lines in zip(prompts, steps, strict=True)]


def _lines(prompt: str, lines: list[str]) -> list[float]:
    digits, total, rewards = prompt.rstrip("="), 0, []
    for i, line in enumerate(lines):
        expected = f"{digits[i]}:{(total + int(digits[i])) % 10}" if i < len(digits) else f"#{total}"
        rewards.append(float(line == expected))
        total = int(line[-1]) if line[-1:].isdigit() else total
    if 0 < len(lines) <= len(digits):
        rewards[-1] = 0.0
    return rewards
