"""The local trainer: weights, optimiser, reference; forward and backward over packed micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from postlude.batch import Batch, split
from postlude.engines.local import saving
from postlude.engines.local.giving_way import Cut, free, within_memory
from postlude.engines.local.model import LocalModel
from postlude.engines.local.params import Params
from postlude.engines.local.passes import Pass, alike, known_of, nothing, parted, pulls_entropy
from postlude.engines.local.pending import Pending, not_finite
from postlude.engines.local.ranks import Alone, Ranks
from postlude.engines.local.reference import Reference, frozen_copy
from postlude.engines.local.threads import Workplace
from postlude.engines.local.unfinite import Here, corrupt, explain
from postlude.engines.protocol import Outcome, Part, Rates, Skip, Weights
from postlude.engines.settings import Optimizer
from postlude.errors import EngineError, TrainingError
from postlude.exhausted import out_of_memory
from postlude.objectives import Objective, Outputs, TokenObjective, Want
from postlude.runs.stats import Stats

MAX_SKIPPED = 3
"""Consecutive optimiser steps with a non-finite gradient before a run stops."""


class LocalTrainer:
    """Trains one `LocalModel`, and a critic where there is one: a head on the model (`value_head`) or a second model.

    In bf16 or fp16 the optimiser works on an fp32 master copy of the weights.
    """

    def __init__(
        self,
        model: LocalModel,
        optimizer: Optimizer,
        token_budget: int,
        keep_reference: bool = False,
        critic: LocalModel | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.model, self.critic, self.settings, self.token_budget = model, critic, optimizer, token_budget
        self.ranks: Ranks = ranks or Alone()
        frozen = frozen_copy(model) if keep_reference else None  # of a model that is still in one piece
        for one in (model, critic, frozen):
            if one is not None:
                self.ranks.shard(one)
        self.parts = {"policy": Params.of(model.net.named_parameters())}
        value_net = critic.net if critic else model.value_head
        if value_net is not None:
            self.parts["critic"] = Params.of((f"critic.{n}", p) for n, p in value_net.named_parameters())
        self._groups = {name: part.groups(optimizer.weight_decay) for name, part in self.parts.items()}
        self.optimizer = torch.optim.AdamW(
            [group for groups in self._groups.values() for group in groups],
            lr=0.0,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            fused=True if model.device.type in ("cuda", "cpu") else None,
        )
        self.reference = Reference(model, self.parts["policy"], frozen)
        self.version = 0
        """How often the weights were published."""
        self.workplace = Workplace()
        self.on_progress: Callable[[int], None] | None = None
        self.on_smaller: Callable[[str], None] = lambda text: None
        self.skip: Skip | None = None
        self.skipped = 0
        """Updates skipped in a row up to now, since their gradient was not finite."""
        self.skips_idle = True
        """Whether groups without a gradient are only read: not where dropout would draw other numbers for the rest."""
        self._passes = {True: 0, False: 0}
        """Of the update under way: with and without a gradient."""
        self.make_room: Callable[[], object] = lambda: None
        """Called before a pass with a gradient: whoever holds memory that training was promised gives it back."""

    def use(self, token_budget: int, head_chunk: int) -> None:
        """Take so many tokens at a time, and of the output layer so many."""
        self.token_budget = token_budget
        for model in (self.model, self.reference.frozen):
            if model is not None and model.reads == "logprobs":
                model.head_chunk = head_chunk

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that it gives: float32, or float64 for a model in that."""
        return torch.promote_types(self.model.dtype, torch.float32)

    @property
    def named(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(name, parameter, what the optimiser owns) of every part."""
        for part in self.parts.values():
            yield from zip(part.names, part.params, part.owned, strict=True)

    @property
    def has_adapter(self) -> bool:
        return hasattr(self.model.net, "disable_adapter")

    @property
    def references(self) -> int:
        """How often the reference was refreshed: what was computed under an earlier one is out of date."""
        return self.reference.refreshed

    # ------------------------------------------------------------------------------------------- contract

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        """[T] each, without gradient: log-probs and entropy of the policy or the reference, values, or scores."""
        cuts = [Cut(batch, False, self.model.packed)]
        return await self.workplace.do(lambda: within_memory(self, cuts, lambda: self.outputs(batch, want)))

    async def update(self, parts: Sequence[Part], rates: Rates) -> tuple[list[Stats], Stats]:
        """One optimiser step on the sum of the parts' losses: (figures of each part, figures of the step)."""
        outcome = await self.workplace.do(lambda: self.attempt(parts, rates))
        step = outcome.step if outcome.sound else self.leave_out(await explain(Here(self), parts))
        return outcome.figures, step

    def attempt(self, parts: Sequence[Part], rates: Rates) -> Outcome:
        """One optimiser step, where everything in it is finite; else the gradient stays for whoever asks why."""
        cuts = [Cut(part.batch, not part.objective.splits_groups, self.model.packed) for part in parts]
        passed, figures, norms = within_memory(self, cuts, self._pass_through(parts))
        if self._sound(parts, passed, norms):
            return Outcome(figures, self._apply(rates, norms), True)
        return Outcome([Stats() for _ in parts], Stats(), False)

    def _pass_through(self, parts: Sequence[Part]) -> Callable[[], tuple[list[Pending], list[Stats], dict[str, float]]]:
        """Work that gathers the gradient of an update, and gives the same however often it is done."""
        state = None if self.skips_idle else torch.get_rng_state()  # of dropout

        def work() -> tuple[list[Pending], list[Stats], dict[str, float]]:
            if state is not None:
                torch.set_rng_state(state)
            self._passes = {True: 0, False: 0}
            passed = [self.accumulate(part.batch, part.objective, part.coef) for part in parts]
            return passed, [one.settle() for one in passed], self.norms()

        return work

    def _sound(self, parts: Sequence[Part], passed: Sequence[Pending], norms: Mapping[str, float]) -> bool:
        """Whether every number that an update goes by is finite, on every rank."""
        losses = all(one.loss is None for one in passed)
        here = losses and all(map(math.isfinite, norms.values())) and not any(corrupt(part.batch) for part in parts)
        return not any(self.ranks.most([not here]))

    def leave_out(self, skip: Skip) -> Stats:
        """Forget the gradient and count; weights, moments and the optimiser's counters stay what they are."""
        self.forget()
        self._passes = {True: 0, False: 0}
        self.skipped += 1
        self.skip = replace(skip, in_a_row=self.skipped)
        return Stats({"skipped_updates": 1.0})

    async def refresh_reference(self, mix: float = 1.0) -> None:
        """The reference becomes the policy as it is now, or mix x policy + (1 - mix) x reference, weight by weight."""
        self.reference.refresh(mix)

    async def publish(self) -> Weights:
        """The weights as they are now, under the next version. TrainingError where one is not finite."""
        self.require_finite()
        self.version += 1
        return self.weights()

    def weights(self) -> Weights:
        """The weights of the newest version."""
        return Weights(self.version, [p.detach() for p in self.model.net.parameters()])

    # --------------------------------------------------------------------------------------------- passes

    @torch.no_grad()
    def outputs(self, batch: Batch, want: Want) -> Outputs:
        """What `forward` gives, at once."""
        with self.workplace:
            return self._read(batch, want)

    def _read(self, batch: Batch, want: Want) -> Outputs:
        totals: dict[str, Tensor] = {}
        numbered = replace(batch, rows=torch.arange(batch.tokens.shape[0]))
        with self._model_of(want) as model, model.evaluating():
            for one in self._readings(numbered, model):
                micro = one.batch.to(model.device)
                with model.running(micro) as outputs:
                    result = outputs(False)
                if not one.counts:
                    continue
                assert micro.rows is not None
                for name in ("logprobs", "entropy", "values", "scores"):
                    values: Tensor | None = getattr(result, name)
                    if values is not None:
                        whole = totals.setdefault(name, values.new_zeros(batch.tokens.shape[0]))
                        whole[micro.rows[micro.mask]] = values[micro.mask]
        return Outputs(**{name: x.to(batch.tokens.device) for name, x in totals.items()})

    def _readings(self, batch: Batch, model: LocalModel) -> Iterator[Pass]:
        """Passes without a gradient."""
        parts = split(batch, self.token_budget, keeps_groups=False, shares_prompts=model.packed)
        passes = (Pass(part, False) for part in parts)
        return passes if self.ranks.size == 1 else alike(self.ranks, [one for one in passes if one.batch.n_sequences])

    def _model_of(self, want: Want) -> AbstractContextManager[LocalModel]:
        if want == "reference":
            return self.reference.model()
        if want == "values" and self.critic is not None:
            return nullcontext(self.critic)
        missing = (want == "values" and self.model.value_head is None) or (want == "scores") != (
            self.model.reads == "scores"
        )
        if missing or want == "entropy":
            raise EngineError(f"this trainer has no {want} to give", code="not-supported")
        return nullcontext(self.model)

    def forward_backward(self, batch: Batch, objective: Objective, coef: float = 1.0) -> Stats:
        """Add the gradient of coef * loss, in passes of at most `token_budget` tokens. TrainingError where the loss is
        not finite; no weight has changed then."""
        with self.workplace:
            pending = self.accumulate(batch, objective, coef)
            figures = pending.settle()
        if pending.loss is not None:
            self.forget()
            raise not_finite(pending)
        return figures

    def accumulate(self, batch: Batch, objective: Objective, coef: float) -> Pending:
        """Go through a batch forth and back.

        Groups without a gradient are read for their figures and not gone back through; not even read where a pass under
        these weights has just told what the figures need.
        """
        self.make_room()
        pending = Pending()
        for tokens, passes in self._cut(batch, objective):
            for one in passes:
                self._pass(one, objective, coef, pending)
            self._collect()
            if self.on_progress:
                self.on_progress(tokens)
        return pending

    def _cut(self, batch: Batch, objective: Objective) -> Iterator[tuple[int, list[Pass]]]:
        """(tokens, passes over them): on several ranks as many on each, and those of the same kind together."""
        micros = split(batch, self.token_budget, not objective.splits_groups, self.model.packed)
        cut = ((micro.tokens.shape[0], [Pass(*part) for part in self._parts(micro, objective)]) for micro in micros)
        if self.ranks.size == 1:
            return cut
        passes = [one for _, several in cut for one in several if one.batch.n_sequences]
        several = alike(self.ranks, passes, known_of(batch) is not None)
        return ((one.batch.tokens.shape[0], [one]) for one in several)

    def _pass(self, one: Pass, objective: Objective, coef: float, pending: Pending) -> None:
        micro = one.batch.to(self.model.device)
        with ExitStack() as contexts:
            contexts.enter_context(torch.set_grad_enabled(one.pulls))
            outputs = (None if one.pulls else known_of(micro)) or self._outputs(micro, objective, contexts)
            loss = objective.loss(micro, outputs) if one.counts else nothing(outputs, pulls_entropy(objective))
            if one.counts:
                pending.add(loss, micro)
            if one.pulls:
                (coef * loss.total).backward()
        self._passes[one.pulls] += 1

    def _parts(self, batch: Batch, objective: Objective) -> list[tuple[Batch, bool]]:
        """The micro-batch in parts, each with whether it has a gradient; answers that train no token are in none."""
        if not self.skips_idle or not isinstance(objective, TokenObjective):
            return [(batch, True)]
        return parted(batch, objective)

    def _outputs(self, micro: Batch, objective: Objective, contexts: ExitStack) -> Outputs:
        """What the objective reads, with a gradient; the contexts have to stay open through the backward pass."""
        outputs = contexts.enter_context(self.model.running(micro))(pulls_entropy(objective))
        if self.critic is None or not isinstance(objective, TokenObjective) or objective.value is None:
            return outputs
        return replace(outputs, values=contexts.enter_context(self.critic.running(micro))(False).values)

    @torch.no_grad()
    def _collect(self) -> None:
        """Add half-precision gradients up in float32, where there is a master copy."""
        for _, p, master in self.named:
            if master is not p and p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None

    # ----------------------------------------------------------------------------------------------- step

    @torch.no_grad()
    def step(self, lr: float, critic_lr: float | None = None) -> Stats:
        """Clip each part, update, forget the gradient. `critic_lr` is `lr` where it is not given; a rate of 0 leaves
        its part as it is. A non-finite gradient is skipped; three in a row stop the run."""
        with self.workplace:
            norms = self.norms()
            if all(map(math.isfinite, norms.values())):
                return self._apply(Rates(lr, critic_lr), norms)
            name, stats = self.spoilt(), self.leave_out(Skip("gradient", norms["policy"]))
        if self.skipped >= MAX_SKIPPED:
            said = ", ".join(f"{name} {norm:g}" for name, norm in norms.items())
            raise TrainingError(
                f"the gradient was not finite in {MAX_SKIPPED} updates in a row (norms: {said}; first in "
                f"{name or 'the norm itself'}). Lower the learning rate, or train in float32.",
                code="not-finite",
            )
        return stats

    def norms(self) -> dict[str, float]:
        """Of the gradient of each part of the weights over all ranks, before clipping."""
        if any(self.ranks.most(list(self._passes.values()))):
            self._rest()
        self._add_up()
        norms = [part.norm(self.ranks) for part in self.parts.values()]
        squares = self.ranks.total([norm * norm for norm in norms])  # the root of one square is exact
        return {name: math.sqrt(square) for name, square in zip(self.parts, squares, strict=True)}

    def _add_up(self) -> None:
        """The gradient over all ranks of what each of them holds whole; of what is spread, passes have seen to it."""
        held = [*self.model.value_head.parameters()] if self.model.value_head is not None else []
        self.ranks.add([p.grad for p in held if p.grad is not None])

    @torch.no_grad()
    def _apply(self, rates: Rates, norms: Mapping[str, float]) -> Stats:
        """Clip, step, forget: every norm is finite."""
        lrs = {"policy": rates.policy, "critic": rates.policy if rates.critic is None else rates.critic}
        self._passes = {True: 0, False: 0}
        self.skipped, self.skip = 0, None
        for name, part in self.parts.items():
            self._clip(part, norms[name])
            if not lrs[name]:
                part.forget()
            for group in self._groups[name]:
                group["lr"] = lrs[name]
        self._optimise()
        self.forget()
        self.copy_master()
        sums = {"update/lr": rates.policy, "skipped_updates": 0.0}
        for name, norm in norms.items():
            sums["update/grad_norm" if name == "policy" else f"update/{name}/grad_norm"] = norm
        return Stats(sums, updates=1)

    def _optimise(self) -> None:
        """The optimiser's step. What it allocates, moments in the first, comes before anything that it changes."""
        try:
            self.optimizer.step()
            return
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        self.make_room()
        free()
        self.optimizer.step()

    def forget(self) -> None:
        """Drop the gradient that was gathered."""
        for part in self.parts.values():
            part.forget()

    def spoilt(self) -> str | None:
        """The first parameter whose gradient is not finite."""
        return self._first_infinite([(name, p.grad) for name, _, p in self.named if p.grad is not None])

    def _first_infinite(self, named: Sequence[tuple[str, Tensor]]) -> str | None:
        """The first name of a tensor that holds NaN or an infinite number, on any rank."""
        infinite = self.ranks.most([not bool(torch.isfinite(self.ranks.part(x)).all()) for _, x in named])
        return next((name for (name, _), bad in zip(named, infinite, strict=True) if bad), None)

    @torch.no_grad()
    def require_finite(self) -> None:
        """TrainingError where a trained weight is NaN or infinite, with its name: none that could be used is saved."""
        named = [(name, p) for name, p, _ in self.named]
        parts = [self.ranks.part(p.detach()) for _, p in named]
        sums = torch.stack([part.sum(dtype=self.dtype) for part in parts]) if parts else torch.zeros(1)
        if not any(self.ranks.most([not math.isfinite(float(sums.sum()))])):
            return
        bad = self._first_infinite(named)  # a sum can overflow by itself
        if bad is not None:
            raise TrainingError(
                f"the weights are not finite any more: {bad} holds NaN or infinite numbers after an update whose "
                "gradient was finite. They are not saved; what was saved before is sound. Lower schedule.lr, raise "
                "optimizer.eps, or hold the model in float32.",
                code="not-finite",
            )

    def _rest(self) -> None:
        """What no pass of an update came to has a gradient of 0, not none: its moments decay all the same, whoever of
        the ranks had which pass."""
        for _, _, p in self.named:
            if p.grad is None:
                p.grad = torch.zeros_like(p)

    def _clip(self, part: Params, norm: float) -> None:
        limit = self.settings.max_grad_norm
        if limit and norm > limit:
            for p in part.owned:
                if p.grad is not None:
                    p.grad.mul_(limit / (norm + 1e-6))

    def copy_master(self) -> None:
        """Put the optimiser's float32 weights into a model of half precision."""
        for _, p, master in self.named:
            if master is not p:
                p.copy_(master)

    # ------------------------------------------------------------------------------------------ save, load

    async def save(self, folder: Path) -> None:
        """Weights, optimiser and counters: see `write`."""
        self.write(folder)

    async def load(self, folder: Path, reference: bool = True) -> None:
        """The inverse of `save`; without a refreshed reference where `reference` is False."""
        saving.load(self, folder, reference)

    def write(self, folder: Path) -> None:
        """What `save` does, at once. TrainingError where a weight is not finite: no checkpoint has one."""
        self.require_finite()
        saving.write(self, folder)

    def load_weights(self, folder: str) -> None:
        """Put a checkpoint's weights into the model (all of them, or the adapter's) and into the critic."""
        saving.load_weights(self, folder)

    def parameters(self) -> tuple[int, int]:
        """(trainable, all) parameters of the model and its critic."""
        trained = sum(p.numel() for part in self.parts.values() for p in part.params)
        nets = [self.model.net, self.critic.net if self.critic else self.model.value_head]
        return trained, sum(p.numel() for net in nets if net is not None for p in net.parameters())
