"""LoRA: what is off is the model underneath, and what is merged says what the adapter said."""

from __future__ import annotations

import torch

from postlude.models import opening
from postlude.models.quiet import quiet
from postlude.selftest.check import Broken, Differences
from postlude.selftest.files import opened_by_transformers
from postlude.selftest.subject import Subject, largest, transformers_said, update


def adapter_off(subject: Subject) -> Differences:
    """The reference, which is the policy with its adapter off, against the model without any, after the adapter has
    taken a step; the policy itself says something else by then."""
    base = subject.setup.engine()
    expected = subject.said(base.trainer, subject.batch)
    del base
    with subject.moving():
        update(subject.fresh(), subject.batch, subject.objective)
        reference = subject.trainer.outputs(subject.batch, "reference").logprobs
        policy = subject.said(subject.trainer, subject.batch)
    assert reference is not None
    said = reference[subject.batch.mask]
    if largest(policy, said) <= subject.tolerances.of("log-prob"):
        raise Broken("an optimiser step on the adapter changed no log-prob beyond rounding")
    return {"log-prob": largest(said, expected)}


def merged(subject: Subject) -> Differences:
    """The adapter's folder merged into its model, as `postlude export` does it, against the adapter opened by peft; in
    float32, since adding a small step to a half-precision weight would lose it."""
    with subject.moving():
        update(subject.fresh(), subject.batch, subject.objective)
        folder = subject.place()
        subject.engine.write(folder)
    with quiet():
        whole = opening.merged(str(folder)).net
        said = transformers_said(whole, subject.groups, torch.float32)
        del whole
        expected = transformers_said(
            opened_by_transformers(subject.setup, folder, torch.float32), subject.groups, torch.float32
        )
    return {"merged": largest(said, expected)}
