"""How an update is cut, and in which order its rows stand: nothing of that changes what it is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from postlude.algorithms import ALGORITHMS
from postlude.data import Completion, Group
from postlude.engines.local.trainer import LocalTrainer
from postlude.selftest.check import Broken, Differences, Skipped
from postlude.selftest.subject import (
    Gradient,
    Subject,
    apart,
    gradient_of,
    largest,
    moved,
    owned,
    update,
    written,
)

ROW = 16
"""Tokens of a row of the batch that is cut: every prompt with its answer, of 1 to 8 tokens."""
ROWS = 8
EACH = (1, 2, 4)
"""Rows of a pass: 8 x 1, 4 x 2 and 2 x 4."""
CHUNK = 7
"""Tokens of the output layer at a time, where the batch has 61."""
TAIL = 3
"""Tokens behind each answer that nobody sampled."""


def micro_batches(subject: Subject) -> Differences:
    """The gradient of an update in 1, 2, 4 and 8 passes: of a mean over tokens, and of a mean over answers."""
    worst = 0.0
    for method, sizes in (("sft", EACH), ("rft", EACH[:1])):
        objective = ALGORITHMS[method].objective
        batch = subject.weighed(_rows(subject), objective)
        whole = gradient_of(subject.trainer, [batch], objective)
        for each in sizes:
            with _budget(subject.trainer, each * ROW) as passes:
                cut = gradient_of(subject.trainer, [batch], objective)
            if len(passes) != ROWS // each:
                raise Broken(f"an update that was to be cut into {ROWS // each} passes was made in {len(passes)}")
            worst = max(worst, apart(cut, whole))
    return {"gradient": worst}


def step(subject: Subject) -> Differences:
    """The weights after an optimiser step on an update in 1, 2, 4 and 8 passes."""
    batch = subject.weighed(_rows(subject))
    start, noise = owned(subject.trainer), subject.noise
    whole: list[Tensor] = []
    worst = 0.0
    for each in (ROWS, *EACH):
        with subject.moving():
            trainer = subject.fresh(each * ROW, eps=noise)
            update(trainer, batch, subject.objective)
            if each == ROWS:
                whole = owned(trainer)
            else:
                worst = max(worst, moved(owned(trainer), whole, start))
    return {"step": worst}


def _rows(subject: Subject) -> list[Group]:
    """Eight rows of one length, with answers of eight lengths."""
    return written(subject.setup.facts.vocabulary, [(ROW - n, (n,)) for n in range(1, ROWS + 1)])


@contextmanager
def _budget(trainer: LocalTrainer, tokens: int) -> Generator[list[int]]:
    """The trainer with so many tokens to a pass; yields the tokens of each pass it then makes."""
    passes: list[int] = []
    before = trainer.token_budget, trainer.on_progress
    trainer.token_budget, trainer.on_progress = tokens, passes.append
    try:
        yield passes
    finally:
        trainer.token_budget, trainer.on_progress = before


def order(subject: Subject) -> Differences:
    """Log-probs and gradient of a batch with its groups, and the answers in them, in the opposite order."""
    turned = [replace(g, completions=g.completions[::-1]) for g in subject.groups[::-1]]
    batch = subject.weighed(turned)
    logprobs = subject.said(subject.trainer, batch)
    lengths = [len(c.tokens) for g in turned for c in g.completions]
    back = torch.cat(torch.split(logprobs, lengths)[::-1])
    return {
        "log-prob": largest(back, subject.logprobs),
        "gradient": apart(gradient_of(subject.trainer, [batch], subject.objective), subject.gradient),
    }


def masked(subject: Subject) -> Differences:
    """Tokens that nobody sampled behind each answer, and an answer without a reward: the rest is as if they were not
    there, whatever they are."""
    said, pulled = 0.0, 0.0
    for first in (3, 11):
        tail = tuple((first + i) % subject.setup.facts.vocabulary for i in range(TAIL))
        batch = subject.weighed([_with_untrained(group, tail) for group in subject.groups])
        pulled = max(pulled, apart(gradient_of(subject.trainer, [batch], subject.objective), subject.gradient))
        said = max(said, largest(subject.said(subject.trainer, batch), subject.logprobs))
    return {"log-prob": said, "gradient": pulled}


def _with_untrained(group: Group, tail: tuple[int, ...]) -> Group:
    longer = tuple(
        replace(c, tokens=c.tokens + tail, sampled=(True,) * len(c.tokens) + (False,) * TAIL) for c in group.completions
    )
    return replace(group, completions=(*longer, Completion(tail[::-1], reward=None)))


def chunked_head(subject: Subject) -> Differences:
    """Log-probs, entropies and gradient with the output layer computed for a few tokens at a time."""
    model, batch = subject.model, subject.batch
    whole = subject.trainer.outputs(batch, "policy")
    expected, before = subject.gradient, model.head_chunk
    model.head_chunk = CHUNK
    try:
        chunked = subject.trainer.outputs(batch, "policy")
        gradient = gradient_of(subject.trainer, [batch], subject.objective)
    finally:
        model.head_chunk = before
    assert whole.logprobs is not None and chunked.logprobs is not None
    assert whole.entropy is not None and chunked.entropy is not None
    return {
        "log-prob": max(largest(chunked.logprobs, whole.logprobs), largest(chunked.entropy, whole.entropy)),
        "gradient": apart(gradient, expected),
    }


def checkpointing(subject: Subject) -> Differences:
    """The gradient with activations recomputed in the backward pass, and without."""
    net = subject.model.hf
    if not net.supports_gradient_checkpointing:
        raise Skipped(f"{type(net).__name__} has no gradient checkpointing")
    on = bool(net.is_gradient_checkpointing)
    expected = subject.gradient
    _switch(subject, not on)
    try:
        if bool(net.is_gradient_checkpointing) == on:
            raise Broken("gradient checkpointing could not be switched")
        gradient: Gradient = gradient_of(subject.trainer, [subject.batch], subject.objective)
    finally:
        _switch(subject, on)
    return {"gradient": apart(gradient, expected)}


def _switch(subject: Subject, on: bool) -> None:
    if on:
        subject.model.hf.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        subject.model.hf.gradient_checkpointing_disable()
