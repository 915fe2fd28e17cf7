"""Everything in the suite that learns, with its settings and what it promises: see `tests/learning.py`."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from postlude.models.tiny import character_tokenizer, save_tiny_model
from tests.judging import ChatServer, Messages, between
from tests.learning import LETTERS, Case, Outcome, Promise, figures, run, training, write

EXAMPLES = Path(__file__).parents[1] / "examples"


def rises(figure: str, by: float) -> Promise:
    return Promise(figure, by, change=True)


def falls(figure: str, by: float) -> Promise:
    return Promise(figure, -by, change=True, most=True)


LEARNS = (
    rises("sampled/accuracy", 0.15),
    Promise("sampled/accuracy", 0.65),
    Promise("greedy/accuracy", 0.7),
)
"""What an online method does with a model that is right half of the time; greedy accuracy is of 16 prompts."""


def online(method: str, name: str | None = None, **settings: Any) -> Case:
    return training(name or method, method, *LEARNS, **settings)


METHODS = [
    online("grpo", objective={"kl": None}),
    online("grpo", "grpo-epochs", updates=2, epochs=2),
    online("dapo"),
    online("drpo", updates=2),
    online("rft", steps=30),
    online("rft_online"),
    online("reinforce", group_size=8),
    online("reinforce_pp", group_size=8),
    online("reinforce_pp_baseline"),
    online("rloo", schedule={"lr": 5e-4}),
    online("dr_grpo"),
    online("gspo"),
    online("cispo"),
    online("dppo"),
    online("hapo", steps=25),
    online("rloo_clip", updates=2),
    online("gspo_token"),
    online("disco", updates=2),
    online("disco_ratio", updates=2, schedule={"lr": 4e-4}, steps=25),
    online("rloo_lp", schedule={"lr": 5e-4}),
    online("alp"),
    *(
        online("grpo", f"grpo-{form}", objective={"kl": {"estimator": form, "coef": 0.01}})
        for form in ("k1", "k2", "k3", "k3_ratio", "ratio_k1")
    ),
    online("dapo", "dapo-symmetric", objective={"surrogate": {"high": 0.2}}),
    online("dapo", "dapo-static", keep=None),
    online("dapo", "dapo-per-answer", objective={"aggregate": {"mode": "seq_mean_token_mean"}}),
    online("dapo", "dapo-no-penalty", shaping=[{"kind": "plus_minus_one"}]),
    online("gspo", "gspo-sequence-tis", objective={"correction": {"mode": "sequence_truncate"}}),
    online(
        "dr_grpo",
        "dr_grpo-masked",
        updates=2,
        epochs=2,
        objective={"correction": {"mode": "sequence_mask", "low": 0.5}, "off_policy_mask": {"delta": 0.5}},
        steps=30,  # sequences that are masked teach nothing
    ),
    online("grpo", "ahead", max_lag=1, objective={"kl": None}),
    online(f"{EXAMPLES}/my_method.py:SOFT", "own-method", schedule={"lr": 5e-4}),
    online("grpo", "bf16", model={"dtype": "bfloat16"}),
]

LORA = training(
    "lora", "grpo", rises("sampled/accuracy", 0.1), model={"lora": {"rank": 8}}, schedule={"lr": 3e-3}, steps=25
)

COMPOSED = training(
    "grpo-composed",
    "grpo",
    *LEARNS,
    falls("sampled/length", 0.5),
    Promise("sampled/gate/format", 0.1, most=True),
    reward=[  # the shape of recipes/tiny/grpo-composed.yaml: a gate, and two rewards that are normalised by themselves
        {"use": "format", "gate": 1, "weight": 0.5, "args": {"pattern": r"\.+#[a-h]"}},
        {"use": "exact", "normalise": "group", "args": {"after": "#"}},
        {"use": "length", "weight": 0.3, "clip": [-1, -0.35], "shift": -1, "normalise": "group", "args": {"limit": 10}},
    ],
    steps=50,
)
SHORTER = training(
    "drpo-short", "drpo", rises("sampled/accuracy", 0.1), Promise("sampled/length", 4.9, most=True), steps=40, updates=2
)


def _taught(world: Path, seed: int) -> Outcome:
    from postlude.runs.folder import Run

    done = Run(world / "sft")  # the world's own start
    first, last = figures(done)
    return Outcome(first, last, done)


TEACHERS = Case("sft", _taught, (Promise("sampled/accuracy", 0.3), Promise("sampled/accuracy", 0.9, most=True)))


# ------------------------------------------------------------------------------------------- judged answers


def judged(method: str, data: str = "pairs", lr: float = 3e-4, **objective: float) -> Case:
    """Without a likelihood term the cheapest way to lower a wrong answer is not to end it: see docs/feedback.md."""
    return training(
        method,
        method,
        rises("sampled/accuracy", 0.2),
        rises("greedy/accuracy", -0.1),
        Promise("sampled/truncated_frac", 0.1, change=True, most=True),  # it still ends its answers
        data=lambda world: {"path": str(world / f"{data}.jsonl"), "eval": str(world / "eval.jsonl")},
        steps=120,
        prompts_per_step=16,
        schedule={"lr": lr, "warmup": 10, "decay": "linear"},
        objective=objective,
    )


JUDGED = [
    judged("dpo", nll=0.5),  # recipes/dpo.yaml
    judged("cdpo", nll=0.5),
    judged("dpo_robust", nll=0.5),
    judged("dpo_length_normalised", nll=0.5),
    judged("simpo", nll=0.5),
    judged("hinge", nll=1.0),
    judged("ipo", nll=5.0),  # its squares pull harder, so the likelihood term must too
    judged("ipo_mean", nll=10.0),
    judged("orpo", lr=1e-3),
    judged("kto", "labels", nll=0.5),
]

CRITICS = [
    online("ppo", prompts_per_step=64, steps=25, schedule={"lr": 5e-4}, critic={"lr": 3e-3, "warmup": 2}),
    online("ppo", "ppo-trunk", prompts_per_step=64, critic={"form": "trunk"}),
    online("ppo_penalty", prompts_per_step=64, critic={"lr": 3e-3}),
    online("drpo_value", schedule={"lr": 5e-4}),
    online("online_dpo", schedule={"lr": 3e-4}),
    online("expert_iteration", steps=8, prompts_per_step=32, updates=4, epochs=1),
]

TEXT_BESIDE = training(
    "ppo_ptx",
    "ppo_ptx",
    falls("pretrain/held_out/loss/policy", 0.1),
    rises("sampled/accuracy", 0.05),
    pretrain=lambda world: {"path": str(world / "text.jsonl"), "eval": str(world / "text-held.jsonl"), "rows": 32},
    prompts_per_step=64,
    critic={"lr": 3e-3},
)


def scorer(method: str, data: str, promise: Promise, steps: int = 80, lr: float = 2e-3) -> Case:
    return training(
        method,
        method,
        promise,
        data=lambda world: {
            "path": str(world / f"{data}-train.jsonl"),
            "eval": str(world / f"{data}-held.jsonl"),
            "step_separator": "#",
        },
        reward=[],
        steps=steps,
        prompts_per_step=32,
        schedule={"lr": lr, "warmup": 5, "decay": "linear"},
        evaluate={"every": 0, "prompts": 128},
    )


AGREES = "held_out/rewards/accuracy"
SCORERS = [  # a loss may rise all the same: some are sure of themselves where they err
    scorer("reward_model", "pairs", Promise(AGREES, 0.8)),
    scorer("reward_model_soft", "soft", Promise(AGREES, 0.75), steps=200, lr=1e-3),
    scorer("reward_model_binary", "labels", Promise(AGREES, 0.6), steps=400, lr=1e-3),  # an answer at a time is harder
    scorer("reward_model_pair", "pairs", Promise(AGREES, 0.75), steps=240, lr=7e-4),
    scorer("reward_model_listwise", "ranked", Promise(AGREES, 0.75), steps=160),
    scorer("reward_model_process", "steps", falls("held_out/loss/steps", 0.15)),
]


def train_scorer(world: Path, method: str, data: str, seed: int = 0, steps: int = 80) -> str:
    """The run of a reward model of one case's own: others may be running in another process."""
    own = {"steps": steps, "prompts_per_step": 32, "schedule": {"lr": 2e-3, "warmup": min(5, steps), "decay": "linear"}}
    files = {"path": str(world / f"{data}.jsonl"), "step_separator": "#"}
    done = run(world, method, "sft/model", output=f"{method}-whole", seed=seed, data=files, reward=[], **own)
    return str(done.folder)


GOLD = {"use": "exact", "weight": 0, "outcome": True, "args": {"after": "#"}}


def _followed(world: Path, seed: int) -> Outcome:
    path = train_scorer(world, "reward_model", "ranked", seed)  # lists know answers without a letter as the worst
    learned = {"use": "model", "args": {"path": [path] * 2, "combine": "worst", "dtype": "float64"}}
    done = run(world, "grpo", "sft/model", output="followed", reward=[learned, GOLD], schedule={"lr": 3e-4}, seed=seed)
    return Outcome(*figures(done), done)


FOLLOWED = Case("grpo under a reward model", _followed, (rises("sampled/reward/model", 0.25),))
"""What it likes rises; whether that is right is another matter, of a reward model this small."""


# --------------------------------------------------------------------------------------------- other loops


def likes_dots(messages: Messages) -> str:
    """A judge's reply: the more dots, the better."""
    text = messages[0]["content"]
    if "[answer 1 " in text:
        a, b = (between(text, f"answer {i}").count(".") for i in (1, 2))
        return json.dumps({"better": 0 if a == b else 1 if a > b else 2})
    return json.dumps({"score": 1 + min(between(text, "answer").count("."), 9)})


def judge(server: ChatServer, **args: Any) -> list[dict[str, Any]]:
    """The reward of a judge behind a test's server."""
    return [{"use": "judge", "args": {"url": server.url, "model": "j", "pause": 0.001, **args}}]


def under_a_judge(mode: str) -> Case:
    def learn(world: Path, seed: int) -> Outcome:
        settings = {"steps": 6, "prompts_per_step": 8, "evaluate": {"every": 0, "prompts": 4}, "output": f"dots-{mode}"}
        with ChatServer(likes_dots) as server:
            done = run(world, "grpo", "sft/model", reward=judge(server, mode=mode), seed=seed, **settings)
        steps = figures(done, "step")
        return Outcome(steps[0], steps[-1], done)

    return Case(f"dots-{mode}", learn, (rises("completion_length/mean", 0.5),))


JUDGES = [under_a_judge("score"), under_a_judge("pairs")]

CHAT = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def _chat(world: Path, seed: int) -> Outcome:
    """Learn to say a letter again, in a conversation, and be rewarded for it by a function that reads messages."""
    folder = world / "chat"
    save_tiny_model(folder / "model", seed, layers=2, width=64, heads=2)
    character_tokenizer(chat_template=CHAT).save_pretrained(folder / "model")
    talk = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": "#" + a}]} for a in LETTERS]
    write(folder / "sft.jsonl", talk)
    write(
        folder / "prompts.jsonl",
        [{"prompt": t["messages"][:1], "answer": a} for t, a in zip(talk, LETTERS, strict=True)],
    )
    write(folder / "eval.jsonl", [{"prompt": [{"role": "user", "content": "abc"}], "answer": "a"}])
    own = {"prompts_per_step": 8, "seed": seed}
    files = {"path": str(folder / "sft.jsonl")}
    run(folder, "sft", "model", steps=150, schedule={"lr": 2e-3}, reward=[], data=files, **own)
    (folder / "mine.py").write_text(
        "def fn(prompts, completions, answer):\n"
        "    assert prompts[0][0]['role'] == 'user' and completions[0][0]['role'] == 'assistant'\n"
        "    return [float(c[-1]['content'] == '#' + a) for c, a in zip(completions, answer)]\n"
    )
    reward = [{"use": f"{folder}/mine.py:fn"}]
    done = run(folder, "grpo", "sft/model", steps=4, reward=reward, sampling={"max_tokens": 6}, **own)
    steps = figures(done, "step")
    return Outcome(steps[0], steps[-1], done)


TALKS = Case("chat", _chat, (Promise("sampled_accuracy", 0.5),))


def example(name: str) -> Any:
    """A file of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _by_hand(world: Path, seed: int) -> Outcome:
    """A model taught to answer with any digit learns from examples/engine_by_hand.py that the right one is always 7."""
    folder = world / "by-hand"
    save_tiny_model(folder / "model", seed, layers=1, spread=0.08)
    prompts = [f"{i}{j}=" for i in range(10) for j in range(4)]
    write(folder / "sft.jsonl", [{"prompt": p, "completion": f"#{i % 10}"} for i, p in enumerate(prompts)])
    write(folder / "prompts.jsonl", [{"prompt": p, "answer": "7"} for p in prompts])
    taught = run(
        folder, "sft", "model", steps=40, schedule={"lr": 3e-3}, data=str(folder / "sft.jsonl"), reward=[], seed=seed
    )
    start, out = str(folder / "sft/model"), folder / "out"
    told = example("engine_by_hand").train(
        start, str(folder / "prompts.jsonl"), steps=25, lr=3e-3, max_tokens=4, output=str(out), dtype="float64"
    )
    return Outcome({}, {"right": asyncio.run(told)}, taught)


BY_HAND = Case("examples/engine_by_hand.py", _by_hand, (Promise("right", 0.8),))

CASES: Sequence[Case] = [
    TEACHERS, *METHODS, LORA, COMPOSED, SHORTER, *JUDGED, *CRITICS, TEXT_BESIDE, *SCORERS, FOLLOWED,
    *JUDGES, TALKS, BY_HAND,
]  # fmt: skip
