"""The examples do what they say: the same gradient without the library, and a loop on the engine by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from postlude.algorithms import ALGORITHMS
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.engine import LocalEngine
from postlude.models.tiny import save_tiny_model
from postlude.sources.tasks import TASKS, write
from tests.cases import BY_HAND, example
from tests.learning import keeps

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("examples")
    save_tiny_model(place / "model", seed=3)
    write(TASKS["chain"], place, train=40, evaluate=8)
    return place


@pytest.mark.parametrize("kl", [0.0, 0.04])
def test_one_file_of_grpo_has_the_librarys_gradient(folder: Path, kl: float) -> None:
    """Also with a policy that has moved away from the old one and from the reference."""
    one_file = example("grpo_in_one_file")
    one_file.KL = kl
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    start = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    prompt = tokenizer("123412=", return_tensors="pt").input_ids[0]
    answers = [torch.randint(3, 50, (n,)) for n in (4, 9, 6, 13)]
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.5])
    new, real = one_file.log_probs(model, prompt, answers)
    old = new.detach() + torch.where(real, 0.3 * torch.randn_like(new), 0)
    with torch.no_grad():
        reference, _ = one_file.log_probs(start, prompt, answers)
    one_file.grpo_loss(new, old, reference, one_file.advantages(rewards), real).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}

    engine = LocalEngine.open(str(folder / "model"))
    engine.model.hf.load_state_dict(model.state_dict())
    completions = tuple(Completion(tuple(a.tolist()), reward=float(r)) for a, r in zip(answers, rewards, strict=True))
    batch = pack([Group(Prompt("0", "", tokens=tuple(prompt.tolist())), completions)])
    spread = torch.zeros(batch.tokens.shape[0])
    known = spread.clone()
    spread[batch.mask], known[batch.mask] = old[real], reference[real]
    objective = ALGORITHMS["grpo"].objective
    objective = replace(objective, correction=None, kl=replace(objective.kl, coef=kl) if kl else None)  # type: ignore[arg-type]
    batch = replace(batch, old_logprobs=spread, ref_logprobs=known if kl else None)
    update = objective.weigh(objective.advantages(batch), None)
    engine.trainer.forward_backward(update, objective)
    for name, p in engine.model.net.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(p.grad, expected[name], atol=1e-6, rtol=1e-4)


def test_one_file_of_grpo_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one_file = example("grpo_in_one_file")
    for name, value in {"STEPS": 2, "PROMPTS_PER_STEP": 2, "GROUP": 3, "MAX_TOKENS": 6}.items():
        monkeypatch.setattr(one_file, name, value)
    one_file.train(str(folder / "model"), str(folder / "prompts.jsonl"))
    assert capsys.readouterr().out.count("right") == 2


def test_a_loop_by_hand_learns_and_its_checkpoint_goes_on(tmp_path: Path) -> None:
    """A model taught to answer with any digit learns that the right one is 7 for every prompt."""
    keeps(BY_HAND, tmp_path)
    start, out = str(tmp_path / "by-hand/sft/model"), tmp_path / "by-hand/out"
    engine = LocalEngine.open(start, dtype="float64")
    before = [p.detach().clone() for p in engine.model.net.parameters()]
    asyncio.run(engine.load(out))
    saved = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float64)
    assert any(not torch.equal(a, b) for a, b in zip(before, engine.model.net.parameters(), strict=True))
    for a, b in zip(engine.model.net.parameters(), saved.parameters(), strict=True):
        assert torch.equal(a, b)
