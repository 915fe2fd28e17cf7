"""The local engine: one model that samples and trains, on CPU or one GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from postlude.engines.local import saving
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.free import Free, free, give_back
from postlude.engines.local.memory import choose, gathered, local_of
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.engines.local.ranks import Alone, Ranks
from postlude.engines.local.threads import Workplace
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.policy import Policy
from postlude.engines.protocol import Weights
from postlude.engines.settings import Local, Optimizer
from postlude.errors import EngineError
from postlude.models.chat import Renderer
from postlude.models.heads import READS
from postlude.models.load import Facts, inspect, load, name_stops, note_of_half
from postlude.models.quiet import quiet
from postlude.models.spec import Critic, ModelSpec
from postlude.models.spread import by_first, plain_class
from postlude.runs.durable import flush_tree
from postlude.sizing.ranks import share_of
from postlude.sizing.work import BUDGET, GIB, Asked, Held, Plan, Work

LIMITS = "limits.json"
"""In `trainer/` of a checkpoint: what gave way where memory ran out."""


@dataclass
class LocalEngine:
    """A `LocalSampler` and a `LocalTrainer` over the same weights: publishing them costs nothing."""

    model: LocalModel
    sampler: LocalSampler
    trainer: LocalTrainer
    plan: Plan
    """How large micro-batches, the head's chunk and the cache are."""
    served_lag: Callable[[int], int | None] = lambda version: None
    """Steps from the weights of a version that servers had, while there were some; None of any other."""

    @classmethod
    def open(
        cls, path: str, optimizer: Optimizer | None = None, keep_reference: bool = False, **settings: Any
    ) -> LocalEngine:
        """An engine to drive by hand; `settings` are fields of `ModelSpec` (lora, chat_template) and of `Local` (dtype,
        device, token_budget, threads, ...).

        `keep_reference` keeps the starting weights for `trainer.forward(batch, "reference")`; under LoRA they are
        there anyway.
        """
        names = {f.name for f in fields(Local)}
        spec = ModelSpec(path, **{k: v for k, v in settings.items() if k not in names})
        held = Local(**{k: v for k, v in settings.items() if k in names})
        return cls.start(spec, inspect(spec), optimizer or Optimizer(), held, keep_reference)

    @property
    def renderer(self) -> Renderer:
        """Text and messages to the ids this engine samples from and trains on."""
        return Renderer(self.sampler.tokenizer, self.sampler.stop_ids)

    @classmethod
    def start(
        cls,
        spec: ModelSpec,
        facts: Facts,
        optimizer: Optimizer | None = None,
        held: Local | None = None,
        keep_reference: bool = False,
        dropout: bool = False,
        checkpoint: str | None = None,
        own_sampler: bool = False,
        scores: bool = False,
        critic: Critic | None = None,
        pairs: bool = False,
        work: Work | None = None,
        ranks: Ranks | None = None,
    ) -> LocalEngine:
        """Load the weights, choose the path, build sampler and trainer. Of a `checkpoint` the adapter is built, whose
        weights `load` then reads.

        `own_sampler` gives the sampler a copy of the weights, so that it can work while the trainer does; `scores`
        makes it a reward model, with `pairs` one that reads two answers; `critic` adds a value function. The reference
        is always taken from the model the recipe names, never from a checkpoint. What `held` leaves open is chosen to
        fit into memory, given the `work`; ConfigError where no micro-batch fits. `ranks` hold the models together with
        this process.
        """
        held, optimizer = held or Local(), optimizer or Optimizer()
        net = load(spec, held, adapter_from=checkpoint if spec.lora else None, scalar=scores)
        if pairs:
            setattr(net.config, READS, "pair")  # for whoever opens the folder: such scores mean nothing of one answer
        if not dropout:
            without_dropout(net)
        if not scores:
            name_stops(net, facts.stop_ids)
        model = LocalModel(net, "scores" if scores else "logprobs")
        model.choose_path(held.packed)
        _agree_on_path(model, ranks or Alone())
        beside = _second_model(spec, held, critic, ranks) if critic and critic.form == "own" else None
        if critic and critic.form == "trunk":
            model.value_head = _value_head(model)
        trainer = LocalTrainer(model, optimizer, held.token_budget or BUDGET, keep_reference, beside, ranks)
        trainer.skips_idle = not dropout
        sampled = model.copy(deepcopy(net).requires_grad_(False)) if own_sampler else model
        sampler = LocalSampler(sampled, facts.tokenizer, facts.stop_ids)
        trainer.workplace = Workplace.of(net, held.threads, apart=own_sampler)
        sampler.workplace = Workplace.of(net, held.threads)
        if not own_sampler:
            trainer.make_room = sampler.prefixes.clear
        engine = cls(model, sampler, trainer, Plan(0, 0, 0))
        work = share_of(work or Work(), trainer.ranks.size)
        asked = Asked(held.token_budget, held.head_chunk, held.cache_gib)
        with trainer.workplace:
            left = _share_of(free(model.device), trainer.ranks)
            plan = choose(model, beside, engine._held(work), left, work, asked, trainer.ranks)
            engine._use(_smallest(plan, trainer.ranks))
        return engine

    def _use(self, plan: Plan) -> None:
        self.plan = plan
        self.trainer.use(plan.token_budget, plan.head_chunk)
        self.sampler.cache_bytes, self.sampler.prefix_bytes = plan.cache_bytes, plan.prefix_bytes

    def _held(self, work: Work) -> Held:
        """What stays in memory whatever the batch."""
        parts = list(self.trainer.parts.values())
        trained = [p for part in parts for p in part.params]
        owned = [p for part in parts for p in part.owned]
        apart = self.sampler.model is not self.model
        second, frozen = self.trainer.critic, self.trainer.reference.frozen
        others = sum(_here(model.net.parameters()) for model in (second, frozen) if model)
        masters = _here(master for p, master in zip(trained, owned, strict=True) if master is not p)
        halves = _here(p for p, master in zip(trained, owned, strict=True) if master is not p)  # have gradients, too
        weights = (1 + apart) * _here(self.model.net.parameters()) + others + masters
        weights += gathered(self.model, second, self.trainer.ranks.size)
        growing = _here(owned) if work.trains else 0
        decoding = self.model.direct.copied if self.model.direct else 0
        return Held(weights, growing + (halves if work.trains else 0), 2 * growing, decoding, apart)

    @property
    def token_budget(self) -> int:
        """Tokens per micro-batch."""
        return self.plan.token_budget

    @property
    def policy(self) -> Policy:
        """What servers have to be told of it."""
        return Policy.of(self.model.net)

    @property
    def tokenizer(self) -> Any:
        return self.sampler.tokenizer

    async def save(self, folder: Path) -> None:
        """A checkpoint: weights, tokenizer, and the optimiser in `trainer/`."""
        await self.trainer.workplace.do(lambda: self.write(folder))

    def write(self, folder: Path) -> None:
        """What `save` does, at once. Several ranks all do it together."""
        give_back()  # what was written is read again, and would come on top of what passes left
        with quiet():
            self.trainer.write(folder)
            by_first(self.trainer.ranks, lambda: self._write_beside(folder))

    def _write_beside(self, folder: Path) -> None:
        """The tokenizer, and what gave way where memory ran out: a resumed run goes on with it."""
        self.sampler.tokenizer.save_pretrained(folder)
        begun, now = self._limits_of(self.plan), self.settings()
        if begun != now:
            (folder / "trainer" / LIMITS).write_text(json.dumps({"begun": begun, "now": now}))
        if self.trainer.ranks.size > 1:  # whoever seals the folder may be on another host, and flush what that wrote
            flush_tree(folder)

    def _take_up_limits(self, file: Path) -> None:
        """The limits in force when a checkpoint was written, but for those that were set anew since."""
        if not file.exists():
            return
        known = json.loads(file.read_text())
        now = {
            name: known["now"][name] if known["begun"][name] == value else value
            for name, value in self.settings().items()
        }
        self.trainer.use(now["token_budget"], now["head_chunk"])
        self.sampler.cache_bytes = int(now["cache_gib"] * GIB)
        self.sampler.prefix_bytes = min(self.sampler.prefix_bytes, self.sampler.cache_bytes // 2)

    @staticmethod
    def _limits_of(plan: Plan) -> dict[str, Any]:
        return {
            "token_budget": plan.token_budget,
            "head_chunk": plan.head_chunk,
            "cache_gib": plan.cache_bytes / GIB,
        }

    def rehearse(self) -> None:
        """Try the needs of a save, before any work that would be lost: all but the whole models' weights is written."""
        try:
            with quiet(), TemporaryDirectory() as place:
                saving.rehearse(self.trainer, Path(place))
                by_first(self.trainer.ranks, lambda: self.sampler.tokenizer.save_pretrained(place))
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise EngineError(
                f"checkpoints of this model could not be saved: {error}", code="adapter-cannot-merge"
            ) from error

    async def load(self, folder: Path, reference: bool = True) -> None:
        """Take up a checkpoint that `save` wrote: weights, optimiser, version, and the reference where that was
        refreshed."""
        self.take_up(folder, reference)
        await self.sampler.load(self.trainer.weights())

    def take_up(self, folder: Path, reference: bool = True) -> None:
        """The same at once, but for the sampler."""
        saving.load(self.trainer, folder, reference)
        self._take_up_limits(folder / "trainer" / LIMITS)

    def work_apart(self) -> None:
        """Train in a thread from now on: servers are looked after in the event loop meanwhile."""
        self.trainer.workplace.apart = True

    async def begin(self) -> None:
        """Nothing: the sampler has its weights from the start."""

    async def close(self) -> None:
        """Nothing."""

    async def publish(self) -> Weights:
        """The sampler takes the trained weights: it reads them in place, or copies them."""
        weights = await self.trainer.publish()
        await self.sampler.load(weights)
        return weights

    async def relabel(self, version: int) -> None:
        """The weights as they are now have this version from here on."""
        self.trainer.version = version
        await self.sampler.load(self.trainer.weights())

    async def read(self, version: int) -> None:
        """No version but the newest is anywhere."""

    def lag(self, version: int) -> int | None:
        """Each step publishes once; of versions that servers had, their ledger knows."""
        known = self.served_lag(version)
        return self.trainer.version - version if known is None else known

    def figures(self) -> dict[str, float]:
        """None of its own."""
        return {}

    @property
    def seconds(self) -> dict[str, float]:
        """Nothing that is worth a clock."""
        return {}

    @property
    def restarting(self) -> float:
        """There is but this process."""
        return 0.0

    async def prints(self) -> list[int]:
        """`fingerprint`."""
        return self.fingerprint()

    @torch.no_grad()
    def fingerprint(self) -> list[int]:
        """Of the policy's trained weights: a sum of the bits of each tensor.

        Its largest weight is added first, so that a weight of exactly 0 that becomes 1e-30 is none that changed.
        """
        return saving.fingerprint(self.trainer)

    def settings(self) -> dict[str, Any]:
        """What was chosen where the recipe left it open: keys of its `engine`."""
        chunk = self.model.head_chunk if self.model.reads == "logprobs" else self.plan.head_chunk
        return {
            "token_budget": self.trainer.token_budget,
            "head_chunk": chunk,
            "cache_gib": self.sampler.cache_bytes / GIB,
        }

    def describe(self) -> dict[str, Any]:
        """Facts for the manifest and the first lines of a run."""
        trainable, total = self.trainer.parameters()
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {
            "architecture": plain_class(self.model.hf).__name__,
            "parameters": total,
            "trainable": trainable,
            "device": str(self.model.device),
            "threads": self.trainer.workplace.threads or torch.get_num_threads(),
            "dtype": dtype,
            "path": self.model.path,
            "path_reason": self.model.reason or self.model.indirect,
            "attention": self.model.layout.__name__,
            "stops": [self.tokenizer.convert_ids_to_tokens(i) for i in sorted(self.sampler.stop_ids)],
            "memory_mb": self.memory(),
            "memory": self.plan.text,
            "warning": self.plan.warning,
            "slow": note_of_half(dtype, self.model.device.type),
        }

    def saved_bytes(self) -> int:
        """Bytes of one checkpoint, but for its small files: weights (under LoRA the adapter's) and the optimiser."""
        trained, _ = self.trainer.parameters()
        each = self.trainer.dtype.itemsize
        half = self.model.dtype in (torch.bfloat16, torch.float16)
        net, critic = self.model.net, self.trainer.critic
        adapter = hasattr(net, "peft_config")
        weights = _bytes(p for p in net.parameters() if p.requires_grad) if adapter else self.model.weight_bytes
        return weights + (critic.weight_bytes if critic else 0) + (3 if half else 2) * each * trained

    def held_bytes(self) -> dict[str, int]:
        """Bytes of weights, the optimiser once it has taken a step, gradients, and copies of the weights; of the whole
        model, also where several ranks hold it."""
        weights, critic = self.model.weight_bytes, self.trainer.critic
        trained = self.trainer.parameters()[0]
        each = self.trainer.dtype.itemsize
        master = each * trained if self.model.dtype in (torch.bfloat16, torch.float16) else 0
        parts = {
            "weights": weights,
            "optimizer": 2 * each * trained + master,
            "gradients": each * trained,
            "reference": _bytes(self.trainer.reference.weights),
            "critic": critic.weight_bytes if critic else 0,
            "sampler": weights if self.sampler.model is not self.model else 0,
        }
        return {name: size for name, size in parts.items() if size}

    def memory(self) -> dict[str, float]:
        """The same in MB, for people."""
        return {name: round(size / 1e6, 1) for name, size in self.held_bytes().items()}


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of whole tensors, wherever they are."""
    return sum(p.numel() * p.element_size() for p in tensors)


def _here(tensors: Iterable[Tensor]) -> int:
    """Of what this process holds of them."""
    return _bytes(local_of(p) for p in tensors)


def _share_of(left: Free, ranks: Ranks) -> Free:
    """What one rank may take of memory that several share."""
    return replace(left, bytes=left.bytes // ranks.beside)


def _smallest(plan: Plan, ranks: Ranks) -> Plan:
    """The smallest limits of all ranks: with the same ones sums are rounded alike wherever a share is."""
    budget, chunk = (-int(x) for x in ranks.most([-plan.token_budget, -plan.head_chunk]))
    return replace(plan, token_budget=budget, head_chunk=chunk)


def _agree_on_path(model: LocalModel, ranks: Ranks) -> None:
    """The way in which every rank can run a model: what a probe finds may differ from processor to processor."""
    ways = ("direct", "packed", "padded")
    slowest = ranks.most([ways.index(model.path)])
    model.fall_back(ways[int(slowest[0])], "on another rank's processor the faster path gives other numbers")


def _second_model(spec: ModelSpec, held: Local, critic: Critic, ranks: Ranks | None) -> LocalModel:
    """A critic of its own, beside the policy."""
    critic_spec = replace(spec, path=critic.path or spec.path, lora=None)
    model = LocalModel(load(critic_spec, held, scalar=True, zero=True), "values")
    without_dropout(model.net)
    model.choose_path(held.packed)
    _agree_on_path(model, ranks or Alone())
    return model


def _value_head(model: LocalModel) -> nn.Linear:
    """A map of zeros from the policy's hidden states to a value."""
    width = model.config.hidden_size
    head = nn.Linear(width, 1, device=model.device, dtype=torch.promote_types(model.dtype, torch.float32))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
