"""Rows of a file, checked as a method would read them: with a model's tokenizer, or as far as shows without one."""

from __future__ import annotations

from collections.abc import Callable

from postlude.algorithms import ALGORITHMS
from postlude.data import Group
from postlude.errors import ConfigError, DataError, Problem
from postlude.method import Algorithm
from postlude.models.chat import Renderer
from postlude.models.load import Facts, inspect
from postlude.models.spec import ModelSpec
from postlude.objectives import ContrastObjective
from postlude.sources import file as rows
from postlude.sources.compared import Limits, check_steps, compared, preference, require
from postlude.sources.file import Reading, Row, Table
from postlude.sources.formats import require_one_shape
from postlude.sources.unused import render
from postlude.words import meant

SEPARATOR = "\n"


def check_rows(table: Table, method: str, model: str | None, reading: Reading) -> list[int]:
    """Put every problem into the table; the tokens of each good row, where there is a model."""
    entry = _entry(method)
    if model is None:
        _plainly(table, entry, reading)
        return []
    facts = inspect(ModelSpec(model))
    table.notes += facts.notes
    renderer = Renderer(facts.tokenizer, facts.stop_ids)
    if entry.source == "rollout":
        prompts = list(render(rows.prompts(table, reading), table, renderer))
        kept = {p.place for p in prompts}
        table.rows = [row for row in table.rows if row.where in kept]
        return [len(p.tokens) for p in prompts]
    groups = _groups(table, entry, renderer, facts, reading)
    return [len(g.prompt.tokens) + len(c.tokens) for g in groups for c in g.completions]


def _entry(method: str) -> Algorithm:
    if method not in ALGORITHMS:
        hint = meant(method, ALGORITHMS) or " `postlude methods` lists them."
        raise ConfigError(f"--for: there is no method {method!r}.{hint}", code="unknown-method")
    return ALGORITHMS[method]


def _groups(table: Table, entry: Algorithm, renderer: Renderer, facts: Facts, reading: Reading) -> list[Group]:
    if isinstance(entry.objective, ContrastObjective) and entry.source == "preference":
        limits = Limits(facts.context, facts.vocabulary, SEPARATOR)
        return compared(table, renderer, limits, entry.objective.learns_from, reading)
    return rows.groups(table, renderer, facts.context, facts.vocabulary, reading)


def _plainly(table: Table, entry: Algorithm, reading: Reading) -> None:
    """Without a tokenizer."""
    if entry.source == "rollout":
        rows.prompts(table, reading)
        require_one_shape(table)
        return
    if isinstance(entry.objective, ContrastObjective) and entry.source == "preference":
        kind = require(table, entry.objective.learns_from, reading)
        look: Callable[[Row], object] = lambda row: (
            check_steps(row.values, SEPARATOR) if kind == "steps" else preference(row.values, kind)
        )
    else:
        written = rows.require_answers(table, reading)
        look = lambda row: _raise(rows.answer_problem(row.values, written))
    good = []
    for row in table.rows:
        try:
            look(row)
            good.append(row)
        except DataError as error:
            table.reject(row.where, error.problems[0])
    table.rows = good
    require_one_shape(table)


def _raise(problem: Problem | None) -> None:
    if problem:
        raise DataError(problem)
