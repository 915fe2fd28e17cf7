"""Rows of compared or judged answers as groups: pairs, ranked and rated lists, thumbs up or down, labelled steps.

What a row says becomes the rewards of its completions: chosen 1 and rejected 0, minus the rank, the rating, the label;
labels of steps become step rewards. Which answer is preferred follows from the rewards alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from postlude.data import Completion, Group, Message, Prompt, joined_pair
from postlude.errors import DataError
from postlude.models.chat import Renderer
from postlude.models.steps import ends, pieces
from postlude.shapes import is_number
from postlude.sources.file import EARLY, answer_messages_problem, field_problem, unanswered_problem, unique_id
from postlude.sources.formats import candidates, recognise, require_one_shape
from postlude.sources.forms import Reading
from postlude.sources.messages import SPEAKS
from postlude.sources.table import Kind, Row, Table
from postlude.sources.unused import Unused

Values = Mapping[str, Any]
Text = str | list[Message]

NAMES: Mapping[Kind, str] = {
    "pair": "pairs (chosen, rejected)",
    "rated": "lists (completions with ranks or scores)",
    "binary": "labelled answers (completion, label)",
    "steps": "labelled steps (completions, labels)",
}
BECOME: Mapping[tuple[Kind, Kind], str] = {
    ("rated", "pair"): "pairs",
    ("rated", "binary"): "labels --threshold X",
    ("pair", "rated"): "ranks",
    ("pair", "binary"): "labels",
}
"""(kind, wanted kind) -> what `postlude data convert --to` calls it."""


@dataclass(frozen=True)
class Limits:
    """What a row has to fit into."""

    context: int | None
    """Tokens of prompt and answer together."""
    vocabulary: int | None = None
    separator: str = "\n"
    """What stands between the steps of an answer."""


def compared(
    table: Table,
    renderer: Renderer,
    limits: Limits,
    kinds: Sequence[Kind],
    reading: Reading | None = None,
    seen: Counter[str] | None = None,
    joined: bool = False,
) -> list[Group]:
    """Every usable row as a group with rewards; problems go to the table. `kinds`: what the method can learn from.

    `joined`: for a model that reads both answers of a pair at once (`joined_pair`).
    """
    kind = require(table, kinds, reading)
    seen = Counter() if seen is None else seen
    good: list[Row] = []
    result: list[Group] = []
    unused = Unused(renderer)
    for row in table.rows:
        try:
            group = _READ[kind](row.values, renderer, limits)
            _check_reading(row.values, kind, group, unused)
            unused.look_for_unknown([i for ids in (group.prompt, *group.completions) for i in ids.tokens])
            group = joined_pair(group) if joined else group
            _check_tokens(group, limits)
        except DataError as error:
            table.reject(row.where, error.problems[0])
            continue
        good.append(row)
        named = replace(group.prompt, id=unique_id(row, seen), place=row.where)
        result.append(replace(group, prompt=named))
    table.rows = good
    require_one_shape(table)
    unused.write_notes(table)
    _note_conflicts(table, result)
    return result


def _check_reading(row: Values, kind: Kind, group: Group, unused: Unused) -> None:
    """Raise DataError where the model would not read what a row says."""
    answers: Sequence[Text] = () if kind == "steps" else stated(row, kind).answers
    problem = unused.problem(group.prompt.messages, row, answers)
    if problem is None and isinstance(group.prompt.messages, str):
        early = any(unused.stops_early(c) for c in group.completions)
        problem = EARLY if early else None
    if problem:
        raise DataError(problem)


def holds_compared(table: Table) -> bool:
    """Whether every row is one of compared or judged answers."""
    return bool(table.rows) and all(candidates(row.values, "compared") for row in table.rows)


def require(table: Table, kinds: Sequence[Kind], reading: Reading | None = None) -> Kind:
    """The kind of rows, which must be one that the method learns from."""
    kind = recognise(table, "compared", reading, kinds)
    if kind not in kinds:
        raise DataError(
            f"{table.path}: rows are {NAMES[kind]}, and this method learns from "
            f"{' or '.join(NAMES[k] for k in kinds)}. {_way(table, kind, kinds)}",
            code="wrong-rows",
        )
    return kind


def _way(table: Table, kind: Kind, kinds: Sequence[Kind]) -> str:
    """The command that makes rows of the right kind, where there is one."""
    target = next((BECOME[kind, k] for k in kinds if (kind, k) in BECOME), None)
    if target is None:
        return "They cannot be turned into such; `postlude methods` says what each method needs."
    return f"`postlude data convert {table.path} OUT.jsonl --to {target}` makes such of them."


# ------------------------------------------------------------------------------------------------- kinds of rows


@dataclass(frozen=True)
class Stated:
    """What a row says without any tokenizer: answers to a prompt with a number for each, the larger the better."""

    prompt: Text
    answers: tuple[Text, ...]
    rewards: tuple[float, ...]


def stated(row: Values, kind: Kind) -> Stated:
    """What a row of pairs, lists or labelled answers says. Raises DataError where it is malformed.

    Equal answers and equal numbers are not an error here: such rows say nothing, but they say it properly.
    """
    said = {"pair": _stated_pair, "rated": _stated_list, "binary": _stated_label}[kind](row)
    if any(isinstance(answer, str) != isinstance(said.prompt, str) for answer in said.answers):
        raise DataError(
            "prompt and answers must all be text or all be messages (data.chat=true makes messages of text)",
            code="text-or-messages",
        )
    names = {"pair": ("chosen", "rejected"), "rated": ("completions",), "binary": ("completion",)}[kind]
    problems = [answer_messages_problem(a, names[min(i, len(names) - 1)]) for i, a in enumerate(said.answers)]
    problem = next(filter(None, [unanswered_problem(said.prompt, "prompt"), *problems]), None)
    if problem:
        raise DataError(problem)
    for answer in said.answers:
        _check_speakers(said.prompt, answer)
    return said


def _check_speakers(prompt: Text, answer: Text) -> None:
    """In a conversation written as text, an answer that holds a user's turn would teach to speak for the user."""
    if isinstance(prompt, str) and isinstance(answer, str):
        if SPEAKS["assistant"] in prompt and SPEAKS["user"] in answer:
            raise DataError(
                f"an answer goes on with a turn of the user ({SPEAKS['user']!r}), which would be trained as the "
                "model's own words; cut it there, or write the row as messages",
                code="bad-messages",
            )


def preference(row: Values, kind: Kind) -> Stated:
    """`stated`, of a row that says which answer is better; one that does not is a DataError."""
    said = stated(row, kind)
    if kind == "pair" and said.answers[0] == said.answers[1]:
        raise DataError('"chosen" and "rejected" are the same: such a pair teaches nothing', code="no-preference")
    if kind == "pair" and _bare(said.answers[0]) == _bare(said.answers[1]):
        raise DataError(
            '"chosen" and "rejected" are the same but for white space: such a pair teaches nothing',
            code="no-preference",
        )
    if kind == "rated" and len({*said.rewards}) == 1:
        raise DataError(
            f'all "{"scores" if "scores" in row else "ranks"}" are equal: no answer is preferred', code="no-preference"
        )
    return said


def _bare(answer: Text) -> Any:
    """An answer without the white space around what is said."""
    if isinstance(answer, str):
        return answer.strip()
    return [{k: v.strip() if isinstance(v, str) else v for k, v in message.items()} for message in answer]


def _stated_pair(row: Values) -> Stated:
    _check_texts(row, "chosen", "rejected")
    if "prompt" in row and row["prompt"] is None:
        raise DataError('"prompt" is null; leave it out where both answers begin with it', code="missing-field")
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if prompt is None:
        prompt, chosen, rejected = shared_start(chosen, rejected)
    _check_texts({"prompt": prompt}, "prompt")
    q = row.get("probability")
    if q is not None and not (_number(q) and 0 <= q <= 1):
        raise DataError(f'"probability" (that "chosen" is better) must lie in [0, 1], found {q!r}', code="wrong-field")
    margin = row.get("margin")
    if margin is not None and not (_number(margin) and margin >= 0):
        raise DataError(
            f'"margin" (that "chosen" wins by) must be a number, at least 0, found {margin!r}', code="wrong-field"
        )
    return Stated(prompt, (chosen, rejected), (1.0, 0.0) if q is None else (float(q), 1.0 - float(q)))


def _stated_list(row: Values) -> Stated:
    _check_texts(row, "prompt")
    answers, name = row["completions"], "scores" if "scores" in row else "ranks"
    numbers = row[name]
    if not isinstance(answers, list) or len(answers) < 2:
        raise DataError('"completions" must be a list of at least 2 answers', code="wrong-field")
    _check_texts({f"completion {i} of {len(answers)}": a for i, a in enumerate(answers, 1)})
    if not isinstance(numbers, list) or len(numbers) != len(answers):
        length = len(numbers) if isinstance(numbers, list) else repr(numbers)
        raise DataError(
            f'"{name}" must be a list with one number for each of {len(answers)} completions, found {length}',
            code="wrong-field",
        )
    bad = next((x for x in numbers if not _number(x)), None)
    if bad is not None or None in numbers:
        raise DataError(f'"{name}" must hold numbers, found {bad!r}', code="wrong-field")
    if name == "ranks" and min(numbers) < 0:
        raise DataError(
            f'"ranks" count from the best, 1, upwards; found {min(numbers)!r}. More is better in "scores".',
            code="wrong-field",
        )
    sign = 1.0 if name == "scores" else -1.0
    return Stated(row["prompt"], tuple(answers), tuple(sign * x for x in numbers))


def _stated_label(row: Values) -> Stated:
    _check_texts(row, "prompt", "completion")
    label = row["label"]
    if isinstance(label, str) and label.lower() in ("true", "false"):  # as CSV writes it
        label = label.lower() == "true"
    if not isinstance(label, bool):
        raise DataError(f'"label" must be true or false, found {label!r}', code="wrong-field")
    return Stated(row["prompt"], (row["completion"],), (float(label),))


def _pair(row: Values, renderer: Renderer, limits: Limits) -> Group:
    group = _of_stated(row, preference(row, "pair"), renderer)
    if group.completions[0].tokens == group.completions[1].tokens:
        raise DataError(
            '"chosen" and "rejected" are the same once they are tokens: such a pair teaches nothing',
            code="no-preference",
        )
    return group


def _rated(row: Values, renderer: Renderer, limits: Limits) -> Group:
    group = _of_stated(row, preference(row, "rated"), renderer)
    name = "scores" if "scores" in row else "ranks"
    rewards = dict[tuple[int, ...], float]()
    for c in group.completions:
        if rewards.setdefault(c.tokens, c.reward or 0.0) != (c.reward or 0.0):
            raise DataError(f'the same answer stands twice with different "{name}"', code="wrong-field")
    return group


def _binary(row: Values, renderer: Renderer, limits: Limits) -> Group:
    return _of_stated(row, preference(row, "binary"), renderer)


def _of_stated(row: Values, said: Stated, renderer: Renderer) -> Group:
    return _group(row, said.prompt, said.answers, said.rewards, renderer)


def check_steps(row: Values, separator: str) -> None:
    """Raise DataError where a row of labelled steps is malformed."""
    _check_texts(row, "prompt")
    steps, labels = row["completions"], row["labels"]
    if not isinstance(steps, list) or not steps:
        raise DataError('"completions" must be a list with the steps of one answer', code="wrong-field")
    for i, step in enumerate(steps, 1):
        if not isinstance(step, str) or not step.strip():
            raise DataError(f'"completions" step {i} must be text, found {step!r}', code="wrong-field")
        if len(pieces(step, separator)) != 1:
            raise DataError(
                f'"completions" step {i} holds the separator {separator!r} (data.step_separator)', code="wrong-field"
            )
    if not isinstance(labels, list) or len(labels) != len(steps):
        length = len(labels) if isinstance(labels, list) else repr(labels)
        raise DataError(
            f'"labels" must hold one label for each of {len(steps)} steps, found {length}', code="wrong-field"
        )
    for i, label in enumerate(labels, 1):
        if not (label is None or isinstance(label, bool) or (_number(label) and 0 <= label <= 1)):
            raise DataError(
                f'"labels" {i} must be true, false, null or a probability, found {label!r}', code="wrong-field"
            )
    if all(label is None for label in labels):
        raise DataError('"labels" are all null: no step is labelled', code="no-preference")


def _steps(row: Values, renderer: Renderer, limits: Limits) -> Group:
    check_steps(row, limits.separator)
    text: Text = limits.separator.join(row["completions"])
    if not isinstance(row["prompt"], str):
        text = [{"role": "assistant", "content": text}]
    group = _group(row, row["prompt"], (text,), (1.0,), renderer)
    completion = _with_steps(group.completions[0], row["labels"], renderer, limits.separator)
    return replace(group, completions=(completion,))


def _with_steps(completion: Completion, labels: list[Any], renderer: Renderer, separator: str) -> Completion:
    places = ends(renderer.tokenizer, completion.tokens, separator, renderer.stop_ids)
    if len(places) != len(labels) or len({*places}) != len(places):
        raise DataError(
            f"the tokenizer merges steps: {len(labels)} steps end at {len({*places})} different tokens; use a "
            "separator that is a token of its own (data.step_separator)",
            code="steps-not-tokens",
        )
    steps = tuple((end, float(label)) for end, label in zip(places, labels, strict=True) if label is not None)
    return replace(completion, steps=steps)


_READ: Mapping[Kind, Callable[[Values, Renderer, Limits], Group]] = {
    "pair": _pair,
    "rated": _rated,
    "binary": _binary,
    "steps": _steps,
}


# -------------------------------------------------------------------------------------------------------- parts


def _group(row: Values, prompt: Text, answers: Sequence[Text], rewards: Sequence[float], renderer: Renderer) -> Group:
    read = {"prompt", "chosen", "rejected", "completion", "completions"}
    columns = {k: v for k, v in row.items() if k not in read}
    asked = renderer.with_tokens(Prompt("", prompt, None, columns))
    completions = []
    for answer, reward in zip(answers, rewards, strict=True):
        completions.append(replace(_trimmed(renderer.completion(asked, answer)), reward=reward))
    return Group(asked, tuple(completions))


def _trimmed(completion: Completion) -> Completion:
    """Without what a chat template writes behind the last word of the assistant: scores are read at the last token."""
    last = max((i for i, action in enumerate(completion.has_action) if action), default=-1)
    return replace(completion, tokens=completion.tokens[: last + 1], sampled=completion.has_action[: last + 1])


def _check_texts(row: Values, *names: str) -> None:
    for name in names or row:
        if name not in row:
            raise DataError(f'"{name}" is missing', code="missing-field")
        problem = field_problem(row[name], name)
        if problem:
            raise DataError(problem)


def _check_tokens(group: Group, limits: Limits) -> None:
    """A row is used whole or not at all."""
    for completion in group.completions:
        if not any(completion.has_action):
            raise DataError("an answer holds no token of the assistant", code="nothing-to-train-on")
        highest = max((*group.prompt.tokens, *completion.tokens))
        if limits.vocabulary is not None and highest >= limits.vocabulary:
            raise DataError(
                f"token id {highest} is beyond the model's vocabulary of {limits.vocabulary}",
                code="token-beyond-vocabulary",
            )
        total = len(group.prompt.tokens) + len(completion.tokens)
        if limits.context is not None and total > limits.context:
            raise DataError(
                f"prompt and answer take {total} tokens, the context holds {limits.context}", code="too-long"
            )


def _number(value: Any) -> bool:
    if not is_number(value):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def shared_start(chosen: Any, rejected: Any) -> tuple[Text, Text, Text]:
    """(prompt, chosen, rejected) of a pair whose prompt stands at the beginning of both answers.

    Messages: those both begin with. Text: up to the last "Assistant:" that both hold, else to the last word they share.
    """
    if isinstance(chosen, list) and isinstance(rejected, list):
        same = next(
            (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
            min(len(chosen), len(rejected)),
        )
        if same == 0 or same == len(chosen) or same == len(rejected):
            raise DataError(
                '"prompt" is missing, and "chosen" and "rejected" do not begin with the same messages',
                code="missing-field",
            )
        if all(m["role"] in ("system", "developer") for m in chosen[:same]):
            raise DataError(
                '"prompt" is missing: all that "chosen" and "rejected" share is what the system says',
                code="missing-field",
            )
        return chosen[:same], chosen[same:], rejected[same:]
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        raise DataError('"chosen" and "rejected" must both be text or both be messages', code="text-or-messages")
    same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    same = min(len(chosen), len(rejected)) if same is None else same
    start = chosen[:same]
    turn = start.rfind(SPEAKS["assistant"])
    cut = turn + len(SPEAKS["assistant"]) if turn >= 0 else start.rfind(" ") + 1
    if not chosen[:cut].strip() or not chosen[cut:].strip() or not rejected[cut:].strip():
        raise DataError(
            '"prompt" is missing, and "chosen" and "rejected" do not begin with the same words', code="missing-field"
        )
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _note_conflicts(table: Table, groups: Sequence[Group]) -> None:
    """Say where two rows prefer opposite answers; both stay, since people do disagree."""
    preferred: dict[tuple[Any, ...], str] = {}
    conflicts: list[tuple[str, str]] = []
    for group in groups:
        if len(group.completions) != 2:
            continue
        first, second = sorted(group.completions, key=lambda c: -(c.reward or 0.0))
        if first.reward == second.reward:
            continue
        key = (group.prompt.tokens, first.tokens, second.tokens)
        preferred.setdefault(key, group.prompt.place)
        other = preferred.get((group.prompt.tokens, second.tokens, first.tokens))
        if other:
            conflicts.append((other, group.prompt.place))
    if conflicts:
        table.notes.append(
            f"{table.path}: {len(conflicts)} pairs stand in the file the other way round as well (first: "
            f"{conflicts[0][0]} and {conflicts[0][1]}); both are used"
        )
