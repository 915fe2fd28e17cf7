"""Answers as the lines of a run's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from postlude.data import Completion, Group, completion_to_json


def rollout_rows(groups: Sequence[Group], trained: Sequence[Group], extra: Mapping[str, Sequence[Any]]) -> str:
    """A line for every completion that was sampled in a step, and for those carried over into what is trained."""
    chosen = {id(c) for g in trained for c in g.completions}
    known = {id(c) for g in groups for c in g.completions}
    carried = [g for g in trained if any(id(c) not in known for c in g.completions)]
    rows: list[str] = []
    for group in [*groups, *carried]:
        for completion in group.completions:
            used = id(completion) in chosen and completion.reward is not None
            row = _row(group, completion, used)
            row |= {k: v[len(rows)] for k, v in extra.items() if len(rows) < len(v)}
            rows.append(json.dumps(row, default=str) + "\n")
    return "".join(rows)


def answer_rows(step: int, groups: Sequence[Group], columns: Mapping[str, Sequence[Any]]) -> str:
    """A line for every answer of an evaluation or a sheet; `columns` have an entry for each."""
    rows: list[str] = []
    for group in groups:
        for completion in group.completions:
            row = _row(group, completion, trained=False)
            for name in ("trained", "tokens", "logprobs"):
                del row[name]
            row["length"] = completion.length
            more = {name: values[len(rows)] for name, values in columns.items()}
            rows.append(json.dumps({"step": step, **row, **more}, default=str) + "\n")
    return "".join(rows)


def _row(group: Group, completion: Completion, trained: bool) -> dict[str, Any]:
    row = completion_to_json(completion)
    return {
        "prompt_id": group.prompt.id,
        "prompt": group.prompt.messages,
        "answer": group.prompt.answer,
        "completion": row.pop("text"),
        "reward": row.pop("reward"),
        "scores": row.pop("scores"),
        "correct": row.pop("correct"),
        "trained": trained,
        "stop": row.pop("stop"),
        "policy_version": row.pop("policy_version"),
        **({"spans": row["spans"]} if row["spans"] else {}),
        "tokens": row.pop("tokens"),
        **({"steps": row["steps"], "whole": row["whole"]} if row["steps"] else {}),
        "logprobs": None if row["logprobs"] is None else [round(x, 5) for x in row["logprobs"]],
    }
