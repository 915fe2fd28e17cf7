"""docs/verdicts.md: what every built-in that reads an answer says of one sheet of fifty answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from postlude.rewards.functions import RewardFunction
from postlude.rewards.resolve import resolve
from postlude.rewards.spec import RewardSpec


@dataclass(frozen=True)
class Part:
    """Answers to one question, and the rewards that can judge it."""

    title: str
    intro: str
    row: Mapping[str, Any]
    rewards: Mapping[str, RewardSpec]
    """Head of a column -> reward."""
    right: Sequence[str]
    """Answers that say what is right, in one form or another."""
    wrong: Sequence[str]


SAYS = RewardSpec("regex", args={"pattern": r"answer is (\S+?)\.?$", "group": 1})
FORM = RewardSpec("format", args={"pattern": r"(<think>.*</think>)?\s*(\S+)"})
EXACT, HASHES = RewardSpec("exact"), RewardSpec("exact", args={"after": "####"})
MATHS, CHOICE = RewardSpec("maths"), RewardSpec("choice")
SCHEMA = RewardSpec(
    "json_schema",
    args={"schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
)
CODE = RewardSpec("code", args={"sandbox": "unsafe-none", "workers": 1})

NUMBERS = Part(
    "A number",
    '`answer` is `1080`. `exact ####` is `exact` with `after: "####"`, `regex` has the pattern '
    r"`answer is (\S+?)\.?$` with `group: 1`, `format` the pattern "
    r"`(<think>.*</think>)?\s*(\S+)`: one word, after thinking or not.",
    {"answer": "1080"},
    {"exact": EXACT, "exact ####": HASHES, "regex": SAYS, "format": FORM, "maths": MATHS},
    (
        "1080",
        "1,080",
        "1080.0",
        "1.08e3",
        "2160/2",
        "The answer is 1080.",
        "12 times 90 is 1080.\n#### 1080",
        "So we have \\boxed{1080}.",
        "<answer>1080</answer>",
        "**Final Answer**\n\n1080",
        "<think>1079 or 1080?</think>1080",
        "The answer is $1080$ apples.",
    ),
    (
        "",
        "1079",
        "-1080",
        "1080 or 1081",
        "\\boxed{1080} or \\boxed{1081}",
        "1078, 1079, 1080, 1081",
        "0 < x < 2000",
        "The answer is not 1080.",
        "The answer is whatever is right.",
        "<think>The answer is 1080",
        "<think>#### 1080</think>I cannot say.",
        "#### 1080 #### 1081",
    ),
)
LETTERS = Part(
    "An option",
    "`answer` is `B`, of the options A to D; `regex` is the same.",
    {"answer": "B"},
    {"exact": EXACT, "regex": SAYS, "choice": CHOICE, "maths": MATHS},
    ("B", "(B) 12", "The answer is B.", "\\boxed{B}", "<answer>B</answer>", "Option B is correct."),
    ("b or c", "A, B, C, D", "The answer is A or B", "The answer is not B", "<think>The answer is B", "A\nB\nC\nD"),
)
OBJECTS = Part(
    "An object",
    "The schema wants a `name` that is text.",
    {},
    {"json_schema": SCHEMA},
    (
        '{"name": "Ada"}',
        'Here it is:\n```json\n{"name": "Ada"}\n```',
        '<think>{"name": 3}?</think>{"name": "Ada"}',
    ),
    (
        '{"name": 3}',
        '{"name": "Ada",}',
        '```json\n{"name": "Ada"}\n```\nor\n```json\n{"name": "Bob"}\n```',
    ),
)
PROGRAMS = Part(
    "A program",
    "The tests are `assert add(2, 3) == 5` and, hidden, `assert add(-1, 1) == 0`.",
    {"tests": "assert add(2, 3) == 5", "hidden_tests": "assert add(-1, 1) == 0"},
    {"code": CODE},
    (
        "```python\ndef add(a, b):\n    return a + b\n```",
        "```python\ndef add(a, b):\n    return a + b\n```\nFor example:\n```python\nprint(add(2, 3))\n```",
        "<think>```python\ndef add(a, b): return 0\n```</think>\n```py\ndef add(a, b): return b + a\n```",
    ),
    (
        "def add(a, b): return a + b",
        "```python\ndef add(a, b): return 5\n```",
        "```python\nclass Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()\n```",
        "```python\ndef add(a, b): raise SystemExit(0)\n```",
        "<think>\n```python\ndef add(a, b): return a + b\n```",
    ),
)
SHEET = (NUMBERS, LETTERS, OBJECTS, PROGRAMS)
INTRO = """# One sheet of answers, every verdict

Made by `make docs`: the built-in rewards were asked, and this is what they gave. 1 is paid, 0 is not, `none`
abstains. Answers above the line say what is right, and those below do not: a 1 below it is a reward that can be
gamed (`format`, and `regex` without a `group`, ask for a form, whatever it says). A 0 above the line is a form that
the reward does not read: a prompt has to ask for another one.
"""


def page() -> str:
    """The whole page."""
    count = sum(len(part.right) + len(part.wrong) for part in SHEET)
    return "\n".join([INTRO, f"There are {count} answers.", *(line for part in SHEET for line in _part(part))]) + "\n"


def _part(part: Part) -> Iterator[str]:
    answers = [*part.right, *part.wrong]
    columns = {name: verdicts(resolve(spec), answers, part.row) for name, spec in part.rewards.items()}
    yield from ("", f"## {part.title}", "", part.intro, "")
    yield f"| answer | {' | '.join(columns)} |"
    yield "|---|" + "---|" * len(columns)
    for number, answer in enumerate(answers):
        if number == len(part.right):
            yield "| *what is not right* |" + " |" * len(columns)
        yield f"| {_shown(answer)} | {' | '.join(_mark(values[number]) for values in columns.values())} |"


def verdicts(function: RewardFunction, answers: Sequence[str], row: Mapping[str, Any]) -> list[float | None]:
    """What a reward gives to answers to one row."""
    every: dict[str, Any] = {
        "completions": list(answers),
        "trainer_state": SimpleNamespace(global_step=1, max_steps=1),
        "log_metric": lambda name, value: None,
        "log_extra": lambda name, values: None,
        **{name: [value] * len(answers) for name, value in row.items()},
    }
    wanted = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in wanted.values())
    scores = function(**{name: value for name, value in every.items() if takes_all or name in wanted})
    return asyncio.run(scores) if inspect.isawaitable(scores) else scores  # type: ignore[arg-type]


def _shown(answer: str) -> str:
    text = answer.replace("\n", " ⏎ ").replace("|", "\\|")
    fence = "````" if "``" in text else "`"
    return f"{fence} {text} {fence}" if text else "*nothing*"


def _mark(score: float | None) -> str:
    return "none" if score is None else f"{score:g}"
