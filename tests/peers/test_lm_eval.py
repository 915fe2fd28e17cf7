"""lm-evaluation-harness loads what a run writes, whole models and adapters; where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import postlude
from postlude.models.tiny import save_tiny_model

lm_eval = pytest.importorskip("lm_eval")
tasks_of_lm_eval = pytest.importorskip("lm_eval.tasks")
pytestmark = pytest.mark.peers

TASK = """task: sums_tiny
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
target_delimiter: ""
metric_list:
- {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


@pytest.mark.parametrize("lora", [False, True])
def test_a_task_of_ones_own_runs_offline_on_a_checkpoint(
    tmp_path: Path, lora: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    save_tiny_model(tmp_path / "m", layers=1, width=32, heads=2)
    rows = [{"prompt": f"{i}+1=", "completion": str(i + 1)} for i in range(8)]
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    asked = [{"question": one["prompt"], "choices": [one["completion"], "z"], "gold": 0} for one in rows]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/sums.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl"))
    model: dict[str, Any] = {"path": str(tmp_path / "m"), **({"lora": {"rank": 4}} if lora else {})}
    run = postlude.train(
        "sft", model=model, data=str(tmp_path / "sft.jsonl"), output=str(tmp_path / "run"), steps=30,
        prompts_per_step=8, schedule={"lr": 1e-2}, show=False,
    )  # fmt: skip
    base = f"pretrained={tmp_path / 'm'},peft={run.model}" if lora else f"pretrained={run.model}"
    tasks = tasks_of_lm_eval.TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model="hf", model_args=f"{base},dtype=float32", tasks=["sums_tiny"], device="cpu", batch_size=4,
        task_manager=tasks,
    )  # fmt: skip
    assert found["results"]["sums_tiny"]["acc,none"] == 1.0, "a digit is likelier than z after training"
