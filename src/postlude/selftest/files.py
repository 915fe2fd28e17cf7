"""What is written is what was in memory, for this library and others, and a run goes on as if it had not stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from postlude.engines.local.engine import LocalEngine
from postlude.errors import PostludeError
from postlude.models.adapters import is_adapter
from postlude.models.quiet import quiet
from postlude.selftest.check import Broken, Differences
from postlude.selftest.subject import Setup, Subject, largest, moved, owned, run, transformers_said, update


def saved(subject: Subject) -> Differences:
    """A model after a step, written and opened again: its weights bit by bit, and its log-probs."""
    with subject.moving():
        folder = _stepped(subject)
        again = _opened(subject, folder)
        weights, others = _weights(subject.model.net), _weights(again.model.net)
        if weights.keys() != others.keys():
            raise Broken("the folder opens as a model with other weights")
        return {
            "exact": max(largest(others[name], p) for name, p in weights.items()),
            "log-prob": largest(
                subject.said(again.trainer, subject.batch), subject.said(subject.trainer, subject.batch)
            ),
        }


def _opened(subject: Subject, folder: Path) -> LocalEngine:
    """A folder that an engine wrote, as a new engine opens it."""
    if not subject.adapted:
        return subject.setup.engine(path=str(folder))
    engine = subject.setup.engine(lora=True, checkpoint=folder)
    engine.trainer.load_weights(str(folder))
    return engine


def _weights(net: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in net.named_parameters()}


def _stepped(subject: Subject) -> Path:
    """A folder of the model, a step from where it started."""
    update(subject.fresh(), subject.batch, subject.objective)
    folder = subject.place()
    subject.engine.write(folder)
    return folder


def by_transformers(subject: Subject) -> Differences:
    """The folder opened by transformers alone (and peft, where it holds an adapter), a row at a time."""
    with subject.moving():
        folder = _stepped(subject)
        ours = subject.said(subject.trainer, subject.batch)
    net = opened_by_transformers(subject.setup, folder, subject.model.dtype)
    theirs = transformers_said(net.to(subject.model.device), subject.groups, subject.trainer.dtype)
    return {"log-prob": largest(ours, theirs)}


def opened_by_transformers(setup: Setup, folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder as anybody would open it."""
    kind: Any
    if is_adapter(str(folder)):
        from peft import AutoPeftModelForCausalLM as kind
    else:
        from transformers import AutoModelForCausalLM as kind
    with quiet():
        return kind.from_pretrained(folder, dtype=dtype)


def resume(subject: Subject) -> Differences:
    """Two steps against one, a checkpoint, and the second by an engine that took it up: the same bits on a processor;
    on a GPU, whose sums have no fixed order, as near as a step in other passes."""
    engine = subject.setup.engine(lora=subject.adapted)
    start = owned(engine.trainer)
    update(engine.trainer, subject.batch, subject.objective)
    folder = subject.place()
    run(engine.save(folder))
    update(engine.trainer, subject.batch, subject.objective)
    straight = owned(engine.trainer)
    del engine
    resumed = subject.setup.engine(lora=subject.adapted, checkpoint=folder if subject.adapted else None)
    try:
        run(resumed.load(folder))
    except PostludeError as error:
        raise Broken(f"the checkpoint cannot be taken up: {error}") from error
    update(resumed.trainer, subject.batch, subject.objective)
    difference = moved(owned(resumed.trainer), straight, start)
    return {"exact" if subject.model.device.type == "cpu" else "step": difference}
