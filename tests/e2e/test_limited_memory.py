"""Runs whose memory is limited by the operating system: the size of micro-batches gives way, results do not."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from postlude.build import build_engine
from postlude.check import check
from postlude.errors import ConfigError
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe import documents
from postlude.runs import read
from postlude.runs.events import Opened
from postlude.runs.folder import Run
from postlude.runs.sealed import read_signed_json, signed_json

REAL = Path(__file__).parents[2] / ".models" / "smollm2"
RIGHT = """
def right(completions, answer, **columns):
    texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
    return [float(a in text) for text, a in zip(texts, answer)]
"""


def limited(room: int, *arguments: str, cwd: Path, base: bool = True) -> subprocess.CompletedProcess[str]:
    """`postlude ARGUMENTS` in a child whose address space ends `room` MiB above what its imports take."""
    child = (
        "import resource, sys\n"
        "import torch, transformers, postlude.engines.local.engine, postlude.launch\n"
        "from pathlib import Path\n"
        "from postlude.cli import main\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() * int(sys.argv[2])\n"
        "limit = used + int(sys.argv[1]) * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "sys.argv = ['postlude', *sys.argv[3:]]\n"
        "main()\n"
    )
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", child, str(room), str(int(base)), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 2.6 M weights whose 48 thin layers keep 0.4 MB of each token, and text to train it on."""
    folder = tmp_path_factory.mktemp("deep")
    save_tiny_model(folder / "model", layers=48, width=64)
    rows = [{"prompt": f"{n} + {n} = ", "completion": f"{2 * n} " * 60} for n in range(10, 26)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from /proc")
def test_a_run_under_a_limit_takes_smaller_micro_batches(deep: Path) -> None:
    """Its 3,000 tokens at once would take 1.3 GB; the limit is the reason for a child and for its seconds."""
    done = limited(650, "train", "sft", "model=model", "data=rows.jsonl", "steps=1", "output=run", cwd=deep)
    assert done.returncode == 0, done.stdout + done.stderr
    history = read(deep / "run")
    chosen, (step,) = history.manifest["chosen"], history.of("step")
    assert 64 <= chosen["token_budget"] < step["tokens"]
    assert f"micro-batches of {chosen['token_budget']:,} tokens" in done.stdout
    assert "the process's limit (ulimit)" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from /proc")
def test_memory_that_runs_out_is_met_by_smaller_micro_batches(deep: Path) -> None:
    """Under a limit of the operating system's; below what any piece takes, an error with advice."""
    tight = ["token_budget=16384", "output=tight"]
    done = limited(650, "train", "sft", "model=model", "data=rows.jsonl", "steps=1", *tight, cwd=deep)
    assert done.returncode == 0, done.stderr
    assert "token_budget as set may not fit" in done.stdout
    assert "memory ran out: micro-batches have at most 1,024 tokens from here on" in done.stdout
    done = limited(
        250, "train", "sft", "model=model", "data=rows.jsonl", "steps=1", *tight[:1], "output=none", cwd=deep
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "memory ran out in step 1" in done.stderr and "Halve engine.token_budget" in done.stderr


def run(place: Path, model: Path, steps: int, *overrides: str, resume: bool = False, heard: Any = None) -> Run:
    document = documents.Document({"method": "sft"}, {})
    pairs = [f"model={model}", f"data={place / 'short.jsonl'}", "prompts_per_step=4", "threads=1", f"steps={steps}"]
    documents.override(document, [*pairs, f"output={place / 'resumed'}", "schedule.lr=1e-3", *overrides])
    return launch(document, resume, [heard] if heard else [])


def test_a_resumed_run_keeps_the_settings_that_were_chosen(tmp_path: Path, model_folder: Path) -> None:
    """The manifest has them; the user's own go first. The model is small, so that any machine has room for the most."""
    rows = [{"prompt": f"{n}+", "completion": f"{n}={n}"} for n in range(20)]
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = run(tmp_path, model_folder, 1).folder / "manifest.json"
    manifest = read_signed_json(path)
    assert manifest
    assert manifest["chosen"]["token_budget"] == 16384
    manifest["chosen"]["token_budget"] = 24  # as on a machine with little memory
    path.write_text(signed_json(manifest))
    texts: list[str] = []
    hear = lambda e: texts.append(str(e.start.engine["memory"])) if isinstance(e, Opened) else None
    run(tmp_path, model_folder, 2, resume=True, heard=hear)
    assert "micro-batches of 24 tokens" in texts[0]
    run(tmp_path, model_folder, 3, "token_budget=100", resume=True)
    assert json.loads(path.read_text())["chosen"]["token_budget"] == 24


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from /proc")
def test_weights_that_cannot_fit_are_refused_before_they_are_read(deep: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    document = documents.Document({"method": "sft"}, {})
    documents.override(document, [f"model={deep / 'model'}", f"data={deep / 'rows.jsonl'}", f"output={deep / 'none'}"])
    prepared = check(document)
    gc.collect()  # what the check, or a test before, still held would be free to the weights
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 20 * 2**20, before[1]))
    try:
        with pytest.raises(ConfigError, match=r"memory: the weights of .* take .* GiB are free"):
            build_engine(prepared)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "config.json").exists(), reason="make real-model puts the model there")
def test_the_first_command_of_the_readme_on_a_real_model_within_5_gib(tmp_path: Path) -> None:
    """16 prompts x 8 answers would take 22 GiB in one micro-batch; fewer and shorter ones here, for the minutes."""
    rows = [{"prompt": [{"role": "user", "content": f"What is {n} + 2?"}], "answer": str(n + 2)} for n in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "my_rewards.py").write_text(RIGHT)
    few = ["steps=1", "prompts_per_step=4", "sampling.max_tokens=24", "output=run"]
    given = ["train", "grpo", f"model={REAL}", "data=prompts.jsonl", "reward=my_rewards.py:right", *few]
    done = limited(5120, *given, cwd=tmp_path, base=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(tmp_path / "run").manifest["chosen"]["token_budget"] < 900
    refused = limited(2048, *given[:-1], "output=other", cwd=tmp_path, base=False)
    assert refused.returncode == 2 and "model.lora.rank=16" in refused.stderr
