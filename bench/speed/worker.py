"""One contestant in a process of its own: it takes a step when told to, and says what the step cost.

    python -m bench.speed.worker postlude|trl|trl-shipped CELL FOLDER      (CELL as JSON)

A line `go` on stdin is answered, once the step is done, with a JSON line on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.speed.cells import Cell, cell_of
from bench.speed.material import MOVED, even_share, right_sum

STEPS = 100_000
GOAL_STEPS = 400


@dataclass
class Gate:
    """Where a contestant waits between steps."""

    tokens: int = 0
    """Sampled (or trained on) in the step under way."""
    facts: dict[str, Any] | None = None
    """More to say with the next report."""
    _since: float = 0.0

    def __post_init__(self) -> None:
        self._channel = os.fdopen(os.dup(1), "w")  # what libraries print must not mix with reports
        os.dup2(2, 1)

    def wait(self) -> None:
        """Report the step that ended, and return when the next one may begin."""
        now = time.process_time()
        peak = _peak()
        row = {"cpu": now - self._since, "total": now, "tokens": self.tokens, "peak": peak, **(self.facts or {})}
        print(json.dumps(row), file=self._channel, flush=True)
        if sys.stdin.readline().strip() != "go":
            os._exit(0)
        self.tokens, self.facts, self._since = 0, None, time.process_time()


def _peak() -> float:
    """Largest resident memory of this process in MB (`ru_maxrss` would start from that of its parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def postlude(cell: Cell, folder: Path, gate: Gate) -> None:
    """A run as `postlude train` makes it, with its events, rollouts and timings written."""
    from postlude.launch import launch
    from postlude.recipe.documents import Document
    from postlude.runs.events import Event, Opened, Step

    values: dict[str, Any] = {
        "method": "grpo" if cell.kind in ("cold", "goal") else cell.kind,
        "model": {"path": str(folder), "dtype": cell.dtype, **({"lora": {"rank": cell.lora}} if cell.lora else {})},
        "data": str(folder / "data.jsonl"),
        "output": str(folder / f"run-{os.getpid()}"),
        "steps": GOAL_STEPS if cell.kind == "goal" else STEPS,
        "prompts_per_step": cell.prompts,
        "schedule": {"lr": cell.rate, "decay": "linear" if cell.kind == "goal" else "constant"},
        "checkpoint_every": 0,
        "threads": 1,
    }
    if cell.kind != "sft" and not cell.compared:
        name = "right_sum" if cell.kind == "goal" else "even_share"
        values |= {
            "group_size": cell.group,
            "reward": f"bench.speed.material:{name}",
            "sampling": {"max_tokens": cell.completion},
            "objective": {
                "kl": {"coef": cell.beta} if cell.beta else None,
                "correction": None,
                "advantage": {"eps": 1e-4},
            },  # as TRL computes it
        }

    def listen(event: Event) -> None:
        if isinstance(event, Opened):
            if cell.kind != "cold":
                gate.wait()
        elif isinstance(event, Step):
            figures = event.figures
            gate.tokens = _trained_on(cell, figures)
            loss = figures.get("loss/pairs", figures.get("loss/points"))
            gate.facts = {"accuracy": figures.get("reward/right_sum"), "loss": loss, "grad_norm": figures["grad_norm"]}
            gate.wait()

    launch(Document(values), listeners=[listen])


def _trained_on(cell: Cell, figures: Mapping[str, float]) -> int:
    """Tokens of the answers of a step."""
    if cell.kind == "sft":
        return int(figures["trained_tokens"])
    if not cell.compared:
        return int(figures["tokens"])
    answers = figures["tokens"] - cell.prompts * cell.prompt  # the row has prompts once, and in KTO every answer twice
    return int(answers / 2 if cell.kind == "kto" else answers)


def trl(cell: Cell, folder: Path, gate: Gate, shipped: bool) -> None:
    """TRL's trainer on the same model and data; `shipped` leaves gradient checkpointing on, as it comes."""
    from transformers import TrainerCallback

    class Waits(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            if cell.kind != "cold":
                gate.wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "grad_norm" in logs:  # the last thing a step does
                gate.facts = {"grad_norm": logs["grad_norm"], "loss": logs["loss"], "accuracy": logs.get("reward")}
                gate.wait()

    make = _compared if cell.compared else _sft if cell.kind == "sft" else _grpo
    trainer = make(cell, folder, gate, shipped)
    trainer.add_callback(Waits())
    trainer.train()


def _common(cell: Cell, folder: Path, shipped: bool) -> dict[str, Any]:
    goal = cell.kind == "goal"
    return {
        "output_dir": str(folder / f"trl-{os.getpid()}"),
        "per_device_train_batch_size": cell.prompts if cell.compared else cell.rows,
        "learning_rate": cell.rate,
        "lr_scheduler_type": "linear" if goal else "constant",
        "max_steps": GOAL_STEPS if goal else STEPS,
        "adam_beta2": 0.95,
        "gradient_checkpointing": shipped,
        "bf16": cell.dtype == "bfloat16",
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "model_init_kwargs": {"dtype": cell.dtype},
    }


def _rows(folder: Path) -> Any:
    from datasets import Dataset

    path = folder / "data-trl.jsonl"
    path = path if path.exists() else folder / "data.jsonl"
    return Dataset.from_list([json.loads(line) for line in path.open()])


def _counting(trainer: Any, gate: Gate, count: Any) -> None:
    """Tell the gate what each step's batch holds (the collator has already made the next one by then)."""
    compute = trainer.compute_loss

    def counted(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        gate.tokens = int(count(inputs))
        return compute(model, inputs, *args, **kwargs)

    trainer.compute_loss = counted


def _compared(cell: Cell, folder: Path, gate: Gate, shipped: bool) -> Any:
    """DPO, KTO or a reward model with TRL's defaults: padded rows, the reference in every step."""
    import trl
    from transformers import AutoTokenizer

    name = {"dpo": "DPO", "kto": "KTO", "reward_model": "Reward"}[cell.kind]
    trainer = getattr(trl, f"{name}Trainer")(
        model=str(folder),
        args=getattr(trl, f"{name}Config")(**_common(cell, folder, shipped), train_sampling_strategy="sequential"),
        train_dataset=_rows(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )

    def answers(batch: Any) -> Any:
        if cell.kind == "reward_model":
            return batch["attention_mask"].sum() - cell.rows * cell.prompt
        return batch["completion_mask"].sum()

    _counting(trainer, gate, answers)
    return trainer


def _adapter(cell: Cell) -> Any:
    if not cell.lora:
        return None
    from peft import LoraConfig

    return LoraConfig(r=cell.lora, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def _grpo(cell: Cell, folder: Path, gate: Gate, shipped: bool) -> Any:
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    def reward(completion_ids: Any, **columns: Any) -> list[float]:
        gate.tokens = sum(map(len, completion_ids))
        if trainer.state.global_step == cell.frozen and not (folder / "frozen.json").exists():
            kept = {"prompts": columns["prompts"], "completion_ids": completion_ids}
            (folder / "frozen.json").write_text(json.dumps(kept))
            if cell.beta:
                trainer.save_model(str(folder / MOVED))
        return (right_sum if cell.kind == "goal" else even_share)(completion_ids=completion_ids, **columns)

    config = GRPOConfig(
        **_common(cell, folder, shipped),
        num_generations=cell.group,
        max_completion_length=cell.completion,
        beta=cell.beta,
        use_bias_correction_kl=False,  # k3 as DeepSeekMath has it, like our grpo; the ratio costs nothing
        loss_type="grpo",
        scale_rewards="group",
    )
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=reward,
        args=config,
        train_dataset=_rows(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=_adapter(cell),
    )
    return trainer


def _sft(cell: Cell, folder: Path, gate: Gate, shipped: bool) -> Any:
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        **_common(cell, folder, shipped), max_length=256, packing=cell.packing, packing_strategy="wrapped"
    )
    trainer = SFTTrainer(
        model=str(folder),
        args=config,
        train_dataset=_rows(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    collate = trainer.data_collator
    if not cell.packing and not (folder / "frozen.json").exists():
        import torch

        with torch.no_grad():
            batch = collate([trainer.train_dataset[i] for i in range(cell.prompts)])
            loss = float(trainer.compute_loss(trainer.model, batch))
        (folder / "frozen.json").write_text(json.dumps({"loss": loss}))

    _counting(trainer, gate, lambda batch: (batch["labels"] != -100).sum())
    return trainer


def main() -> None:
    contestant, described, place = sys.argv[1:]
    gate = Gate()
    if contestant == "postlude":
        from postlude.cli import collect_rarely

        collect_rarely()  # as the command `postlude` does
    import torch

    torch.set_num_threads(1)
    cell = cell_of(described)
    if contestant == "postlude":
        postlude(cell, Path(place), gate)
    else:
        trl(cell, Path(place), gate, shipped=contestant == "trl-shipped")


if __name__ == "__main__":
    main()
