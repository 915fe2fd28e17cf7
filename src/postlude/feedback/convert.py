"""Feedback of one kind as another: ratings to ranks, lists to pairs, pairs to labels or SFT rows. Needs no torch.

Ties: answers with equal numbers keep equal ranks, and make no pair. Every row and every comparison is counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any, Literal

from postlude.bounds import Bounds
from postlude.errors import ConfigError, DataError, Problem
from postlude.sources.compared import Stated, stated
from postlude.sources.formats import recognise
from postlude.sources.forms import Reading
from postlude.sources.table import Kind, Table

Target = Literal["pairs", "ranks", "labels", "sft"]
Which = Literal["all", "best-worst", "adjacent"]
OutRow = dict[str, Any]

TARGETS: Mapping[Kind, tuple[Target, ...]] = {
    "pair": ("pairs", "ranks", "labels", "sft"),
    "rated": ("pairs", "ranks", "labels", "sft"),
    "binary": ("labels", "sft"),
}
"""Kind of rows -> what they can become."""
SPOKEN_FOR = {
    "prompt", "chosen", "rejected", "completion", "completions", "ranks", "scores", "label", "labels", "margin",
    "probability", "context", "response_1", "response_2", "preference_strength", "overall_preference",
    "messages", "text", "conversations", "answers", "human_ref_A", "human_ref_B", "preferred_output",
    "non_preferred_output", "conversation_a", "conversation_b", "winner",
}  # fmt: skip
"""Columns that say what kind of row this is: the new row has its own. All others are kept."""


@dataclass(frozen=True)
class Choices:
    """How rows are converted."""

    to: Target
    which: Which = "all"
    """Of a list's answers: every two, the best with the worst, or each rank with the next."""
    margin: float = 0.0
    """Two answers whose scores (or ranks) differ by less make no pair."""
    threshold: float | None = None
    """Labels: a score of at least this, or a rank of at most this, is good."""
    write_margin: bool = False
    """Write the difference as `margin`, which training then asks the better answer to win by."""

    def __post_init__(self) -> None:
        problems = [("--margin", Bounds(0).problem(self.margin))]
        problems += [("--threshold", Bounds().problem(self.threshold))] if self.threshold is not None else []
        wrong = [Problem("out-of-range", f"{name} {problem}.", key=name) for name, problem in problems if problem]
        if wrong:
            raise ConfigError(wrong)


@dataclass
class Converted:
    """New rows, and counts: good rows = converted + `rows_dropped`; of pairs, compared = rows + `dropped`."""

    kind: Kind
    rows: list[OutRow] = field(default_factory=list[OutRow])
    converted: int = 0
    rows_dropped: Counter[str] = field(default_factory=Counter[str])
    """Reason -> rows that gave nothing."""
    compared: int = 0
    """Comparisons that were looked at, where pairs are made."""
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Reason -> comparisons that made no pair."""


def convert(table: Table, choices: Choices, reading: Reading | None = None) -> Converted:
    """Every good row of a table as rows of another kind; bad ones go to the table's problems."""
    kind = recognise(table, "compared", reading)
    _check_target(table, kind, choices)
    result = Converted(kind)
    good = []
    for row in table.rows:
        try:
            said = stated(row.values, kind)
        except DataError as error:
            table.reject(row.where, error.problems[0])
            continue
        good.append(row)
        new, reason = _row(row.values, kind, said, choices, result)
        result.rows += [{**_columns(row.values, kind, choices), **part} for part in new]
        result.converted += bool(new)
        result.rows_dropped.update([] if new else [reason])
    table.rows = good
    return result


def _check_target(table: Table, kind: Kind, choices: Choices) -> None:
    possible = TARGETS.get(kind, ())
    if choices.to not in possible:
        ways = f"They can become {', '.join(possible)}." if possible else "They cannot be converted."
        raise ConfigError(
            f"--to {choices.to}: {table.path} holds {table.form}, which do not become that. {ways}", code="wrong-rows"
        )
    if choices.to == "labels" and kind == "rated" and choices.threshold is None:
        raise ConfigError(
            "--to labels: lists need --threshold: a score of at least this, or a rank of at most this, is good.",
            code="missing-option",
        )
    if kind == "rated":
        return
    of_lists = {
        "--pairs": choices.which != "all",
        "--margin": choices.margin,
        "--write-margin": choices.write_margin,
        "--threshold": choices.threshold is not None,
    }
    if useless := [option for option, value in of_lists.items() if value]:
        raise ConfigError(
            f"{', '.join(useless)}: {table.path} holds {table.form}, which have no scores or ranks to go by.",
            code="no-effect",
        )


def _columns(row: Mapping[str, Any], kind: Kind, choices: Choices) -> OutRow:
    """The columns that stay; margin and probability stay where a pair does."""
    of_pair = {"margin", "probability"} if kind == "pair" and choices.to == "pairs" else set[str]()
    return {k: v for k, v in row.items() if k not in SPOKEN_FOR or (k in of_pair and v is not None)}


def _row(
    row: Mapping[str, Any], kind: Kind, said: Stated, choices: Choices, result: Converted
) -> tuple[list[OutRow], str]:
    """The new rows of one, or the reason why there are none."""
    if choices.to == "pairs" and kind == "rated":
        return list(_pairs(row, said, choices, result)), "no two answers make a pair"
    if kind == "pair" and choices.to in ("pairs", "ranks") and said.answers[0] == said.answers[1]:
        return [], "the two answers are the same"
    if choices.to == "pairs":
        return [_pair(said)], ""
    if choices.to == "labels":
        return _labels(row, kind, said, choices), "neither answer is preferred"
    if choices.to == "ranks" and len({*said.rewards}) == 1:
        return [], "no answer is preferred"
    if choices.to == "ranks":
        return [{"prompt": said.prompt, "completions": [*said.answers], "ranks": ranks_of(said.rewards)}], ""
    return _written(kind, said), "labelled as bad" if kind == "binary" else "no answer is preferred"


def ranks_of(rewards: Sequence[float]) -> list[int]:
    """1 is best; equal rewards have equal ranks, and the next rank counts all before it: 1, 2, 2, 4."""
    return [1 + sum(other > reward for other in rewards) for reward in rewards]


# -------------------------------------------------------------------------------------------------------- pairs


def _pair(said: Stated) -> OutRow:
    """A pair as it was: its probability says which one is likelier better."""
    return {"prompt": said.prompt, "chosen": said.answers[0], "rejected": said.answers[1]}


def _pairs(row: Mapping[str, Any], said: Stated, choices: Choices, result: Converted) -> Iterator[OutRow]:
    """Pairs of one list; what was compared and dropped is counted in `result`."""
    name = "score" if "scores" in row else "rank"
    seen: list[tuple[Any, Any]] = []
    for a, b in WHICH[choices.which](said.rewards):
        better, worse = (a, b) if said.rewards[a] >= said.rewards[b] else (b, a)
        answers = (said.answers[better], said.answers[worse])
        difference = said.rewards[better] - said.rewards[worse]
        result.compared += 1
        reason = _no_pair(answers, difference, choices.margin, seen)
        if reason:
            result.dropped[reason] += 1
            continue
        seen.append(answers)
        numbers = row[f"{name}s"]
        pair = {"prompt": said.prompt, "chosen": answers[0], "rejected": answers[1]}
        pair |= {f"chosen_{name}": numbers[better], f"rejected_{name}": numbers[worse]}
        yield {**pair, "margin": difference} if choices.write_margin else pair


def _no_pair(answers: tuple[Any, Any], difference: float, margin: float, seen: list[tuple[Any, Any]]) -> str | None:
    """Why two answers make no pair."""
    if difference == 0:
        return "equally good"
    if difference < margin:
        return f"closer than {margin:g}"
    if answers[0] == answers[1]:
        return "same answer"
    return "pair repeated" if answers in seen else None


def _all(rewards: Sequence[float]) -> list[tuple[int, int]]:
    return list(combinations(range(len(rewards)), 2))


def _best_worst(rewards: Sequence[float]) -> list[tuple[int, int]]:
    """The first of equals on either side."""
    places = range(len(rewards))
    best, worst = max(places, key=rewards.__getitem__), min(places, key=rewards.__getitem__)
    return [(best, worst)] if best != worst else [(0, 1)]


def _adjacent(rewards: Sequence[float]) -> list[tuple[int, int]]:
    """Every answer of one rank with every one of the next, so that equal ranks do not hide the step between them."""
    levels = sorted({*rewards}, reverse=True)
    at = {level: [i for i, reward in enumerate(rewards) if reward == level] for level in levels}
    equal = [pair for places in at.values() for pair in combinations(places, 2)]
    steps = [(a, b) for high, low in pairwise(levels) for a in at[high] for b in at[low]]
    return steps + equal


WHICH: Mapping[Which, Callable[[Sequence[float]], list[tuple[int, int]]]] = {
    "all": _all,
    "best-worst": _best_worst,
    "adjacent": _adjacent,
}
"""Name -> the comparisons it looks at, as places in the list."""


# ------------------------------------------------------------------------------------------ labels, written answers


def _labels(row: Mapping[str, Any], kind: Kind, said: Stated, choices: Choices) -> list[OutRow]:
    """One row per answer; a pair whose answers are equally likely to be better says nothing of either."""
    if kind == "rated":
        assert choices.threshold is not None
        least = choices.threshold if "scores" in row else -choices.threshold
        good = [reward >= least for reward in said.rewards]
    elif kind == "pair" and (said.rewards[0] == said.rewards[1] or said.answers[0] == said.answers[1]):
        return []
    else:
        good = [reward > 0.5 for reward in said.rewards]
    return [
        {"prompt": said.prompt, "completion": answer, "label": label}
        for answer, label in zip(said.answers, good, strict=True)
    ]


def _written(kind: Kind, said: Stated) -> list[OutRow]:
    """The best answer, the first of equals; of a labelled one itself where it is good."""
    best = max(range(len(said.rewards)), key=said.rewards.__getitem__)
    nothing = said.rewards[best] <= 0 if kind == "binary" else len({*said.rewards}) == 1
    return [] if nothing else [{"prompt": said.prompt, "completion": said.answers[best]}]
