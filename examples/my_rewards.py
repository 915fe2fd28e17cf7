"""Rewards of your own. Use one in a recipe as `reward: examples/my_rewards.py:last_number`.

A reward gets lists, one entry per answer, by keyword: `prompts`, `completions`, `completion_ids`, and every other
column of your data under its own name. It returns a number for each answer, or None where it cannot score.
For chat data a completion is a list of messages; for plain prompts it is text.
"""

import re


def last_number(completions, answer, **columns):
    """1 where the last number of the answer equals the column `answer`, else 0; None where there is no answer."""
    scores = []
    for completion, expected in zip(completions, answer, strict=True):
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        numbers = re.findall(r"-?\d+(?:\.\d+)?", text)
        if expected is None:
            scores.append(None)
        else:
            scores.append(float(bool(numbers) and float(numbers[-1]) == float(expected)))
    return scores


async def brief(completion_ids, log_metric, **columns):
    """A small bonus for short answers; async functions run side by side. `log_metric` adds a figure to the step."""
    lengths = [len(ids) for ids in completion_ids]
    log_metric("longest", max(lengths))
    return [max(0.0, 1.0 - n / 200) for n in lengths]
