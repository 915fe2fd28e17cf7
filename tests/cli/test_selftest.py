"""postlude selftest, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import T5Config, T5ForConditionalGeneration
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.models.quiet import quiet
from postlude.selftest.table import CHECKS
from tests.refusals import refused

runner = CliRunner()


def call(*words: str, code: int = 0) -> str:
    done = runner.invoke(app, ["selftest", *words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_tiny_model_is_made_on_the_spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    said = call("--only", "packed", "--only", "saved", "--only", "merged")
    assert "a tiny model made on the spot" in said and "path direct" in said and "3 ok of 3 checks" in said
    assert [*tmp_path.rglob("*")] == [tmp_path / "temporary"], "nothing is left"


def test_json_has_every_number(model_folder: Path) -> None:
    words = (f"model={model_folder}", "engine.dtype=bfloat16", "sampling.temperature=0.5", "--json")
    report = json.loads(call(*words, "--only", "temperature", "--only", "resume", "--only", "micro-batches"))
    assert report["holds"] and report["model"] == str(model_folder) and report["dtype"] == "bfloat16"
    rows = {row["check"]: row for row in report["checks"]}
    assert [*rows] == ["micro-batches", "temperature", "resume"], "in the order of the table"
    assert rows["resume"]["differences"] == {"exact": 0.0}
    limits = {kind: limit["limit"] for kind, limit in report["tolerances"].items()}
    assert limits["gradient"] == pytest.approx(16 * 2**-8 * 2**0.5), "two layers"
    assert limits["tempered"] == 2 * limits["log-prob"], "at temperature 1/2 a logit counts twice"
    assert 0 < rows["temperature"]["differences"]["tempered"] < rows["temperature"]["tolerances"]["tempered"]


def test_what_fails_is_exit_code_2(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from postlude.engines.local.engine import LocalEngine

    real = LocalEngine.load

    async def forgetful(self: Any, *args: Any) -> None:
        await real(self, *args)
        self.trainer.optimizer.state.clear()

    monkeypatch.setattr(LocalEngine, "load", forgetful)
    said = call(f"model={model_folder}", "--only", "resume", "--only", "order", code=2)
    assert "FAILED" in said and "1 ok, 1 FAILED of 2 checks" in said


def test_padded_models_say_why_they_skip(model_folder: Path) -> None:
    report = json.loads(call(f"model={model_folder}", "engine.packed=false", "--json", "--only", "packed"))
    assert report["path"] == "padded" and report["holds"]
    assert report["checks"][0]["status"] == "skipped" and "switched off" in report["checks"][0]["reason"]


def test_settings_and_names_are_checked_together(tmp_path: Path) -> None:
    with refused("unknown-key", "group_size") as caught:
        call("model=nowhere", "group_size=4", "engine.dtype=float16")
    assert [p.code for p in caught.value.problems] == ["not-a-choice", "unknown-key"]
    with refused("unknown-name", said="Did you mean 'packed'"):
        call("--only", "pakced")
    with refused("no-such-model"):
        call(f"model={tmp_path / 'nothing'}")
    with refused("not-key-value"):
        call(str(tmp_path))


def test_what_writes_no_text_is_refused_in_a_sentence(tmp_path: Path, tokenizer: Any) -> None:
    from postlude.models.tiny import save_tiny_model

    save_tiny_model(tmp_path / "scorer", layers=1, width=32, heads=2)
    config = tmp_path / "scorer" / "config.json"
    config.write_text(
        json.dumps(
            json.loads(config.read_text())
            | {"architectures": ["Qwen3ForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
        )
    )
    with refused("reward-model-cannot-write", said="is a reward model"):
        call(f"model={tmp_path / 'scorer'}")
    with quiet():
        sizes = dict(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=60)
        T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    with refused("unsupported-model", said="causal language models only"):
        call(f"model={tmp_path / 't5'}")


def test_a_folder_that_holds_an_adapter_is_tested_with_it(tmp_path: Path, model_folder: Path) -> None:
    """Merged into its model, and as the start of another adapter."""
    from postlude.engines.local.engine import LocalEngine
    from postlude.models.lora import Lora
    from postlude.selftest.subject import Subject, update, written

    engine = LocalEngine.open(str(model_folder), lora=Lora(rank=2), token_budget=1000)
    subject = Subject(setup=None, engine=engine)  # type: ignore[arg-type]
    update(engine.trainer, subject.weighed(written(50, ((5, (9,)),))), subject.objective)
    engine.write(tmp_path / "adapter")
    names = [c.name for c in CHECKS if c.on == "adapter" or c.name in ("saved", "transformers")]
    report = json.loads(call(f"model={tmp_path / 'adapter'}", "--json", *(w for n in names for w in ("--only", n))))
    assert {row["check"]: row["status"] for row in report["checks"]} == dict.fromkeys(names, "ok")
