"""Section `tokens`: which tokens are trained, counted in all rows and shown in three."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from postlude.data import Completion, Group
from postlude.preflight.report import Kind, Piece, Section
from postlude.prepared import Prepared
from postlude.words import counted

SHOWN = 3
"""Rows."""
LONGEST = {"prompt": 240, "context": 120, "trained": 360}
"""Characters of a stretch that are shown; of a longer one its middle is left out."""
FEW = 0.02
"""Share of trained tokens below which it is worth a look."""


def look_at_tokens(prepared: Prepared) -> Section:
    """Of written answers what is learned; of prompts where the answer will stand."""
    section = Section("tokens", "Trained tokens")
    if prepared.prompts:
        section.summary = "the policy's own answers: every token that it samples, its end token with them"
        section.figures |= {"sampled": True}
        groups = [Group(p, ()) for p in _some(prepared.prompts)]
    else:
        _count(prepared, section)
        groups = _some(prepared.items)
    section.rows = [[*_pieces(prepared, group)] for group in groups]
    return section


def _some(rows: list[Any]) -> list[Any]:
    """First, middle and last."""
    return [rows[i] for i in sorted({0, len(rows) // 2, len(rows) - 1})][:SHOWN] if rows else []


def _count(prepared: Prepared, section: Section) -> None:
    answers = [c for g in prepared.items for c in g.completions]
    trained = sum(c.length for c in answers)
    total = sum(len(g.prompt.tokens) + sum(len(c.tokens) for c in g.completions) for g in prepared.items)
    without = sum(not any(c.has_action) for c in answers)
    ended = sum(_ends(c, prepared) for c in answers)
    section.figures |= {
        "sampled": False, "tokens": total, "trained": trained, "trained_share": trained / max(total, 1),
        "answers": len(answers), "answers_without": without, "ends_trained": ended,
    }  # fmt: skip
    section.summary = (
        f"{trained:,} of {total:,} tokens ({trained / max(total, 1):.0%}) in {counted(len(answers), 'answer')}; "
        f"the end is trained in {ended / max(len(answers), 1):.0%} of them"
    )
    if without:
        section.broken(
            "nothing-to-train-on",
            f"{without:,} of {counted(len(answers), 'answer')} have no trained token",
            "Look at the marks {% generation %} of the chat template, and at the roles of the messages.",
        )
    if ended < len(answers):
        section.warn(
            "answers-never-end",
            f"{len(answers) - ended:,} of {counted(len(answers), 'answer')} have no end that is trained: a model "
            "that learns from them goes on after it is done",
            "Give the tokenizer an eos_token, or a chat template that ends turns with one.",
        )
    if trained < FEW * total:
        section.warn(
            "nothing-to-train-on",
            f"only {trained / total:.1%} of the tokens are trained",
            "Look at the rows below: is the answer where it should be?",
        )


def _ends(completion: Completion, prepared: Prepared) -> bool:
    """Whether the last trained token is one that ends answers."""
    last = max((i for i, action in enumerate(completion.has_action) if action), default=-1)
    return last >= 0 and completion.tokens[last] in prepared.renderer.stop_ids


def _pieces(prepared: Prepared, group: Group) -> Iterator[Piece]:
    """The first answer of a row behind its prompt."""
    decode = prepared.facts.tokenizer.decode
    yield from _shortened("prompt", decode(list(group.prompt.tokens)))
    for completion in group.completions[:1]:
        kinds: list[Kind] = [
            _kind(t, a, prepared) for t, a in zip(completion.tokens, completion.has_action, strict=True)
        ]
        start = 0
        for kind, run in groupby(kinds):
            end = start + len(list(run))
            yield from _shortened(kind, decode(list(completion.tokens[start:end])))
            start = end


def _kind(token: int, action: bool, prepared: Prepared) -> Kind:
    if not action:
        return "context"
    return "end" if token in prepared.renderer.stop_ids else "trained"


def _shortened(kind: Kind, text: str) -> Iterator[Piece]:
    most = LONGEST.get(kind, len(text))
    if len(text) <= most:
        yield Piece(kind, text)
        return
    yield Piece(kind, text[: most // 2])
    yield Piece("cut", f" [... {len(text) - most:,} characters ...] ")
    yield Piece(kind, text[-(most // 2) :])
