"""Whole runs on a tiny task, judged by what the model then writes, not by its loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.cli.export import export
from postlude.config import Document
from postlude.errors import ConfigError, RewardError
from postlude.launch import launch
from postlude.models.load import Lora, ModelSpec, load
from postlude.models.tiny import save_tiny_model
from postlude.run import Run

LETTERS = "abcdefgh"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answer a letter with its successor; teachers are wrong half of the time, and like to add dots."""
    import random

    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("world")
    rows, held = [], []
    for a in LETTERS:
        for b in LETTERS:
            right = LETTERS[(LETTERS.index(a) + 1) % 8]
            for _ in range(6):
                said = right if rng.random() < 0.5 else rng.choice(LETTERS)
                dots = "." * (4 if rng.random() < 0.5 else 1)
                row = {"prompt": f"{b}{a}>", "completion": f"{dots}#{said}", "answer": right}
                rows.append(row)
            held.append({"prompt": f"{b}{a}>", "answer": right})
    evaluation = [row for i, row in enumerate(held) if (i + i // 8) % 4 == 0]
    kept = {row["prompt"] for row in evaluation}
    train = [row for row in rows if row["prompt"] not in kept]
    unique = list({r["prompt"]: {k: r[k] for k in ("prompt", "answer")} for r in train}.values())
    for name, content in (("sft", train), ("prompts", unique), ("eval", evaluation)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in content))
    save_tiny_model(folder / "model", layers=2, width=128, heads=4)
    run(folder, "sft", "model", steps=120, prompts_per_step=48, schedule={"lr": 1e-3, "warmup": 20})
    return folder


def run(folder: Path, method: str, start: str, resume: bool = False, **values: Any) -> Run:
    """Train with sensible tiny settings; `values` go on top."""
    data = "sft" if method == "sft" else "prompts"
    base = {
        "method": method,
        "model": {"path": str(folder / start)},
        "data": {"path": str(folder / f"{data}.jsonl"), "eval": str(folder / "eval.jsonl")},
        "reward": [{"use": "exact", "args": {"after": "#"}}],
        "output": str(folder / values.pop("output", method)),
        "steps": 25,
        "prompts_per_step": 12,
        "sampling": {"max_tokens": 10},
        "schedule": {"lr": 1e-3},
        "evaluate": {"every": 0, "prompts": 16, "samples": 4},
    }
    return launch(Document({**base, **values}), resume)


def figures(run_: Run, kind: str = "eval") -> list[dict[str, float]]:
    lines = (run_.folder / "events.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["kind"] == kind]


def test_sft_learns_to_write_like_its_teachers(world: Path) -> None:
    events = [json.loads(line) for line in (world / "sft" / "events.jsonl").read_text().splitlines()]
    first, last = (e for e in events if e["kind"] == "eval")
    assert first["sampled/accuracy"] < 0.1
    assert 0.3 < last["sampled/accuracy"] < 0.9


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("grpo", {"objective": {"kl": None}}),
        ("grpo", {"updates": 2, "epochs": 2, "output": "grpo-epochs"}),
        ("dapo", {}),
        ("drpo", {"updates": 2}),
        ("rft", {"schedule": {"lr": 1e-3}, "steps": 60}),
        ("rft_online", {}),
        ("reinforce", {"group_size": 8}),
        ("reinforce_pp", {"group_size": 8}),
        ("reinforce_pp_baseline", {}),
        ("rloo", {"schedule": {"lr": 3e-4}}),
        ("dr_grpo", {}),
        ("gspo", {}),
        ("cispo", {}),
        ("dppo", {}),
        ("hapo", {"steps": 45, "schedule": {"lr": 5e-4}}),
        ("rloo_clip", {"updates": 2}),
        ("gspo_token", {}),
        ("disco", {"updates": 2}),
        ("disco_ratio", {"updates": 2, "schedule": {"lr": 4e-4}, "steps": 40}),
        ("rloo_lp", {"schedule": {"lr": 3e-4}}),
        ("alp", {}),
        *(
            ("grpo", {"objective": {"kl": {"estimator": form, "coef": 0.01}}, "output": f"grpo-{form}"})
            for form in ("k1", "k2", "k3", "k3_ratio", "ratio_k1")
        ),
        ("dapo", {"objective": {"surrogate": {"high": 0.2}}, "output": "dapo-symmetric"}),
        ("dapo", {"keep": None, "output": "dapo-static"}),
        ("dapo", {"objective": {"aggregate": {"mode": "seq_mean_token_mean"}}, "output": "dapo-per-answer"}),
        ("dapo", {"shaping": [{"kind": "plus_minus_one"}], "output": "dapo-no-penalty"}),
        ("gspo", {"objective": {"correction": {"mode": "sequence_truncate"}}, "output": "gspo-sequence-tis"}),
        (
            "dr_grpo",
            {
                "updates": 2,
                "epochs": 2,
                "objective": {"correction": {"mode": "sequence_mask", "low": 0.5}, "off_policy_mask": {"delta": 0.5}},
                "output": "dr_grpo-masked",
                "steps": 60,  # sequences that are masked teach nothing
            },
        ),
    ],
)
def test_method_raises_held_out_accuracy(world: Path, method: str, settings: dict[str, Any]) -> None:
    done = run(world, method, "sft/model", **settings)
    first, last = figures(done)
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.1
    assert last["sampled/accuracy"] > 0.65
    assert last["greedy/accuracy"] >= 0.7  # of 16 prompts


def test_composed_rewards_teach_form_answer_and_brevity(world: Path) -> None:
    """The shape of recipes/tiny/grpo-composed.yaml: a gate, and two rewards that are normalised by themselves."""
    reward = [
        {"use": "format", "gate": 1, "weight": 0.5, "args": {"pattern": r"\.+#[a-h]"}},
        {"use": "exact", "normalise": "group", "args": {"after": "#"}},
        {"use": "length", "weight": 0.3, "clip": [-1, -0.35], "shift": -1, "normalise": "group", "args": {"limit": 10}},
    ]
    done = run(world, "grpo", "sft/model", output="grpo-composed", reward=reward, steps=40)
    first, last = figures(done)
    assert last["sampled/accuracy"] > max(first["sampled/accuracy"] + 0.1, 0.65)
    assert last["sampled/gate/format"] <= first["sampled/gate/format"]
    assert last["sampled/length"] < first["sampled/length"] - 0.5
    step = figures(done, "step")[-1]
    assert {"gate/format", "reward/exact/used", "reward/length/used"} <= step.keys()


def test_drpo_answers_get_shorter_while_they_get_better(world: Path) -> None:
    first, last = figures(run(world, "drpo", "sft/model", output="drpo-short", steps=40, updates=2))
    assert first["sampled/length"] > 5  # half of the teachers write four dots, half write one
    assert last["sampled/length"] < 4.9
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.1


def test_lora_trains_an_adapter_against_the_disabled_one(world: Path) -> None:
    settings = {"model": {"path": str(world / "sft/model"), "lora": {"rank": 8}}, "schedule": {"lr": 3e-3}, "steps": 40}
    done = run(world, "grpo", "sft/model", output="lora", **settings)
    first, last = figures(done)
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.1
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


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found = folder / "model" / "model.safetensors"
    return load_file(found if found.exists() else folder / "model" / "adapter_model.safetensors")


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
            if event["kind"] == "step" and event["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

    from postlude.config import Document

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
    rows = [json.loads(x) for p in sorted((done.folder / "rollouts").iterdir()) for x in p.read_text().splitlines()]
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


def test_bf16_runs_end_to_end(world: Path) -> None:
    settings = {"model": {"path": str(world / "sft/model"), "dtype": "bfloat16"}, "steps": 15}
    first, last = figures(run(world, "grpo", "sft/model", output="bf16", **settings))
    assert last["sampled/accuracy"] > first["sampled/accuracy"]


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
    engine = json.loads((online.folder / "manifest.json").read_text())["engine"]
    assert engine["path"] == {"gpt_neo": "padded", "llama": "direct"}.get(name, "packed")
    assert bool(engine["path_reason"]) == (name == "gpt_neo")


CHAT = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def test_chat_data_goes_through_the_template(world: Path) -> None:
    """Rewards see lists of messages; only the assistant's tokens are trained."""
    from postlude.models.tiny import character_tokenizer

    folder = world / "chat"
    save_tiny_model(folder / "model", layers=2, width=64, heads=2)
    character_tokenizer(chat_template=CHAT).save_pretrained(folder / "model")
    talk = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": "#" + a}]} for a in LETTERS]
    asked = [{"prompt": [{"role": "user", "content": a}], "answer": a} for a in LETTERS]
    for name, rows in (("sft", talk), ("prompts", asked), ("eval", asked[:1])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "eval.jsonl").write_text(
        json.dumps({"prompt": [{"role": "user", "content": "abc"}], "answer": "a"}) + "\n"
    )
    run(
        folder,
        "sft",
        "model",
        steps=150,
        prompts_per_step=8,
        schedule={"lr": 2e-3},
        reward=[],
        data={"path": str(folder / "sft.jsonl")},
    )
    (folder / "mine.py").write_text(
        "def fn(prompts, completions, answer):\n"
        "    assert prompts[0][0]['role'] == 'user' and completions[0][0]['role'] == 'assistant'\n"
        "    return [float(c[-1]['content'] == '#' + a) for c, a in zip(completions, answer)]\n"
    )
    reward = [{"use": f"{folder}/mine.py:fn"}]
    done = run(folder, "grpo", "sft/model", steps=4, prompts_per_step=8, reward=reward, sampling={"max_tokens": 6})
    assert figures(done, "step")[-1]["sampled_accuracy"] > 0.5


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


def test_an_adapter_folder_can_be_trained_on_and_is_merged_first(world: Path) -> None:

    spec = {"path": str(world / "sft/model"), "lora": {"rank": 4}}
    first = run(world, "grpo", "sft/model", output="adapter", steps=2, model=spec)
    saved = json.loads((first.folder / "model" / "adapter_config.json").read_text())
    assert Path(saved["base_model_name_or_path"]).is_absolute()
    again = run(world, "grpo", "adapter/model", output="on-adapter", steps=2)
    assert (again.folder / "model" / "model.safetensors").exists()
    resumed = run(world, "grpo", "sft/model", output="adapter", steps=3, model=spec, resume=True)
    assert resumed.step == 3
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
    done = run(world, "grpo", "sft/model", output="ahead", max_lag=1, objective={"kl": None})
    first, last = figures(done)
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.1
    assert last["greedy/accuracy"] >= 0.7
    rows = [json.loads(line) for line in (done.folder / "rollouts" / "step-000006.jsonl").read_text().splitlines()]
    assert {row["policy_version"] for row in rows} == {4}  # five steps came before, so the weights are version 5
    steps = figures(done, "step")
    assert abs(steps[0]["mismatch/k1"]) < 1e-5 < abs(steps[1]["mismatch/k1"])  # only the first draw is on-policy
    held = json.loads((done.folder / "manifest.json").read_text())["engine"]["memory_mb"]
    assert held["sampler"] == held["weights"]


def test_sampling_ahead_without_a_correction_is_refused(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_lag is 1.*Set objective.correction"):
        run(world, "grpo", "sft/model", output="ahead-refused", max_lag=1, objective={"correction": None})
    with pytest.raises(ConfigError, match="drpo does not correct for that"):
        run(world, "drpo", "sft/model", output="ahead-refused", max_lag=1)


def test_a_method_of_ones_own_is_a_path(world: Path) -> None:
    path = str(Path(__file__).parents[2] / "examples/my_method.py") + ":SOFT"
    done = run(world, path, "sft/model", output="own-method", schedule={"lr": 5e-4})
    first, last = figures(done)
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.1
    assert last["greedy/accuracy"] >= 0.7
    assert "soft_gate" in (done.folder / "config.yaml").read_text()


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
    lines = (world / "ahead-breaks" / "events.jsonl").read_text().splitlines()
    assert [e["step"] for e in map(json.loads, lines) if e["kind"] == "step"] == [1, 2, 3]
