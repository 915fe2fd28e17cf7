"""The text of an answer is what was sampled: special tokens stay in it, only what ended it is left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from postlude.data import Completion, Prompt
from postlude.engines.local.engine import LocalEngine
from postlude.engines.openai import OpenAISampler
from postlude.engines.protocol import Request, Sampler
from postlude.engines.settings import Local, Optimizer, Sampling, Served
from postlude.models.chat import Renderer
from postlude.models.load import inspect
from postlude.models.said import answer_text
from postlude.models.spec import ModelSpec
from postlude.models.steps import ends, pieces
from tests.chains import marked_tokenizer, save_chain
from tests.cli.test_commands import call
from tests.serving import Server

GREEDY = Sampling(temperature=0.0, max_tokens=12)
THOUGHT = ["=", "<think>", "2", "+", "3", "</think>", "4", "<end>"]


def sampled(sampler: Sampler, tokenizer: Any, sampling: Sampling = GREEDY) -> Completion:
    async def first() -> Completion:
        wanted = [Request(tuple(tokenizer("a=").input_ids), 1)]
        (found,) = [c async for _, c in sampler.sample(wanted, sampling)]
        return found

    return asyncio.run(first())


def every_way(folder: Path, sampling: Sampling = GREEDY) -> Completion:
    """From the fast path, from `generate`, and over HTTP, which agree."""
    facts = inspect(ModelSpec(str(folder)))
    found = []
    for packed in (True, False):
        spec = ModelSpec(str(folder))
        engine = LocalEngine.start(
            spec, facts, Optimizer(), Local(packed=packed, token_budget=1024), keep_reference=False
        )
        found.append(sampled(engine.sampler, facts.tokenizer, sampling))
    with Server(folder) as server:
        there = OpenAISampler(Served(server.url, retries=0), facts.tokenizer, facts.stop_ids, facts.vocabulary)
        found.append(sampled(there, facts.tokenizer, sampling))
    assert len({(c.text, c.tokens, c.stop) for c in found}) == 1
    return found[0]


@pytest.mark.parametrize(
    ("chain", "sampling", "text", "stop"),
    [
        (THOUGHT, GREEDY, "<think>2+3</think>4", "eos"),
        ([*THOUGHT[:-1], "<eos>"], GREEDY, "<think>2+3</think>4", "eos"),
        (["=", "<tool_call>", "4", "<pad>", "5", "<unk>", "<eos>"], GREEDY, "<tool_call>4<pad>5<unk>", "eos"),
        (["=", "<eos>"], GREEDY, "", "eos"),
        (THOUGHT, Sampling(temperature=0.0, max_tokens=3), "<think>2+", "length"),
        (THOUGHT, Sampling(temperature=0.0, max_tokens=12, stop=("</think>",)), "<think>2+3</think>", "string"),
    ],
    ids=["end of turn", "end of sequence", "marks, padding, unknown", "nothing but the end", "cut", "stop string"],
)
def test_only_what_ended_an_answer_is_left_out(
    tmp_path: Path, chain: Sequence[str], sampling: Sampling, text: str, stop: str
) -> None:
    save_chain(tmp_path, chain)
    found = every_way(tmp_path, sampling)
    assert (found.text, found.stop) == (text, stop)
    tokens = chain[1:] if stop == "eos" else chain[1 : len(found.tokens) + 1]
    assert marked_tokenizer().convert_ids_to_tokens([*found.tokens]) == tokens, "what is trained on stays the tokens"


def test_a_character_cut_in_the_middle_is_shown_as_one_that_nobody_wrote() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    ids = tokenizer("a , €").input_ids
    assert answer_text(tokenizer, ids, frozenset()) == "a , €"
    assert answer_text(tokenizer, ids[:-1], frozenset()) == "a , \ufffd"


@pytest.mark.parametrize("messages", ["a=", [{"role": "user", "content": "a="}]], ids=["text", "chat"])
@pytest.mark.parametrize("text", ["<think>2+3</think>4", "<tool_call>4", "4"])
def test_an_answer_put_back_as_text_is_the_same_tokens(messages: Any, text: str) -> None:
    tokenizer = marked_tokenizer()
    stops = frozenset(tokenizer.convert_tokens_to_ids(["<eos>", "<end>"]))
    renderer = Renderer(tokenizer, stops)
    sampled_ids = tuple(tokenizer(text, add_special_tokens=False).input_ids)
    assert answer_text(tokenizer, (*sampled_ids, *stops)[: len(sampled_ids) + 1], stops) == text
    said: Any = text if isinstance(messages, str) else [{"role": "assistant", "content": text}]
    written = renderer.completion(renderer.with_tokens(Prompt("", messages)), said)
    assert written.tokens[: len(sampled_ids)] == sampled_ids and written.tokens[len(sampled_ids)] in stops


@pytest.mark.parametrize("text", ["<think>a\nb</think>\n\nc", "a\n", "<tool_call>\n4"])
def test_steps_are_those_of_the_text_with_its_marks(text: str) -> None:
    tokenizer = marked_tokenizer()
    stops = frozenset(tokenizer.convert_tokens_to_ids(["<eos>", "<end>"]))
    for stop in stops:
        tokens = (*tokenizer(text).input_ids, stop)
        found = ends(tokenizer, tokens, "\n", stops)
        assert len(found) == len(pieces(text, "\n")) and found[-1] == len(tokens) - 1


def test_format_can_be_met_by_special_tokens_in_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_chain(Path("m"), THOUGHT)
    Path("p.jsonl").write_text('{"prompt": "a=", "chosen": "<think>2</think>5"}\n')
    pattern = "{pattern: '<think>.*</think>\\d'}"
    call("eval", "m", "--data", "p.jsonl", "--reward", "format", "--reward-args", pattern, "--max-tokens", "9")
    (report,) = Path.cwd().glob("eval-*.json")
    said = json.loads(report.read_text())
    assert said["figures"]["accuracy"] == 1.0 and said["answers"][0]["completion"] == "<think>2+3</think>4"
    assert "<think>2+3</think>4" in call("sample", "m", "--data", "p.jsonl", "--max-tokens", "9", "--json")
    call("pairs", "m", "--data", "p.jsonl", "--given", "chosen", "--out", "pairs.jsonl", "-n", "1", "--max-tokens", "9")
    (row,) = map(json.loads, Path("pairs.jsonl").read_text().splitlines())
    assert (row["chosen"], row["rejected"]) == ("<think>2</think>5", "<think>2+3</think>4")
