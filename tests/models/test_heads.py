"""Scalar heads: what postlude says of an answer is what transformers says of the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from postlude.engines.local.model import LocalModel, probe_batch
from postlude.engines.local.scorer import LocalScorer
from postlude.engines.settings import ScorerSpec
from postlude.errors import EngineError
from postlude.models import scorers
from postlude.models.load import Lora, load
from postlude.models.spec import Holding, ModelSpec
from tests.conftest import VOCABULARY, build
from tests.refusals import refused

PROMPTS = ["12+3=", "7*8", "12+3=", "a long prompt of many characters: "]
ANSWERS = ["15", "56, or so i think", "#15", "yes"]


def folder_of(name: str, place: Path, tokenizer: Any) -> str:
    """A causal model of an architecture, with a tokenizer of its vocabulary."""
    net = build(name)
    net.resize_token_embeddings(len(tokenizer))
    net.generation_config.eos_token_id = tokenizer.eos_token_id
    net.save_pretrained(place / name)
    tokenizer.save_pretrained(place / name)
    return str(place / name)


def trained_head(folder: str, target: Path, tokenizer: Any) -> str:
    torch.manual_seed(0)
    net = scorers.load_scorer(folder, tokenizer.pad_token_id)
    net.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return str(target)


@pytest.mark.parametrize("name", ["qwen3", "llama", "gpt2", "gemma2", "gemma3", "mistral"])
def test_scores_are_those_of_transformers(name: str, tmp_path: Path, tokenizer: Any) -> None:
    path = trained_head(folder_of(name, tmp_path, tokenizer), tmp_path / "scorer", tokenizer)
    scorer = LocalScorer.open(ScorerSpec(path))
    found = scorer.score(PROMPTS, ANSWERS)
    theirs = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    texts = [tokenizer(p + a + "<eos>").input_ids for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    longest = max(map(len, texts))
    ids = torch.tensor([t + [tokenizer.pad_token_id] * (longest - len(t)) for t in texts])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits[:, 0]
    torch.testing.assert_close(torch.tensor(found), expected, atol=2e-5, rtol=0)
    assert float(expected.std()) > 1e-3, "scores that do not differ would show nothing"


def test_an_architecture_without_a_class_of_its_own_keeps_its_head(tmp_path: Path, tokenizer: Any) -> None:
    path = trained_head(folder_of("granite", tmp_path, tokenizer), tmp_path / "scorer", tokenizer)
    first = LocalScorer.open(ScorerSpec(path)).score(PROMPTS, ANSWERS)
    again = LocalScorer.open(ScorerSpec(path)).score(PROMPTS, ANSWERS)
    assert first == again and len({round(x, 6) for x in first}) == len(first)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "gemma3"])
def test_packed_scores_and_values_are_the_padded_ones(name: str, tmp_path: Path, tokenizer: Any) -> None:
    path = trained_head(folder_of(name, tmp_path, tokenizer), tmp_path / "scorer", tokenizer)
    batch = probe_batch(VOCABULARY - 4)
    for reads in ("scores", "values"):
        net = load(ModelSpec(path), scalar=True).eval()
        found = []
        for packed in (True, False):
            model = LocalModel(net, reads)  # type: ignore[arg-type]
            model.choose_path(packed)
            assert model.packed == packed
            with torch.no_grad(), model.running(batch) as outputs:
                result = outputs(False)
            found.append(result.scores if reads == "scores" else result.values)
        torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
        rows = batch.judged if reads == "scores" else batch.mask.nonzero().squeeze(1)
        assert bool((found[0][rows] != 0).all())
        assert int((found[0] != 0).sum()) == len(rows), "nothing is said of other tokens"


def test_a_causal_folder_is_no_reward_model(tmp_path: Path, tokenizer: Any) -> None:
    with refused("not-a-reward-model", kind=EngineError):
        LocalScorer.open(ScorerSpec(folder_of("qwen3", tmp_path, tokenizer)))


def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    path = trained_head(folder_of("qwen3", tmp_path, tokenizer), tmp_path / "scorer", tokenizer)
    bigger = type(tokenizer).from_pretrained(path)
    bigger.add_tokens(["<more>", "<and more>"])
    bigger.save_pretrained(path)
    with refused("bad-tokenizer", said="the tokenizer is not the model's", kind=EngineError):
        LocalScorer.open(ScorerSpec(path))


def test_new_heads_have_the_paper_s_spread_or_are_zero(tmp_path: Path, tokenizer: Any) -> None:
    path = folder_of("qwen3", tmp_path, tokenizer)
    torch.manual_seed(0)
    draws = torch.cat([scorers.load_scorer(path, None).score.weight.detach() for _ in range(20)])
    assert abs(float(draws.std()) - (1 / 33) ** 0.5) < 0.02
    assert not scorers.load_scorer(path, None, zero=True).score.weight.any()


def test_half_precision_leaves_the_head_alone(tmp_path: Path, tokenizer: Any) -> None:
    net = load(ModelSpec(folder_of("qwen3", tmp_path, tokenizer)), Holding("bfloat16"), scalar=True)
    assert net.score.weight.dtype == torch.float32
    assert net.base_model.embed_tokens.weight.dtype == torch.bfloat16


def test_a_lora_reward_model_comes_back_with_its_head(tmp_path: Path, tokenizer: Any) -> None:
    from postlude.models import adapters

    path = folder_of("qwen3", tmp_path, tokenizer)
    torch.manual_seed(1)
    net = load(ModelSpec(path, lora=Lora(4)), scalar=True).eval()
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn_like(p))
    ids = torch.arange(30).reshape(1, 30) % 50
    with torch.no_grad():
        expected = net(input_ids=ids).logits
        adapters.save(net, tmp_path / "adapter")
        again = load(ModelSpec(path, lora=Lora(4)), adapter_from=str(tmp_path / "adapter"), scalar=True).eval()
        torch.testing.assert_close(again(input_ids=ids).logits, expected, atol=1e-6, rtol=0)
