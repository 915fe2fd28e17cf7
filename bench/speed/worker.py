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
from bench.speed.material import even_share, right_sum

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
    from postlude.config import Document
    from postlude.launch import launch

    values: dict[str, Any] = {
        "method": "sft" if cell.kind == "sft" else "grpo",
        "model": {"path": str(folder), "dtype": cell.dtype},
        "data": str(folder / "data.jsonl"),
        "output": str(folder / f"run-{os.getpid()}"),
        "steps": GOAL_STEPS if cell.kind == "goal" else STEPS,
        "prompts_per_step": cell.prompts,
        "schedule": {"lr": 3e-4, "decay": "linear"} if cell.kind == "goal" else {"lr": 1e-6},
        "checkpoint_every": 0,
        "threads": 1,
    }
    if cell.kind != "sft":
        name = "right_sum" if cell.kind == "goal" else "even_share"
        values |= {
            "group_size": cell.group,
            "reward": f"bench.speed.material:{name}",
            "sampling": {"max_tokens": cell.completion},
            "objective": {"kl": None, "correction": None, "advantage": {"eps": 1e-4}},  # as TRL computes it
        }

    def listen(event: Mapping[str, Any]) -> None:
        if event["kind"] == "open":
            if cell.kind != "cold":
                gate.wait()
        elif event["kind"] == "step":
            gate.tokens = int(event["tokens"] if "tokens" in event else event["trained_tokens"])
            gate.facts = {"accuracy": event.get("reward/right_sum")}
            gate.wait()

    launch(Document(values), listeners=[listen])


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

    trainer = (_sft if cell.kind == "sft" else _grpo)(cell, folder, gate, shipped)
    trainer.add_callback(Waits())
    trainer.train()


def _common(cell: Cell, folder: Path, shipped: bool) -> dict[str, Any]:
    goal = cell.kind == "goal"
    return {
        "output_dir": str(folder / f"trl-{os.getpid()}"),
        "per_device_train_batch_size": cell.rows,
        "learning_rate": 3e-4 if goal else 1e-6,
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

    return Dataset.from_list([json.loads(line) for line in (folder / "data.jsonl").open()])


def _grpo(cell: Cell, folder: Path, gate: Gate, shipped: bool) -> Any:
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    def reward(completion_ids: Any, **columns: Any) -> list[float]:
        gate.tokens = sum(map(len, completion_ids))
        if not (folder / "frozen.json").exists():
            kept = {"prompts": columns["prompts"], "completion_ids": completion_ids}
            (folder / "frozen.json").write_text(json.dumps(kept))
        return (right_sum if cell.kind == "goal" else even_share)(completion_ids=completion_ids, **columns)

    config = GRPOConfig(
        **_common(cell, folder, shipped),
        num_generations=cell.group,
        max_completion_length=cell.completion,
        beta=0.0,
        loss_type="grpo",
        scale_rewards="group",
    )
    return GRPOTrainer(
        model=str(folder),
        reward_funcs=reward,
        args=config,
        train_dataset=_rows(folder),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )


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

    def counted(rows: Any) -> Any:
        batch = collate(rows)
        gate.tokens = int((batch["labels"] != -100).sum())
        return batch

    trainer.data_collator = counted
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
