"""Whole runs on a tiny task, judged by what the model then writes, not by its loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.cli.export import export
from postlude.errors import ConfigError, RewardError
from postlude.launch import launch
from postlude.models.load import Lora, load
from postlude.models.spec import ModelSpec
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Step
from tests.cases import COMPOSED, LORA, METHODS, SHORTER, TALKS, TEACHERS
from tests.learning import Case, chosen, figures, keeps, run, weights


def test_sft_learns_to_write_like_its_teachers(world: Path) -> None:
    assert keeps(TEACHERS, world).first["sampled/accuracy"] < 0.1


@pytest.mark.parametrize("case", chosen(METHODS, "grpo", "dapo", "drpo", "gspo", "reinforce", "ahead", "own-method"))
def test_method_raises_held_out_accuracy(world: Path, case: Case) -> None:
    keeps(case, world)


def test_composed_rewards_teach_form_answer_and_brevity(world: Path) -> None:
    done = keeps(COMPOSED, world).run
    assert {"gate/format", "reward/exact/used", "reward/length/used"} <= figures(done, "step")[-1].keys()


def test_drpo_answers_get_shorter_while_they_get_better(world: Path) -> None:
    assert keeps(SHORTER, world).first["sampled/length"] > 5  # half of the teachers write four dots, half write one


def test_lora_trains_an_adapter_against_the_disabled_one(world: Path) -> None:
    done = keeps(LORA, world).run
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(world / "sft/model")
    adapted = PeftModel.from_pretrained(base, done.folder / "model")
    ids = AutoTokenizer.from_pretrained(done.folder / "model")("ab>", return_tensors="pt").input_ids
    assert adapted(input_ids=ids).logits.shape[:2] == (1, 3)
    steps = figures(done, "step")
    assert abs(steps[0]["kl_ref/k3"]) < 1e-6
    assert steps[-1]["kl_ref/k3"] > 1e-4


def test_checkpoints_open_in_plain_transformers(world: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = world / "sft" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("ca>", return_tensors="pt").input_ids
    text = tokenizer.decode(model.generate(ids, max_new_tokens=10, do_sample=False)[0], skip_special_tokens=True)
    assert text.startswith("ca>.") and "#" in text
    assert "postlude" not in (folder / "config.json").read_text()


@pytest.mark.parametrize(
    ("method", "extra"),
    [("sft", {}), ("grpo", {}), ("dapo", {}), ("hapo", {}), ("grpo", {"max_lag": 1}), ("dapo", {"max_lag": 1})],
)
def test_a_resumed_run_ends_like_one_that_never_stopped(world: Path, method: str, extra: dict[str, Any]) -> None:
    """Sampling ahead included: the draw that waits to be trained on is part of the checkpoint."""
    model = "model" if method == "sft" else "sft/model"
    name = method + "-ahead" * bool(extra)
    whole = run(world, method, model, output=f"{name}-whole", steps=6, **extra)
    settings = {"output": f"{name}-parts", "steps": 6, "checkpoint_every": 3, **extra}
    part = run(world, method, model, **settings)
    # as if it had been killed after step 3
    import shutil

    shutil.rmtree(part.checkpoints[-1])
    part._lock.close()  # type: ignore[attr-defined]
    again = run(world, method, model, resume=True, **settings)
    assert again.step == 6
    for key, value in weights(whole.folder).items():
        assert torch.equal(value, weights(again.folder)[key]), key
    assert figures(whole, "step") == figures(again, "step")
    for file in sorted((whole.folder / "rollouts").iterdir()):
        assert file.read_text() == (again.folder / "rollouts" / file.name).read_text(), file.name


def test_ctrl_c_saves_and_resume_goes_on(world: Path) -> None:
    import os
    import signal

    class Presser:
        def __call__(self, event: Any) -> None:
            if isinstance(event, Step) and event.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    values = {
        "method": "grpo",
        "model": {"path": str(world / "sft/model")},
        "data": {"path": str(world / "prompts.jsonl")},
        "reward": [{"use": "exact", "args": {"after": "#"}}],
        "output": str(world / "interrupted"),
        "steps": 4,
        "prompts_per_step": 4,
        "sampling": {"max_tokens": 8},
    }
    stopped = launch(Document(dict(values)), listeners=[Presser()])
    assert stopped.stop and stopped.step < 4
    assert stopped.checkpoints
    assert figures(stopped, "end")[0]["reason"] == "interrupted"
    stopped._lock.close()  # type: ignore[attr-defined]
    assert launch(Document(dict(values)), resume=True).step == 4


def test_rollouts_hold_every_trained_completion_with_its_rewards(world: Path) -> None:
    done = run(world, "dapo", "sft/model", output="dapo-rows", steps=2)
    rows = read(done.folder).rollouts.all()
    steps = figures(done, "step")
    assert sum(r["trained"] for r in rows) == 2 * 12 * 8
    assert len(rows) >= sum(s["samples"] for s in steps)
    assert all(len(r["tokens"]) == len(r["logprobs"]) and "exact" in r["scores"] for r in rows)


def test_dynamic_sampling_gives_up_with_a_note(world: Path) -> None:
    settings = {"keep": {"max_rounds": 2}, "reward": [{"use": "regex", "args": {"pattern": "."}}]}
    done = run(world, "dapo", "sft/model", output="dapo-easy", steps=2, **settings)
    notes = figures(done, "note")
    assert notes and "gave up after 2 draws" in notes[0]["text"]
    assert figures(done, "end")


def test_nothing_accepted_is_a_note_and_no_update(world: Path) -> None:
    settings = {"reward": [{"use": "regex", "args": {"pattern": "never"}}]}
    done = run(world, "rft", "sft/model", output="rft-none", steps=1, **settings)
    assert "no answer was accepted" in figures(done, "note")[0]["text"]
    for key, value in weights(world / "sft").items():
        assert torch.equal(value, weights(done.folder)[key])


@pytest.mark.parametrize("name", ["gpt_neo", "gpt2", "llama", "gemma3"])
def test_any_architecture_trains_from_a_folder(world: Path, tokenizer: Any, name: str) -> None:
    """One that the packed path does not know takes the padded one and `generate`, and says so."""
    from tests.conftest import build

    folder = world / name
    build(name).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    done = run(world, "sft", name, output=f"{name}-sft", steps=30, schedule={"lr": 3e-3})
    losses = [s["loss/policy"] for s in figures(done, "step")]
    assert losses[-1] < 0.7 * losses[0]
    online = run(world, "grpo", f"{name}-sft/model", output=f"{name}-grpo", steps=2, updates=2)
    for step in figures(online, "step"):
        assert abs(step["mismatch/k1"]) < 1e-5
    engine = read(online.folder).manifest["engine"]
    assert engine["path"] == {"gpt_neo": "padded", "llama": "direct"}.get(name, "packed")
    assert bool(engine["path_reason"]) == (name == "gpt_neo")


def test_chat_data_goes_through_the_template(world: Path) -> None:
    """Rewards see lists of messages; only the assistant's tokens are trained."""
    keeps(TALKS, world)


def test_a_step_whose_answers_nothing_could_score_trains_nothing(world: Path) -> None:
    (world / "mute.py").write_text("def fn(completions):\n    return [None] * len(completions)\n")
    done = run(
        world,
        "grpo",
        "sft/model",
        output="mute",
        steps=1,
        reward=[{"use": f"{world}/mute.py:fn"}],
        data={"path": str(world / "prompts.jsonl")},
    )
    assert "could score none of" in figures(done, "note")[0]["text"]
    for key, value in weights(world / "sft").items():
        assert torch.equal(value, weights(done.folder)[key])


def test_an_adapter_folder_can_be_trained_on_and_is_merged_first(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files name the model by its whole path, also where the recipe gives a relative one, before and after a
    resume."""
    monkeypatch.chdir(world)
    spec = {"path": "sft/model", "lora": {"rank": 4}}
    first = run(world, "grpo", "sft/model", output="adapter", steps=2, model=spec)
    saved = json.loads((first.folder / "model" / "adapter_config.json").read_text())
    assert Path(saved["base_model_name_or_path"]).is_absolute()
    again = run(world, "grpo", "adapter/model", output="on-adapter", steps=2)
    assert (again.folder / "model" / "model.safetensors").exists()
    resumed = run(world, "grpo", "sft/model", output="adapter", steps=3, model=spec, resume=True)
    assert resumed.step == 3
    cards = {file.read_text() for file in resumed.folder.glob("checkpoints/*/README.md")}
    assert len(cards) == 1 and f"base_model: {saved['base_model_name_or_path']}\n" in cards.pop()
    assert "resumed with other settings" in figures(resumed, "note")[0]["text"]


def test_an_adapter_on_an_adapter_keeps_the_first_in_the_reference_and_is_saved_as_one(world: Path) -> None:
    from peft import PeftModel

    first = {"path": str(world / "sft/model"), "lora": {"rank": 4}}
    run(world, "grpo", "sft/model", output="below", steps=2, model=first)
    settings = {"model": {"path": str(world / "below/model"), "lora": {"rank": 8}}, "objective": {"kl": {"coef": 0.01}}}
    done = run(world, "grpo", "below/model", output="above", steps=3, **settings)
    opening = figures(done, "step")[0]
    assert abs(opening["kl_ref/k1"]) < 1e-5, "at the first step the policy is its reference, the first adapter included"
    ids = torch.arange(40).reshape(2, 20) % 50
    held = ModelSpec(str(world / "below/model"), lora=Lora(8))
    two = load(held, adapter_from=str(done.folder / "model")).eval()
    below = load(ModelSpec(str(world / "sft/model"))).eval()
    joined = PeftModel.from_pretrained(below, str(done.folder / "model")).eval()
    with torch.no_grad():
        torch.testing.assert_close(two(ids).logits, joined(ids).logits, atol=2e-5, rtol=0)
    whole = run(world, "grpo", "below/model", output="above-whole", steps=4, **settings)
    again = run(world, "grpo", "below/model", output="above", steps=4, resume=True, **settings)
    assert weights(again.folder).keys() == weights(whole.folder).keys()
    for key, value in weights(whole.folder).items():
        assert torch.equal(value, weights(again.folder)[key]), key


def test_export_merges_an_adapter_and_gives_its_logits(world: Path, tmp_path: Path) -> None:
    spec = {"path": str(world / "sft/model"), "lora": {"rank": 4}}
    done = run(world, "grpo", "sft/model", output="to-export", steps=2, model=spec)
    target = tmp_path / "whole"
    export(str(done.folder), target)
    adapted = load(ModelSpec(str(world / "sft/model"), lora=Lora(4)), adapter_from=str(done.folder / "model"))
    ids = torch.arange(40).reshape(2, 20) % 50
    with torch.no_grad():
        torch.testing.assert_close(
            load(ModelSpec(str(target))).eval()(ids).logits, adapted.eval()(ids).logits, atol=2e-5, rtol=0
        )
    with pytest.raises(ConfigError, match="exists already"):
        export(str(done.folder), target)
    with pytest.raises(ConfigError, match="no LoRA adapter"):
        export(str(world / "sft"), tmp_path / "other")


def test_sampling_ahead_learns_from_answers_one_version_old(world: Path) -> None:
    done = run(world, "grpo", "sft/model", output="ahead-short", steps=6, max_lag=1, objective={"kl": None})
    rows = read(done.folder).rollouts[6]
    assert {row["policy_version"] for row in rows} == {4}  # five steps came before, so the weights are version 5
    steps = figures(done, "step")
    assert abs(steps[0]["mismatch/k1"]) < 1e-5 < abs(steps[1]["mismatch/k1"])  # only the first draw is on-policy
    held = read(done.folder).manifest["engine"]["memory_mb"]
    assert held["sampler"] == held["weights"]


def test_sampling_ahead_without_a_correction_is_refused(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_lag is 1.*Set objective.correction"):
        run(world, "grpo", "sft/model", output="ahead-refused", max_lag=1, objective={"correction": None})
    with pytest.raises(ConfigError, match="drpo does not correct for that"):
        run(world, "drpo", "sft/model", output="ahead-refused", max_lag=1)


def test_a_method_of_ones_own_is_a_path(world: Path) -> None:
    path = str(Path(__file__).parents[2] / "examples/my_method.py") + ":SOFT"
    done = run(world, path, "sft/model", output="own-short", steps=2)
    assert "objective:" not in (done.folder / "config.yaml").read_text()  # its file sets that
    assert "my_method.py" in (done.folder / "manifest.json").read_text()


def test_a_method_of_ones_own_that_is_none_is_refused(world: Path) -> None:
    path = str(Path(__file__).parents[2] / "examples/my_method.py")
    with pytest.raises(ConfigError, match="is a type, not an Algorithm"):
        run(world, f"{path}:SoftGate", "sft/model", output="own-wrong")
    with pytest.raises(ConfigError, match="has no 'HARD'"):
        run(world, f"{path}:HARD", "sft/model", output="own-missing")
    with pytest.raises(ConfigError, match="set its objective in its file"):
        run(world, f"{path}:SOFT", "sft/model", output="own-overridden", objective={"entropy": 0.1})


def test_an_error_while_sampling_ahead_keeps_the_step_that_is_done(world: Path, tmp_path: Path) -> None:
    """Step 3 breaks the reward while step 2 is trained on: step 2 is in the events, and nothing keeps running."""
    (tmp_path / "breaks.py").write_text(
        "def fn(completions, answer, trainer_state):\n"
        "    if trainer_state.global_step == 3:\n"
        "        raise ValueError('broken')\n"
        "    return [float(c.endswith(str(a))) for c, a in zip(completions, answer)]\n"
    )
    reward = [{"use": f"{tmp_path}/breaks.py:fn"}]
    with pytest.raises(RewardError, match=r"raised ValueError at breaks.py line 3: broken"):
        run(world, "grpo", "sft/model", output="ahead-breaks", max_lag=1, reward=reward)
    assert [e["step"] for e in read(world / "ahead-breaks").of("step")] == [1, 2, 3]
