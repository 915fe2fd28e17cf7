"""A reference that is refreshed every so many steps: which policy it is, by plain transformers, and exact resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.launch import launch
from postlude.models.spec import Refreshed
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.recipe.resolution import resolve
from postlude.runs import read
from postlude.runs.folder import Run

STEPS = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of nothing yet, prompts, pairs, and a reward that likes some letters."""
    folder = tmp_path_factory.mktemp("references")
    save_tiny_model(folder / "model", layers=2, width=32, heads=2)
    prompts = [{"prompt": f"{a}{b}>"} for a in "abcd" for b in "efgh"]
    pairs = [{**p, "chosen": f"{p['prompt'][0]}!", "rejected": p["prompt"][1]} for p in prompts]
    for name, rows in (("prompts", prompts), ("pairs", pairs[:12]), ("held", pairs[12:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "likes.py").write_text(
        "def letters(completions):\n    return [sum(x in 'aeiou0123' for x in c) / (len(c) + 1) for c in completions]\n"
    )
    return folder


def run(place: Path, output: str, method: str = "grpo", every: Any = 2, resume: bool = False, **values: Any) -> Run:
    reference = values.pop("reference", {"every": every})
    model = {"path": str(place / values.pop("start", "model")), "reference": reference, **values.pop("model", {})}
    base: dict[str, Any] = {
        "method": method,
        "model": model,
        "data": {"path": str(place / "prompts.jsonl")},
        "output": str(place / output),
        "steps": STEPS,
        "prompts_per_step": 3,
        "group_size": 4,
        "schedule": {"lr": 5e-3},
        "sampling": {"max_tokens": 6},
        "reward": [{"use": f"{place}/likes.py:letters", "outcome": False}],
        "objective": {"kl": {"coef": 0.05}},
    }
    if method in ("dpo", "kto"):
        base["data"] = {"path": str(place / "pairs.jsonl"), "eval": str(place / "held.jsonl")}
        base = {k: v for k, v in base.items() if k not in ("sampling", "reward", "objective", "group_size")}
        base |= {"prompts_per_step": 8, "evaluate": {"every": 1}}
    elif method == "ppo":
        base |= {"objective": {"advantage": {"kl_coef": 0.05}}, "epochs": 2}
    accepted = values.pop("accepted", "")
    return launch(Document({**base, **values}), resume, accepted=accepted)


def events(run_: Run, kind: str) -> list[dict[str, Any]]:
    return [*read(run_.folder).of(kind)]


# ------------------------------------------------------------------------------------------------ which policy it is


def policy(place: Path, run_: Run, step: int, start: str = "model") -> Any:
    """The policy after so many steps, by plain transformers and peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = run_.folder / "checkpoints" / f"step-{step:06d}" if step else place / start
    if not (folder / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(folder).eval()
    base = AutoModelForCausalLM.from_pretrained(place / "model")
    return PeftModel.from_pretrained(base, folder).eval()


@torch.no_grad()
def logprobs(net: Any, prompt: list[int], tokens: list[int]) -> Tensor:
    logits = net(torch.tensor([prompt + tokens])).logits[0].double().log_softmax(-1)
    return torch.stack([logits[len(prompt) + i - 1, t] for i, t in enumerate(tokens)])


def rollouts(run_: Run) -> Iterator[list[tuple[list[int], list[int]]]]:
    """(prompt, answer) of every trained completion, step by step."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run_.folder / "model")
    for rows in read(run_.folder).rollouts.values():
        yield [(tokenizer(r["prompt"]).input_ids, r["tokens"]) for r in rows if r["trained"]]


def check_divergence(place: Path, done: Run, every: int, start: str = "model") -> None:
    """The logged KL of each step is that to the policy of the last refresh, by a loop over the written rollouts."""
    figures = events(done, "step")
    for step, answers in enumerate(rollouts(done)):
        live = policy(place, done, step, start)
        reference = policy(place, done, step // every * every, start)
        apart = torch.cat([logprobs(live, *a) - logprobs(reference, *a) for a in answers])
        assert figures[step]["kl_ref/k1"] == pytest.approx(float(apart.mean()), abs=2e-6), step
        assert (abs(figures[step]["kl_ref/k1"]) > 1e-5) == (step % every != 0), step
    assert [e["step"] for e in events(done, "reference")] == list(range(every, STEPS + 1, every))


KEPT: dict[str, Any] = {"checkpoint_every": 1, "keep_checkpoints": 10}


@pytest.mark.parametrize("lora", [False, True])
def test_the_reference_is_the_policy_of_the_last_refresh(place: Path, lora: bool) -> None:
    model = {"lora": {"rank": 4}} if lora else {}
    done = run(place, f"values-{lora}", model=model, every=3 if lora else 2, **KEPT)
    check_divergence(place, done, 3 if lora else 2)


def test_an_adapter_on_an_adapter_is_refreshed_whole(place: Path) -> None:
    run(place, "below", model={"lora": {"rank": 2}}, steps=2)
    done = run(place, "above", start="below/model", model={"lora": {"rank": 4}}, **KEPT)
    check_divergence(place, done, 2, "below/model")


def test_a_mixed_reference_is_a_mean_of_weights(place: Path) -> None:
    done = run(place, "mixed", reference={"every": 2, "mix": 0.25}, **KEPT)
    expected = load_file(place / "model" / "model.safetensors")
    for step in (2, 4):
        folder = done.folder / "checkpoints" / f"step-{step:06d}"
        policy_ = load_file(folder / "model.safetensors")
        expected = {k: 0.25 * policy_[k].double() + 0.75 * v.double() for k, v in expected.items()}
        held = load_file(folder / "trainer" / "reference.safetensors")
        assert held.keys() == expected.keys()
        for key, value in held.items():
            torch.testing.assert_close(value.double(), expected[key], atol=1e-7, rtol=1e-6)


def test_dpo_forgets_what_the_old_reference_said(place: Path) -> None:
    """Margins are measured against the last refresh, on trained and on held-out rows."""
    done = run(place, "dpo-values", "dpo", prompts_per_step=12, updates=2, **KEPT)
    margins = {e["step"]: e["held_out/rewards/margin"] for e in events(done, "eval")}
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(done.folder / "model")
    rows = [json.loads(line) for line in (place / "held.jsonl").read_text().splitlines()]
    for step in (1, 2, 3, 4):
        live, reference = (policy(place, done, s) for s in (step, (step - 1) // 2 * 2))

        def rewarded(row: dict[str, str], side: str, live: Any = live, reference: Any = reference) -> float:
            prompt = tokenizer(row["prompt"]).input_ids
            answer = [*tokenizer(row[side]).input_ids, tokenizer.eos_token_id]
            return 0.1 * float((logprobs(live, prompt, answer) - logprobs(reference, prompt, answer)).sum())

        expected = [rewarded(r, "chosen") - rewarded(r, "rejected") for r in rows]
        assert margins[step] == pytest.approx(sum(expected) / len(expected), abs=1e-5), step


# ------------------------------------------------------------------------------------------------------ exact resume

CONTROL = {"kind": "proportional", "target": 0.01, "unit": "token", "horizon": 50}
CASES: dict[str, dict[str, Any]] = {
    "grpo": {"kl_control": CONTROL, "updates": 2},
    "ahead": {"max_lag": 1, "objective": {"kl": {"coef": 0.05}, "correction": {"mode": "token_truncate"}}},
    "adapter": {"model": {"lora": {"rank": 4}}, "kl_control": CONTROL},
    "ppo": {"method": "ppo", "critic": {"form": "own"}},
    "ppo_trunk": {"method": "ppo", "critic": {"form": "trunk"}},
    "dpo": {"method": "dpo"},
    "kto": {"method": "kto"},
    "mix": {"mix": 0.5},
    "padded": {"model": {"packed": False}},
    "bfloat16": {"model": {"dtype": "bfloat16"}},
    "float64": {"model": {"dtype": "float64", "lora": {"rank": 4}}},
}


def saved(run_: Run) -> dict[str, Tensor]:
    """Every tensor of the newest checkpoint."""
    folder = run_.checkpoints[-1]
    return {
        f"{p.relative_to(folder)}: {name}": tensor
        for p in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(p).items()
    }


ALL = [(case, every) for case in ("grpo", "adapter", "dpo") for every in (1, 2, 3)]


@pytest.mark.parametrize(("case", "every"), [*ALL, *((case, 2) for case in CASES if (case, 2) not in ALL)])
def test_two_steps_and_two_more_are_four(place: Path, case: str, every: int) -> None:
    """The refresh falls before, at and after the checkpoint."""
    settings = dict(CASES[case])
    settings["reference"] = {"every": every, "mix": settings.pop("mix", 1.0)}
    whole = run(place, f"{case}-{every}-whole", **settings)
    # a shorter run samples nothing ahead of its end: there the longer one is cut off instead
    first = {"checkpoint_every": 2} if case == "ahead" else {"steps": 2}
    part = run(place, f"{case}-{every}-parts", **{**settings, **first})
    if case == "ahead":
        shutil.rmtree(part.checkpoints[-1])
    again = run(place, f"{case}-{every}-parts", resume=True, **settings)
    assert events(whole, "step") == events(again, "step")
    expected, found = saved(whole), saved(again)
    assert expected.keys() == found.keys()
    assert any("reference.safetensors" in name for name in found)
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_a_run_resumed_with_a_fixed_reference_has_the_start_again(place: Path) -> None:
    run(place, "turned", steps=2, every=1)
    fixed = run(place, "turned", reference="start", resume=True, accepted="settings", **KEPT)
    assert any("model.reference {'every': 1, 'mix': 1.0} -> start" in note["text"] for note in events(fixed, "note"))
    for step, answers in enumerate(rollouts(fixed)):
        if step < 2:
            continue
        live, reference = policy(place, fixed, step), policy(place, fixed, 0)
        apart = torch.cat([logprobs(live, *a) - logprobs(reference, *a) for a in answers])
        assert events(fixed, "step")[step]["kl_ref/k1"] == pytest.approx(float(apart.mean()), abs=2e-6)


# -------------------------------------------------------------------------------------------------------- the check


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("reward_model", ["model.reference.every=2"], "reward_model compares with no reference here; remove the line"),
        ("simpo", ["model.reference.every=2"], "simpo compares with no reference here"),
        ("grpo", ["model.reference.every=2", "objective.kl=null"], "give the method a KL against the reference"),
        ("drpo", ["model.reference.every=2"], "(objective.hinge=null objective.kl.coef=0.01)"),
        ("grpo", ["model.reference.every=0"], "every must be at least 1, got 0"),
        ("grpo", ["model.reference={every: 2, mix: 0}"], "mix must lie in (0, 1], got 0"),
        ("grpo", ["model.reference={evry: 2}"], "did you mean 'model.reference.every'?"),
        (
            "grpo",
            ["model.reference=strt"],
            "start, none, or a mapping of every and mix. Did you mean 'start'?",
        ),
        ("grpo", ["model.reference={every: 2, mix: 0.5}", "model.lora.rank=2"], "adapters cannot be mixed"),
    ],
)
def test_a_reference_that_cannot_be_refreshed_is_refused(
    place: Path, method: str, settings: list[str], said: str
) -> None:
    data = "pairs" if method in ("reward_model", "simpo") else "prompts"
    words = ["train", method, f"model={place}/model", f"data={place}/{data}.jsonl", f"output={place}/never"]
    words += [] if data == "pairs" else [f"reward={place}/likes.py:letters"]
    with pytest.raises(ConfigError) as refused:
        CliRunner().invoke(app, [*words, *settings], catch_exceptions=False)
    assert said in " ".join(refused.value.problems)
    assert len(refused.value.problems) == (2 if "evry" in settings[0] else 1)


@pytest.mark.parametrize(
    ("theirs", "every", "mix"),
    [
        ({"sync_ref_model": True}, 512, 0.6),
        ({"sync_ref_model": True, "ref_model_sync_steps": 64, "ref_model_mixup_alpha": 1.0}, 64, 1.0),
        ({"sync_ref_model": True, "ref_model_sync_steps": 64, "num_iterations": 2}, 32, 0.6),  # counted in updates
        ({"trainer.ref_update_freq": 3}, 3, 1.0),
    ],
)
def test_other_names_of_it_mean_the_same(theirs: dict[str, Any], every: int, mix: float) -> None:
    values = {"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact", "beta": 0.04, **theirs}
    assert resolve(Document(values)).model.reference == Refreshed(every, mix)


def test_a_reference_of_this_very_step_is_remarked_on(place: Path) -> None:
    done = run(place, "itself", every=1, steps=1)
    assert "the KL to the reference is always 0" in str(events(done, "start")[0]["data"])
