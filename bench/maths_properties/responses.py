r"""What stands around an answer and must not change the verdict, and what must: another answer beside it."""

from __future__ import annotations

AROUND = (
    r"\boxed{%s}",
    r"We add the terms and get $\boxed{%s}$.",
    r"So the result is \boxed{%s}, as was to be shown.",
    "First 3 + 4 = 7 and then\n\\[\n\\boxed{%s}\n\\]\n",
    r"<think>It could be \boxed{913}. No.</think> Therefore $\boxed{%s}$.",
    r"Let $\boxed{%s}$ be noted; again, the answer is $\boxed{%s}$.",
    "<think>\nSome work.\n</think>\n<answer>\\boxed{%s}</answer>",
    "<think>\nSome work.\n</think>\n<answer> $%s$ </answer>",
    "**Final Answer**\n\n$\\boxed{%s}$",
    r"Final Answer: The final answer is $\boxed{%s}$. I hope it is correct.",
    r"\fbox{%s}",
)
"""Responses with the same answer; %s is its text."""
BESIDE = (
    r"It is $\boxed{%s}$ or maybe $\boxed{%s}$.",
    "<answer>%s</answer> <answer>%s</answer>",
    r"\boxed{%s \text{ or } %s}",
    r"One answer is \boxed{%s}. Another answer is \boxed{%s}.",
)
"""Responses with two answers, none of which is to be taken alone."""
