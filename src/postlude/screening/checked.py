"""Rows of a file, checked as a method would read them: with a model's tokenizer, or as far as shows without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postlude.data import Group
from postlude.errors import DataError, Problem
from postlude.method import Algorithm
from postlude.models.chat import Renderer
from postlude.models.load import Facts, inspect
from postlude.models.spec import ModelSpec
from postlude.objectives import ContrastObjective
from postlude.sources import file as rows
from postlude.sources.compared import Limits, check_steps, compared, preference, require
from postlude.sources.file import Reading, Row, Table
from postlude.sources.formats import require_one_shape
from postlude.sources.table import Kind
from postlude.sources.unused import render

SEPARATOR = "\n"
KINDS: tuple[Kind, ...] = ("pair", "rated", "binary", "steps")


@dataclass(frozen=True)
class Need:
    """What rows have to be."""

    source: str
    """As `Algorithm.source`: prompts to sample from, written answers, or compared ones."""
    kinds: tuple[Kind, ...] = ()
    """Of compared answers, those that a method learns from."""

    @classmethod
    def of(cls, entry: Algorithm) -> Need:
        if isinstance(entry.objective, ContrastObjective) and entry.source == "preference":
            return cls("preference", tuple(entry.objective.learns_from))
        return cls("rollout" if entry.source == "rollout" else "file")


@dataclass(frozen=True)
class Checked:
    """What a table was read as."""

    need: Need
    kind: Kind
    tokens: Sequence[int] = ()
    """Of each good row's prompt, or of prompt and answer, where there is a model."""

    @property
    def compared(self) -> bool:
        return self.need.source == "preference"


def check_rows(table: Table, need: Need, model: str | None, reading: Reading) -> Checked:
    """Put every problem into the table, and leave the good rows."""
    if model is None:
        return Checked(need, _plainly(table, need, reading))
    facts = inspect(ModelSpec(model))
    table.notes += facts.notes
    renderer = Renderer(facts.tokenizer, facts.stop_ids)
    if need.source == "rollout":
        tokens = _prompts(table, renderer, facts, reading)
        return Checked(need, table.kind or "prompt", tokens)
    groups = _groups(table, need, renderer, facts, reading)
    tokens = [len(g.prompt.tokens) + len(c.tokens) for g in groups for c in g.completions]
    return Checked(need, table.kind or "text", tokens)


def _prompts(table: Table, renderer: Renderer, facts: Facts, reading: Reading) -> list[int]:
    """Tokens of every prompt that leaves room for an answer."""
    tokens: dict[str, int] = {}
    for prompt in render(rows.prompts(table, reading), table, renderer):
        size = len(prompt.tokens)
        if facts.context is not None and size >= facts.context:
            sentence = f"the prompt takes {size} tokens, and the model's context holds {facts.context}: no answer fits"
            table.reject(prompt.place, Problem("too-long", sentence, key="prompt"))
        else:
            tokens[prompt.place] = size
    table.rows = [row for row in table.rows if row.where in tokens]
    return [*tokens.values()]


def _groups(table: Table, need: Need, renderer: Renderer, facts: Facts, reading: Reading) -> list[Group]:
    if need.source == "preference":
        limits = Limits(facts.context, facts.vocabulary, SEPARATOR)
        return compared(table, renderer, limits, need.kinds, reading)
    return rows.groups(table, renderer, facts.context, facts.vocabulary, reading)


def _plainly(table: Table, need: Need, reading: Reading) -> Kind:
    """Without a tokenizer."""
    if need.source == "rollout":
        rows.prompts(table, reading)
        require_one_shape(table)
        return table.kind or "prompt"
    look: Callable[[Row], object]
    if need.source == "preference":
        kind = require(table, need.kinds, reading)
        look = lambda row: check_steps(row.values, SEPARATOR) if kind == "steps" else preference(row.values, kind)
    else:
        kind = rows.require_answers(table, reading)
        look = lambda row: _raise(rows.answer_problem(row.values, kind))
    good: list[Row] = []
    for row in table.rows:
        try:
            look(row)
            good.append(row)
        except DataError as error:
            table.reject(row.where, error.problems[0])
    table.rows = good
    require_one_shape(table)
    return kind


def _raise(problem: Problem | None) -> None:
    if problem:
        raise DataError(problem)
