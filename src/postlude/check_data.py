"""The data of a run, read and checked row by row: part of `check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile, zip_longest
from typing import TYPE_CHECKING

from postlude.data import Group, Prompt
from postlude.errors import DataError, Problem, shown
from postlude.objectives import ContrastObjective
from postlude.prepared import HeldOut, Prepared
from postlude.recipe import Recipe
from postlude.recipe.measured import samples
from postlude.rewards.rewards import Rewards
from postlude.sources import file as rows
from postlude.sources.compared import Limits, compared, holds_compared, require
from postlude.sources.file import Reading
from postlude.sources.order import Share
from postlude.sources.unused import render
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.screening.entries import Entry


def read_set(prepared: Prepared, place: int, seen: Counter[str]) -> None:
    """Add one set to the prompts or written answers, with its share of a mixture."""
    recipe = prepared.recipe
    one = recipe.data.sets[place]
    reading = recipe.data.reading(place)
    name = f"{one.label} ({one.path})" if recipe.data.mix else one.path
    table = rows.read(one.path, one.split or recipe.data.split)
    if recipe.algorithm.source == "rollout":
        found = _read_prompts(prepared, table, reading, name, seen)
        prepared.prompts += found
    else:
        found = _read_answers(prepared, table, reading, name, seen)
        prepared.items += found
    prepared.shares.append(Share(one.label, len(found), one.weight))


def _read_answers(
    prepared: Prepared, table: rows.Table, reading: Reading, name: str, seen: Counter[str] | None = None
) -> list[Group]:
    """Written or compared answers, as the method learns from them; none where no tokenizer is there to read them."""
    recipe, facts = prepared.recipe, prepared.facts
    kinds = recipe.objective.learns_from if isinstance(recipe.objective, ContrastObjective) else ()
    if prepared.renderer is None:
        require(table, kinds, reading) if kinds else rows.require_answers(table, reading)
        return []
    if kinds:
        limits = Limits(facts.context, facts.vocabulary, recipe.data.step_separator)
        found = compared(table, prepared.renderer, limits, kinds, reading, seen, reads_pairs(recipe))
    else:
        found = rows.groups(table, prepared.renderer, facts.context, facts.vocabulary, reading, seen)
    _settle(prepared, table, name)
    return found


def reads_pairs(recipe: Recipe) -> bool:
    return isinstance(recipe.objective, ContrastObjective) and recipe.objective.score == "pair_head"


def read_held_out(prepared: Prepared) -> None:
    """Prompts to sample from where there is a reward or a metric; answers to measure the loss on where the method needs
    such. Of every set."""
    data = prepared.recipe.data
    prepared.eval_sets = [HeldOut(name) for name in data.eval_names]
    by_name = {one.name: one for one in prepared.eval_sets}
    seen: dict[str, Counter[str]] = {name: Counter() for name in by_name}
    for one in data.eval_files:
        table = rows.read(one.path, one.split or data.eval_split or data.split)
        name = one.path if isinstance(data.eval, str) else f"{one.label} ({one.path})"
        _read_part(prepared, by_name[one.label], table, data.eval_reading(one), name, seen[one.label])
    prepared.notes += _system_leaks(prepared)


def _read_part(
    prepared: Prepared, into: HeldOut, table: rows.Table, reading: Reading, name: str, seen: Counter[str]
) -> None:
    """A file of a held-out set: prompts to sample from and, where it has them, answers for the method's own loss."""
    recipe = prepared.recipe
    if not samples(recipe):
        into.judged += _read_answers(prepared, table, reading, name, seen)
        return
    if _holds_answers(recipe, table, reading):
        into.judged += _read_answers(prepared, _copy(table), reading, name, Counter(seen))
    into.prompts += _read_prompts(prepared, table, reading, name, seen, held_out=True)


def _holds_answers(recipe: Recipe, table: rows.Table, reading: Reading) -> bool:
    """Whether a method that learns from the answers in its rows finds such in a file to sample from, too. Where there
    is a reward, rows of written ones are prompts alone."""
    if recipe.algorithm.source == "preference":
        return holds_compared(table)
    if recipe.algorithm.source != "file" or recipe.reward:
        return False
    try:
        rows.require_answers(_copy(table), reading)
    except DataError:
        return False
    return True


def _copy(table: rows.Table) -> rows.Table:
    return replace(table, rows=[*table.rows], problems=[*table.problems], notes=[*table.notes])


def read_sheet(prepared: Prepared) -> None:
    """The prompts of the sheet: the first held-out ones, or those of its file."""
    recipe, sheet = prepared.recipe, prepared.recipe.evaluate.sheet
    if sheet is None:
        return
    if sheet.path is None:
        prepared.sheet = _first_of_each([one.prompts or one.rows for one in prepared.eval_sets], sheet.prompts)
        return
    table = rows.read(sheet.path, recipe.data.split)
    prepared.sheet = _read_prompts(prepared, table, recipe.data.eval_reading(), sheet.path)[: sheet.prompts]


def _first_of_each(sets: Sequence[Sequence[Prompt]], most: int) -> list[Prompt]:
    """The first prompts of all sets in turn."""
    turns = zip_longest(*sets)
    prompts = {prompt.id: prompt for turn in turns for prompt in turn if prompt is not None}
    return [*prompts.values()][:most]


def _system_leaks(prepared: Prepared) -> list[str]:
    """Held-out rows that ask what is trained on under another system message: said, as that can be meant."""
    from postlude.screening.repeats import of_system_leaks

    trained = [_entry(row) for row in [*prepared.prompts, *prepared.items]]
    lines: list[str] = []
    for one in prepared.eval_sets:
        leaks = of_system_leaks(trained, [_entry(row) for row in one.prompts or one.judged])
        lines += [f"{key_of(prepared, one)}: {leak.sentence}, so they may measure memory" for leak in leaks]
    return lines


def key_of(prepared: Prepared, held_out: HeldOut) -> str:
    """What a held-out set is called in a sentence."""
    alone = isinstance(prepared.recipe.data.eval, str)
    return "data.eval" if alone else f"data.eval, set {held_out.name!r}"


def _entry(row: Prompt | Group) -> Entry:
    """A row as it is compared with others."""
    from postlude.screening.entries import Entry, is_system, words_of

    prompt = row if isinstance(row, Prompt) else row.prompt
    said = prompt.messages
    system = "" if isinstance(said, str) else words_of([*takewhile(is_system, said)])
    return Entry(prompt.place, words_of(said if isinstance(said, str) else [*said]), system=system)


def read_pretrain(prepared: Prepared) -> None:
    """Plain text beside the method's own data."""
    assert prepared.recipe.pretrain is not None
    if prepared.renderer is None:
        return
    for path, into in (
        (prepared.recipe.pretrain.path, "pretrain"),
        (prepared.recipe.pretrain.eval, "pretrain_held_out"),
    ):
        if path:
            table, facts = rows.read(path, prepared.recipe.data.split), prepared.facts
            found = rows.groups(table, prepared.renderer, facts.context, facts.vocabulary, Reading(key="", own_key=""))
            _settle(prepared, table, path)
            setattr(prepared, into, found)


def _read_prompts(
    prepared: Prepared,
    table: rows.Table,
    reading: Reading,
    name: str,
    seen: Counter[str] | None = None,
    held_out: bool = False,
) -> list[Prompt]:
    _refuse_hidden_answers(table, reading)
    asked = [prepared.rewards, prepared.metrics] if held_out else [prepared.rewards]
    found = rows.prompts(table, reading, seen)
    for rewards in asked:
        found = _scorable(rewards, found, table)
    if prepared.renderer is not None:
        context, answer = prepared.facts.context, prepared.recipe.sampling.max_tokens
        if context is not None and answer >= context:
            raise DataError(
                f"sampling.max_tokens is {answer}, so prompt and answer exceed the model's context of {context}. "
                "Lower it.",
                code="too-long",
            )
        _need_template(prepared, found, table.path)
        read = {name for rewards in asked if rewards for name in rewards.columns_read}
        found = [p for p in render(found, table, prepared.renderer, read) if _fits(p, prepared, table)]
    kept = {p.place for p in found}
    table.rows = [row for row in table.rows if row.where in kept]
    _settle(prepared, table, name, len(found))
    return found


def _refuse_hidden_answers(table: rows.Table, reading: Reading) -> None:
    """Where another column is to be the answer, and the file has answers of its own that say something else."""
    source = reading.columns.get("answer")
    if source in (None, "answer") or "answer" in reading.columns.values():
        return
    both = [row for row in table.rows if row.values.get("answer") is not None and row.values.get(source) is not None]
    apart = [row for row in both if row.values["answer"] != row.values[source]]
    if not apart:
        return
    first, key = apart[0], reading.own_key
    raise DataError(
        f'{table.path}: {key} takes the answer from {source!r}, and the file has a column "answer", which says '
        f"something else in {len(apart)} of {counted(len(table.rows), 'row')} and would be lost: first {first.where}, "
        f"{shown(first.values['answer'])} beside {shown(first.values[source])}. Leave {source!r} out of {key}, or "
        f"where it is meant, keep both: {key}={{answer: {source}, answer_of_file: answer}}.",
        code="ambiguous-rows",
        key=key,
    )


def _scorable(rewards: Rewards | None, found: list[Prompt], table: rows.Table) -> list[Prompt]:
    """The prompts without those whose row a reward refuses, such as one with a gold that it cannot read."""
    if rewards is None:
        return found
    problems = rewards.problems_of_rows(found)
    for prompt, problem in zip(found, problems, strict=True):
        if problem:
            table.reject(prompt.place, problem)
    return [p for p, problem in zip(found, problems, strict=True) if not problem]


def missing_columns(prepared: Prepared) -> list[Problem]:
    """Columns that a reward needs, or cannot see: of each set by itself; what one has is no help to another."""
    if prepared.rewards is None:
        return []
    data = prepared.recipe.data
    problems = _columns_of_held_out(prepared)
    parts: list[tuple[str, list[Prompt], str, Reading]] = []
    start = 0
    for place, share in enumerate(prepared.shares if prepared.prompts else []):
        name = f"data.mix, set {share.name!r}: " if data.mix else ""
        parts.append((name, prepared.prompts[start : start + share.size], data.sets[place].path, data.reading(place)))
        start += share.size
    for name, found, path, reading in parts:
        problems += _columns_of(prepared, prepared.rewards, name, found, path, reading)
    return problems


def _columns_of_held_out(prepared: Prepared) -> list[Problem]:
    """The same of every held-out set, and of the metrics that measure it."""
    data = prepared.recipe.data
    problems: list[Problem] = []
    for one in prepared.eval_sets:
        (first, *_) = (file for file in data.eval_files if file.label == one.name)
        name = "" if isinstance(data.eval, str) else f"{key_of(prepared, one)}: "
        for before, rewards in (("", prepared.rewards), ("evaluate.metrics: ", prepared.metrics)):
            reading = data.eval_reading(first)
            problems += _columns_of(prepared, rewards, f"{name}{before}", one.prompts, first.path, reading)
    return problems


def _columns_of(
    prepared: Prepared, rewards: Rewards, name: str, found: list[Prompt], path: str, reading: Reading
) -> list[Problem]:
    columns = {column for p in found for column in p.columns}
    if not found:
        return []
    problems = [problem.within(name) for problem in rewards.missing_columns(columns)]
    if prepared.recipe.algorithm.source == "preference":
        columns -= {"completions"}  # the compared answers of the method itself
    return problems + rewards.taken_columns(columns, path, reading.own_key)


def _need_template(prepared: Prepared, found: list[Prompt], path: str) -> None:
    chat = any(not isinstance(p.messages, str) for p in found)
    if chat and not prepared.facts.tokenizer.chat_template:
        raise DataError(
            f"{path}: prompts are chat messages, but the tokenizer of {prepared.recipe.model.path!r} has no chat "
            "template. Use plain text prompts, or give model.chat_template (a Jinja file).",
            code="no-chat-template",
        )


def _fits(prompt: Prompt, prepared: Prepared, table: rows.Table) -> bool:
    where = prompt.place
    context, answer = prepared.facts.context, prepared.recipe.sampling.max_tokens
    if not prompt.tokens:
        table.reject(where, Problem("empty-field", "the prompt has no token"))
        return False
    beyond = [t for t in prompt.tokens if t >= prepared.facts.vocabulary]
    if beyond:
        table.reject(
            where,
            Problem(
                "token-beyond-vocabulary",
                f"token id {beyond[0]} is beyond the model's vocabulary of {prepared.facts.vocabulary}",
            ),
        )
        return False
    if context is None or len(prompt.tokens) + answer <= context:
        return True
    table.reject(
        where,
        Problem(
            "too-long",
            f"prompt of {len(prompt.tokens)} tokens + sampling.max_tokens {answer} exceed the model's context of "
            f"{context}; shorten the prompt or lower sampling.max_tokens",
        ),
    )
    return False


def _settle(prepared: Prepared, table: rows.Table, name: str, used: int | None = None) -> None:
    """Refuse or count bad rows, rows used + rejected = rows read; say what the rows are."""
    used = len(table.rows) if used is None else used
    if used == 0 and not table.problems:
        raise table.no_rows
    table.require_clean(prepared.recipe.data.on_bad_row)
    if used == 0:
        raise DataError([*table.shown(), table.nothing_left])
    prepared.rejected += table.problems
    prepared.counts |= {f"{name} read": table.read, f"{name} used": used, f"{name} rejected": table.read - used}
    rows_said = counted(used, "row") if used == table.read else f"{used} of {counted(table.read, 'row')}"
    prepared.notes += [f"{name}: {rows_said}, {table.form}", *table.notes]
