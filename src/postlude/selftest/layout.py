"""How rows are laid out for the model: packed or padded, with one copy of a prompt or several, beside longer ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from postlude.engines.local.model import LocalModel
from postlude.engines.local.probing import small_window
from postlude.selftest.check import Differences, Skipped
from postlude.selftest.subject import Gradient, Subject, apart, gradient_of, largest


def packed(subject: Subject) -> Differences:
    """The engine's packed rows against plain padded ones, each by the model's own attention; windows made short."""
    _require_packed(subject)
    with small_window(subject.model.hf, subject.model.config):
        ours = _measured(subject, subject.model)
        with subject.padded() as padded:
            plain = _measured(subject, padded)
    return {"log-prob": largest(ours[0], plain[0]), "gradient": apart(ours[1], plain[1])}


def _measured(subject: Subject, model: LocalModel) -> tuple[Tensor, Gradient]:
    """Log-probs and gradient of the batch by a model."""
    trainer = subject.fresh(model=model)
    return subject.said(trainer, subject.batch), gradient_of(trainer, [subject.batch], subject.objective)


def _require_packed(subject: Subject) -> None:
    if not subject.model.packed:
        raise Skipped(f"this model runs as padded rows: {subject.model.reason}")


def shared_prompt(subject: Subject) -> Differences:
    """A prompt kept once for all its answers against a copy of it before each."""
    _require_packed(subject)
    apart_groups = [replace(g, completions=(c,)) for g in subject.groups for c in g.completions]
    batch = subject.weighed(apart_groups)
    gradient = gradient_of(subject.trainer, [batch], subject.objective)
    return {
        "log-prob": largest(subject.said(subject.trainer, batch), subject.logprobs),
        "gradient": apart(gradient, subject.gradient),
    }


def padding(subject: Subject) -> Differences:
    """Each row alone against all of them together, where the short ones are padded: in the engine's way and plainly."""
    worst = largest(_alone(subject, subject.model), subject.logprobs)
    with subject.padded() as padded:
        together = subject.said(subject.fresh(model=padded), subject.batch)
        worst = max(worst, largest(_alone(subject, padded), together))
    return {"log-prob": worst}


def _alone(subject: Subject, model: LocalModel) -> Tensor:
    """[N] log-probs of the answers, each in a batch by itself."""
    trainer = subject.fresh(model=model)
    rows = [replace(g, completions=(c,)) for g in subject.groups for c in g.completions]
    return torch.cat([subject.said(trainer, subject.weighed([row])) for row in rows])
