"""A model in float64 computes nothing in less, and what it computes is right to float64's own rounding."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from postlude.algorithms import ALGORITHMS
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.chat import LocalChat
from postlude.engines.local.direct import STATIC_ROPE, Direct
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.model import LocalModel, probe_batch
from postlude.engines.local.sampling import choose
from postlude.engines.local.scorer import LocalScorer
from postlude.engines.settings import ChatSpec, Sampling, ScorerSpec
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.runs import read
from tests.conftest import VOCABULARY, build
from tests.learning import figures, weights, write

HARMLESS = {"lift_fresh", "detach_", "_to_copy", "to", "new_empty", "set_", "zeros"}
"""Operations that make or move numbers and compute none, where they read no float64: the optimiser counts steps so."""
ELSEWHERE = {"from_pretrained", "_probe", "skeleton", "require_finite"}
"""Functions of a start, which read float32 files, look whether buffers are finite, and compare with modules that know
nothing else."""


class Coarse(TorchDispatchMode):
    """Counts the operations whose results are floats of less than 64 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        narrow, exact = _floats(out, below=8), _floats((args, kwargs), below=99) - _floats((args, kwargs), below=8)
        if narrow and (exact or func._schema.name.removeprefix("aten::") not in HARMLESS):
            stack = traceback.extract_stack()
            if not ELSEWHERE & {frame.name for frame in stack}:
                own = next((f for f in reversed(stack) if "/postlude/" in f.filename), stack[-1])
                self.seen[f"{func} in {Path(own.filename).name}:{own.lineno}"] += 1
        return out


def _floats(values: Any, below: int) -> int:
    """How many floating tensors with numbers of fewer bytes are in there."""
    tensors = [x for x in tree_leaves(values) if isinstance(x, Tensor) and x.is_floating_point()]
    return sum(x.itemsize < below for x in tensors)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer, and a few rows of every kind."""
    folder = tmp_path_factory.mktemp("float64")
    save_tiny_model(folder / "m", layers=1, width=32, heads=2)
    for part, numbers in (("", range(12)), ("-eval", range(12, 15))):
        asked = [{"prompt": f"{i}="} for i in numbers]
        write(folder / f"prompts{part}.jsonl", [{**p, "answer": p["prompt"][0]} for p in asked])
        write(folder / f"sft{part}.jsonl", [{**p, "completion": "7"} for p in asked])
        write(folder / f"pairs{part}.jsonl", [{**p, "chosen": "7", "rejected": "7."} for p in asked])
        write(
            folder / f"labels{part}.jsonl", [{**p, "completion": "7", "label": i % 2 > 0} for i, p in enumerate(asked)]
        )
    train(folder, "reward_model", "pairs")
    return folder


def train(place: Path, method: str, data: str, name: str | None = None, resume: bool = False, **values: Any) -> Any:
    reward = [{"use": "length", "args": {"limit": 6}}, {"use": "exact"}] if data == "prompts" else []
    base = {
        "method": method,
        "model": {"path": str(place / "m"), "dtype": "float64", **values.pop("model", {})},
        "data": {"path": str(place / f"{data}.jsonl"), "eval": str(place / f"{data}-eval.jsonl")},
        "reward": reward,
        "output": str(place / (name or method)),
        "steps": 2,
        "prompts_per_step": 4,
        "sampling": {"max_tokens": 4},
        "checkpoint_every": 0,
        "schedule": {"lr": 1e-3},
    }
    return launch(Document({**base, **values}), resume)


RUNS: list[tuple[str, str, dict[str, Any]]] = [
    ("grpo", "prompts", {"objective": {"kl": {"coef": 0.01}}, "updates": 2}),
    ("grpo", "prompts", {"name": "lora", "model": {"lora": {"rank": 2}}}),
    ("drpo", "prompts", {}),
    ("hapo", "prompts", {}),
    ("gspo", "prompts", {"sampling": {"max_tokens": 4, "temperature": 0.7}, "epochs": 2}),
    ("ppo", "prompts", {}),
    ("ppo", "prompts", {"name": "trunk", "critic": {"form": "trunk"}}),
    ("sft", "sft", {}),
    ("dpo", "pairs", {}),
    ("kto", "labels", {}),
    ("reward_model_binary", "labels", {}),
]


@pytest.mark.parametrize(("method", "data", "values"), RUNS, ids=[v.get("name", m) for m, _, v in RUNS])
def test_nothing_is_computed_in_less(place: Path, method: str, data: str, values: dict[str, Any]) -> None:
    with Coarse() as coarse:
        done = train(place, method, data, **values)
    assert not coarse.seen
    engine = read(done.folder).manifest["engine"]
    assert (engine["dtype"], engine["path"]) == ("float64", "direct")
    assert {x.dtype for x in weights(done.folder).values()} == {torch.float64}


def test_judges_and_reward_models_compute_nothing_in_less(place: Path) -> None:
    with Coarse() as coarse:
        scorer = LocalScorer.open(ScorerSpec(str(place / "reward_model/model"), dtype="float64"))
        assert scorer.score(["1=", "2="], ["7", "8."])
        chat = LocalChat.open(ChatSpec(model=str(place / "m"), dtype="float64"))
        assert chat._of_groups(scorer.groups(["1="], ["7"]))
    assert not coarse.seen


@pytest.mark.parametrize("run", [0, 1, 5, 6, 9], ids=["grpo", "lora", "own critic", "trunk", "memory of the reference"])
def test_a_checkpoint_keeps_every_digit(place: Path, run: int) -> None:
    method, data, values = RUNS[run]
    name, values = f"kept-{run}", {k: v for k, v in values.items() if k != "name"}
    whole = train(place, method, data, f"{name}-whole", **{**values, "steps": 4})
    train(place, method, data, name, **values)
    again = train(place, method, data, name, resume=True, **{**values, "steps": 4})
    assert figures(whole, "step") == figures(again, "step")
    for key, value in weights(whole.folder).items():
        assert torch.equal(value, weights(again.folder)[key]), key


@pytest.mark.parametrize("after", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("before", ["float64", "float32", "bfloat16"])
def test_a_checkpoint_is_taken_up_in_any_dtype(place: Path, tmp_path: Path, before: str, after: str) -> None:
    objective = ALGORITHMS["sft"].objective

    def step(engine: LocalEngine, lr: float) -> list[Tensor]:
        engine.trainer.forward_backward(objective.weigh(objective.advantages(batch)), objective)
        engine.trainer.step(lr)
        return [p.detach().double() for p in engine.trainer.parts["policy"].owned]

    engine = LocalEngine.open(str(place / "m"), dtype=before)
    batch = pack([Group(Prompt("0", "", tokens=(3, 4)), (Completion((5, 6, 7), reward=1.0),))], engine.trainer.dtype)
    for _ in range(3):
        saved = step(engine, 0.02)
    engine.write(tmp_path)
    other = LocalEngine.open(str(place / "m"), dtype=after)
    asyncio.run(other.load(tmp_path))
    batch = replace(batch, reward=batch.reward.to(other.trainer.dtype))
    for expected, p in zip(saved, other.trainer.parts["policy"].owned, strict=True):
        digits = 8e-3 if after == "bfloat16" and before != after else 1e-6
        torch.testing.assert_close(p.detach().double(), expected, rtol=digits, atol=1e-9)
    moved = [a - b for a, b in zip(step(other, 0.02), step(engine, 0.02), strict=True)]
    assert max(float(m.abs().max()) for m in moved) < (0.02 if "bfloat16" in (before, after) else 1e-5)


def plain_logprobs(hf: Any, ids: list[int]) -> Tensor:
    """[T - 1] log-probs of every token but the first, by the formulas of the papers, in float64."""
    config, body = hf.config, hf.model
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    n, d = len(ids), body.layers[0].self_attn.head_dim
    place = torch.arange(n, dtype=torch.float64)
    angle = place[:, None] * config.rope_parameters["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)

    def norm(x: Tensor, module: Any) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt() * module.weight

    def turn(x: Tensor) -> Tensor:  # [T, H, d] as complex numbers (x_i, x_{i + d/2}), times e^{i angle}
        z = torch.complex(x[..., : d // 2], x[..., d // 2 :]) * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat([z.real, z.imag], -1)

    distance = place[:, None] - place[None, :]
    window = getattr(config, "sliding_window", None) or n
    hidden = (distance < 0) | (distance >= window)
    x = body.embed_tokens.weight[torch.tensor(ids)]
    for layer in body.layers:
        a, h = layer.self_attn, norm(x, layer.input_layernorm)
        q, k, v = (m(h).view(n, -1, d) for m in (a.q_proj, a.k_proj, a.v_proj))
        if config.model_type == "qwen3":
            q, k = norm(q, a.q_norm), norm(k, a.k_norm)
        q, k, v = turn(q), turn(k).repeat_interleave(heads // kv, 1), v.repeat_interleave(heads // kv, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / d**0.5
        p = torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)
        x = x + a.o_proj(torch.einsum("hqk,khd->qhd", p, v).flatten(1))
        h, m = norm(x, layer.post_attention_layernorm), layer.mlp
        gate = m.gate_proj(h)
        x = x + m.down_proj(gate * torch.sigmoid(gate) * m.up_proj(h))
    logits = norm(x, body.norm) @ hf.get_output_embeddings().weight.T
    return torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)


@pytest.mark.parametrize("name", ["llama", "llama_tied", "qwen2", "qwen3", "mistral"])
def test_log_probs_are_those_of_the_written_out_formulas(name: str) -> None:
    model = LocalModel(build(name).double().train())
    model.choose_path()
    assert model.direct is not None, model.indirect
    batch = probe_batch(VOCABULARY)
    with torch.no_grad(), model.running(batch) as outputs:
        found = outputs(False).logprobs
    assert found is not None and found.dtype == torch.float64
    for s in range(batch.n_sequences):
        shared = (batch.sequence < 0) & (batch.group == batch.sequence_group[s])
        rows = (shared | (batch.sequence == s)).nonzero().squeeze(1)
        own = batch.mask[rows]
        expected = plain_logprobs(model.hf, batch.tokens[rows].tolist())[own[1:]]
        torch.testing.assert_close(found[rows[own]], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", STATIC_ROPE)
def test_angles_are_those_of_every_rotary_scaling(kind: str) -> None:
    import transformers as t

    more: dict[str, Any] = {"factor": 4.0, "original_max_position_embeddings": 64}
    if kind == "llama3":
        more |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope = {"rope_type": kind, "rope_theta": 5e5, **(more if kind != "default" else {})}
    config = t.LlamaConfig(
        vocab_size=9,
        hidden_size=64,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        rope_parameters=rope,
    )
    hf = t.LlamaForCausalLM(config)
    direct, position = Direct(hf.double()), torch.arange(200)
    direct.reserve(200)
    found = torch.stack(direct.angles(position), 0).squeeze(2)
    expected = torch.stack(hf.model.rotary_emb(torch.zeros(1, dtype=torch.float32), position[None])).squeeze(1)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected.double(), atol=2e-5, rtol=0)


def test_log_probs_of_draws_keep_every_digit() -> None:
    logits = torch.randn(4, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    token, logp = choose(logits, torch.full((4,), 0.3), Sampling())
    expected = torch.log_softmax(logits, -1).gather(1, token[:, None]).squeeze(1)
    torch.testing.assert_close(logp, expected, atol=1e-14, rtol=0)


def test_first_weights_are_numpys_and_the_same_for_a_seed(tmp_path: Path) -> None:
    import numpy as np

    save_tiny_model(tmp_path / "m", seed=5, layers=1, width=32, heads=2)
    engine = LocalEngine.open(str(tmp_path / "m"), dtype="float64")
    first = np.random.default_rng(5).standard_normal((len(engine.tokenizer), 32)) * 0.02
    found = engine.model.hf.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_allclose(found, first, rtol=1e-7)
