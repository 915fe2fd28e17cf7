"""What a stream's draw has come to in training, and the figures of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from postlude.batch import Batch
from postlude.data import Group
from postlude.engines.protocol import Engine
from postlude.runs.folder import Run
from postlude.runs.stats import Stats
from postlude.skipped import keep
from postlude.sources.source import Drawn
from postlude.streams import Stream
from postlude.words import Once


@dataclass
class Trained:
    """A stream's draw in training, with its figures."""

    stream: Stream
    groups: Sequence[Group]
    batch: Batch
    total: Stats = field(default_factory=Stats)
    last: Stats = field(default_factory=Stats)
    """Of the newest update."""
    passed: int = 0
    """Tokens of the updates so far, prompts included: each once for every time it was trained on."""

    def add(self, stats: Stats, weighed: Batch, part: Batch, step: Stats) -> None:
        """An optimiser step is done: figures of its passes, of its weights, and of the step itself."""
        self.last = Stats({f"update/{k}": v for k, v in weighed.report.items() if k not in part.report})
        self.last += stats
        self.last += step
        self.last.updates = 1
        self.passed += part.tokens.shape[0]
        self.total += self.last

    def leave_out(self, step: Stats) -> None:
        """An optimiser step was not taken: it counts in no mean."""
        self.last = step
        self.total += step

    @property
    def compares(self) -> bool:
        """Whether what its updates say of the sampler's log-probs is said by the weights that the draw began with."""
        return self.stream.passes == 1 or self.batch.old_logprobs is not None

    @property
    def moved_too_far(self) -> bool:
        """Whether the last update found the policy beyond the KL at which a draw is given up."""
        return self.stream.stop_kl is not None and self.last.summary().get("kl_old/k3", 0.0) > self.stream.stop_kl


def tell_left_out(run: Run, engine: Engine, lead: Drawn, trained: Trained, update: int, batch: Batch) -> None:
    """Keep the batch of an update that was left out; say why, once for each cause."""
    skip = engine.trainer.skip
    assert skip is not None
    text = keep(run, trained.stream.name, update, batch, trained.groups, skip)
    lead.notes.append(Once(f"left out of {trained.stream.name}: {skip.figure}", text))


def moved_too_far(trained: Trained) -> str:
    return (
        f"the policy moved {trained.last.summary()['kl_old/k3']:.2g} nats per token, beyond stop_kl "
        f"{trained.stream.stop_kl:g}: the rest of this draw's updates was left out"
    )


def figures_of(drawn: Sequence[Drawn], used: Sequence[Trained]) -> Mapping[str, float]:
    """Of a step; the lead's controller and warnings see them, too."""
    figures: dict[str, float] = {}
    for d in drawn:
        figures |= d.report if d is drawn[0] else {f"{d.name}/{k}": v for k, v in d.report.items()}
    for trained in used[1:]:
        figures |= {f"{trained.stream.name}/{k}": v for k, v in trained.total.summary().items()}
    if not used:
        return figures
    lead = used[0]
    rows = float(lead.batch.tokens.shape[0])
    tokens = {"tokens": rows, "passed_tokens": float(sum(t.passed for t in used))}
    figures = {**tokens, **figures, **lead.batch.report, **lead.total.summary()}
    if lead.stream.control is not None:
        figures["kl_coef"] = lead.stream.kl_coef or 0.0
    if lead.total.updates:
        lead.stream.observe(figures, lead.last.summary())
    return figures
