"""Every row of the four notes that postlude implements: what it says, which topic it is here, what shows it.

docs/notes.md is made of it. A test holds that each topic is there, that the topic has a place in the code or a source,
and that each command exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from postlude.facts.errata import ERRATA
from postlude.facts.tables import EQUAL


@dataclass(frozen=True)
class Row:
    """A row of a table, an item of a list, or a section of a note that is a feature."""

    note: str
    section: str
    text: str
    """In a few words."""
    topic: str
    """`postlude explain TOPIC`."""
    command: str
    """What shows it: on the user's own model, data or run wherever it can be measured."""


def _rows(note: str, section: str, *rows: tuple[str, str, str]) -> Iterator[Row]:
    for text, topic, command in rows:
        yield Row(note, section, text, topic, command)


DRPO = (
    *_rows(
        "drpo",
        "2, 3 Pipeline, why DRPO",
        ("SFT first", "sft", "postlude train RECIPE method=sft"),
        ("then a reward model", "reward_model", "postlude train RECIPE method=reward_model"),
        ("then DRPO against it", "drpo_value", "postlude train RECIPE method=drpo_value"),
        (
            "correct but long answers are not punished",
            "decoupled length signal",
            "postlude methods --compare drpo grpo rloo_lp",
        ),
    ),
    *_rows(
        "drpo",
        "4 Components",
        ("policy model", "drpo components", "postlude methods drpo_value"),
        ("reward model", "reward model", "postlude train RECIPE method=reward_model"),
        ("reference model (snapshot)", "error 0.1", "postlude explain error 0.1"),
        ("value function", "value function", "postlude memory RECIPE"),
        ("advantage", "advantage", "postlude explain advantage"),
        ("intuition", "drpo's two forms", "postlude methods --compare drpo drpo_value"),
    ),
    *_rows(
        "drpo",
        "5, 6 Objective",
        ("probability ratio", "probability ratio", "postlude doctor RUN"),
        ("clipped surrogate", "clipping", "postlude methods drpo_value"),
        ("clip threshold 0.1 to 0.3", "objective.surrogate.low", "postlude train RECIPE objective.surrogate.low=0.1"),
        ("return, discount 0.95 to 0.99", "error 0.9", "postlude explain objective.advantage.gamma"),
        ("value loss", "loss/value", "postlude methods drpo_value"),
        ("advantage as reward minus value", "drpo_value", "postlude methods drpo_value"),
        ("generalised advantage estimation", "gae", "postlude methods ppo"),
        (
            "lambda 0.9 to 0.97",
            "objective.advantage.lam",
            "postlude train RECIPE method=ppo objective.advantage.lam=0.9",
        ),
        ("entropy bonus", "entropy bonus", "postlude train RECIPE objective.entropy=0.01"),
        ("combined loss, c1 and c2", "drpo components", "postlude methods drpo_value"),
    ),
    *_rows(
        "drpo",
        "7, 8 Update and pseudocode",
        ("nine steps of an update", "rollout", "postlude train RECIPE method=drpo_value"),
        ("updates only when better", "error 0.13", "postlude explain error 0.13"),
        ("pseudocode", "drpo_value", "postlude methods drpo_value"),
    ),
    *_rows(
        "drpo",
        "9 Limitations",
        ("KL sensitivity", "limitation kl sensitivity", "postlude doctor RUN"),
        ("training cost", "limitation training cost", "postlude memory RECIPE"),
        ("reward hacking", "limitation reward hacking", "postlude audit REWARD DATA"),
        ("sparse, noisy rewards", "limitation sparse rewards", "postlude check RECIPE"),
        ("credit assignment", "limitation credit assignment", "postlude methods --compare drpo grpo_process ppo"),
        ("exploration against alignment", "limitation exploration", "postlude doctor RUN"),
        ("complexity", "limitation complexity", "postlude advise DATA"),
    ),
    *_rows(
        "drpo",
        "10 Summary",
        ("policy model", "mdp", "postlude sample MODEL"),
        ("reward model", "reward model", "postlude eval RUN --data PAIRS.jsonl"),
        ("DRPO algorithm", "drpo", "postlude train RECIPE method=drpo"),
        ("KL penalty", "kl penalty", "postlude train RECIPE objective.kl.coef=0.05"),
        ("goal: alignment", "alignment", "postlude review RUN"),
    ),
)
DOCTRINE = (
    *_rows(
        "rl-doctrine",
        "Decision tree",
        ("preference pairs: DPO", "have preference pairs", "postlude advise PAIRS.jsonl"),
        ("verifiable rewards: GRPO", "have verifiable rewards", "postlude advise PROBLEMS.jsonl"),
        ("nuanced alignment: PPO and a reward model", "need nuanced alignment", "postlude advise DATA"),
        ("AI feedback: RLAIF", "scale with ai feedback", "postlude advise PROMPTS.jsonl"),
        ("limited compute", "limited compute", "postlude advise DATA --gpu-memory 8"),
    ),
    *_rows(
        "rl-doctrine",
        "Comparison",
        ("DPO: pairs, low, general alignment", "dpo", "postlude methods --compare dpo grpo ppo"),
        ("GRPO: verifiable rewards, medium, maths and code", "grpo", "postlude methods --compare dpo grpo ppo"),
        ("PPO: reward and value model, high, complex alignment", "ppo", "postlude methods --compare dpo grpo ppo"),
        ("RLAIF: AI labeller, medium, scaling feedback", "rlaif", "postlude label FILE OUT --judge MODEL"),
    ),
    *_rows(
        "rl-doctrine",
        "DPO",
        ("core idea", "derivation of dpo", "postlude explain derivation of dpo"),
        ("loss", "derivation 4", "postlude train RECIPE method=dpo"),
        ("parameter beta", "beta", "postlude train RECIPE method=dpo objective.link.beta=0.1"),
        ("parameter learning rate, 1e-5 to 1e-6", "schedule.lr", "postlude methods dpo"),
        ("parameter lora_rank 32", "rank dpo", "postlude train RECIPE method=dpo model.lora.rank=32"),
        ("beta 0.05", "beta 0.05", "postlude advise DATA"),
        ("beta 0.1", "beta 0.1", "postlude advise DATA"),
        ("beta 0.5", "beta 0.5", "postlude advise DATA"),
        ("beta 1 and above", "beta 1", "postlude advise DATA"),
        ("data format", "pairwise feedback", "postlude data check PAIRS.jsonl"),
        ("pairs from N scored samples", "pairs", "postlude pairs MODEL --data PROMPTS.jsonl --out PAIRS.jsonl"),
    ),
    *_rows(
        "rl-doctrine",
        "GRPO",
        ("no critic: the group's mean", "no value model", EQUAL.format("grpo")),
        ("algorithm", "outcome supervision", "postlude train RECIPE method=grpo"),
        ("memory: PPO 48 GB", "memory of ppo", EQUAL.format("ppo")),
        ("memory: GRPO 24 GB", "memory of grpo", EQUAL.format("grpo")),
        ("memory: GRPO with LoRA 16 GB", "memory of grpo with lora", EQUAL.format("grpo") + " model.lora.rank=16"),
        ("LoRA matches full training in RL", "lora for rl", "postlude train RECIPE model.lora.rank=1"),
        ("ranks for 8B", "rank 8b", "postlude advise DATA --model MODEL"),
        ("ranks for 70B", "rank 70b", "postlude advise DATA --model MODEL"),
        ("reward for maths", "maths", "postlude audit maths DATA"),
        ("reward for code", "code", "postlude audit code DATA"),
    ),
    *_rows(
        "rl-doctrine",
        "PPO",
        ("when to use it", "need nuanced alignment", "postlude advise DATA"),
        ("component: reward model", "reward_model", "postlude train RECIPE method=reward_model"),
        ("component: value model", "value function", "postlude memory RECIPE"),
        ("component: policy model", "mdp", "postlude memory RECIPE"),
        ("component: reference model", "kl penalty", "postlude memory RECIPE"),
        ("objective", "clipping", "postlude train RECIPE method=ppo"),
        ("clip_ratio 0.2", "ppo clip ratio", "postlude methods ppo"),
        ("kl_coef 0.1 (here 0.05, in the reward)", "ppo kl coefficient", "postlude explain ppo kl coefficient"),
        ("value_coef 0.5", "ppo value coefficient", "postlude methods ppo"),
        ("entropy_coef 0.01 (here 0)", "ppo entropy coefficient", "postlude explain ppo entropy coefficient"),
        ("gae_lambda 0.95", "ppo gae's lambda", "postlude methods ppo"),
    ),
    *_rows(
        "rl-doctrine",
        "RLAIF",
        ("sample several answers", "rlaif", "postlude sample MODEL --data PROMPTS.jsonl -n 4"),
        ("AI labelling", "ai feedback", "postlude label FILE OUT --judge MODEL"),
        ("train a reward model", "reward_model_soft", "postlude train RECIPE method=reward_model_soft"),
        ("optimise by PPO or DPO", "rlhf pipeline", "postlude demo rlhf"),
        ("direct RLAIF", "direct rlaif", "postlude audit judge DATA"),
        ("constitutional AI", "constitutional ai", "postlude demo constitution"),
    ),
    *_rows(
        "rl-doctrine",
        "Reward hacking",
        ("what it is", "reward hacking", "postlude doctor RUN"),
        ("length hacking", "length hacking", "postlude audit REWARD DATA"),
        ("format hacking", "format hacking", "postlude audit REWARD DATA"),
        ("sycophancy", "sycophancy", "postlude audit REWARD DATA --sycophancy"),
        ("mitigation: KL penalty", "mitigation kl penalty", "postlude train RECIPE objective.kl.coef=0.05"),
        ("mitigation: diverse rewards", "mitigation diverse rewards", "postlude audit REWARD DATA"),
        ("mitigation: human oversight", "mitigation human oversight", "postlude review RUN"),
        ("mitigation: adversarial evaluation", "mitigation adversarial evaluation", "postlude audit REWARD DATA"),
    ),
    *_rows(
        "rl-doctrine",
        "Training tips",
        ("start with DPO", "tip start with dpo", "postlude advise DATA"),
        ("lower rate for RL", "tip lower rate for rl", "postlude check RECIPE"),
        ("reward against KL", "tip reward against kl", "postlude doctor RUN"),
        ("checkpoint often", "tip checkpoint often", "postlude train RECIPE checkpoints.every=10"),
    ),
    *_rows(
        "rl-doctrine",
        "Debugging",
        ("reward not improving", "reward not improving", "postlude doctor RUN"),
        ("reward spikes, then crashes", "reward spikes then crashes", "postlude doctor RUN"),
        ("KL exploding", "kl exploding", "postlude doctor RUN"),
        ("high reward, bad outputs", "high reward, bad outputs", "postlude doctor RUN"),
    ),
    *_rows(
        "rl-doctrine",
        "References",
        ("DPO", "dpo", "postlude methods dpo"),
        ("GRPO", "grpo", "postlude methods grpo"),
        ("PPO", "ppo", "postlude methods ppo"),
        ("Constitutional AI", "constitutional ai", "postlude demo constitution"),
        ("REINFORCE++", "reinforce_pp", "postlude methods reinforce_pp"),
    ),
)
FOR_LLMS = (
    *_rows(
        "rl-for-llms",
        "RL, alignment",
        ("what RL is", "reinforcement learning", "postlude demo"),
        ("LLM alignment", "alignment", "postlude demo rlhf"),
        ("agent, state, action, next state, reward, policy", "mdp", "postlude sample MODEL"),
        ("why not SFT alone", "why rl", "postlude check RECIPE"),
    ),
    *_rows(
        "rl-for-llms",
        "Table 1, feedback data",
        ("label: preference", "preference feedback", "postlude data convert FILE OUT --to pairs"),
        ("label: binary", "binary feedback", "postlude train RECIPE method=kto"),
        ("style: pairwise", "pairwise feedback", "postlude data check FILE"),
        ("style: listwise", "listwise feedback", "postlude train RECIPE method=reward_model_listwise"),
        ("source: human", "human feedback", "postlude review RUN"),
        ("source: AI", "ai feedback", "postlude label FILE OUT --judge MODEL"),
    ),
    *_rows(
        "rl-for-llms",
        "Table 2, reward model",
        ("form: explicit", "explicit reward", "postlude train RECIPE method=reward_model"),
        ("form: implicit", "implicit reward", "postlude eval --data PAIRS.jsonl --reward implicit"),
        ("style: pointwise", "pointwise reward", "postlude train RECIPE method=reward_model"),
        ("style: preferencewise", "preferencewise reward", "postlude train RECIPE method=reward_model_pair"),
        ("level: token", "token level", "postlude train RECIPE method=reward_model_process"),
        ("level: response", "response level", "postlude audit REWARD DATA"),
        ("source: positive", "labelled good and bad", "postlude data check FILE"),
        ("source: negative", "labelled bad only", "postlude pairs MODEL --data FILE --out PAIRS.jsonl"),
    ),
    *_rows(
        "rl-for-llms",
        "RLHF",
        ("InstructGPT", "rlhf pipeline", "postlude demo rlhf"),
        ("deviation, trust region", "trust region", "postlude doctor RUN"),
        ("PPO-ptx, alignment tax", "alignment tax", "postlude train RECIPE method=ppo_ptx"),
        ("Bradley-Terry", "bradley-terry", "postlude train RECIPE method=reward_model"),
        ("reward model's objective, K answers", "reward_model", "postlude methods reward_model"),
        ("objective with KL", "kl penalty", "postlude methods ppo"),
        ("pretraining coefficient", "pretrain.coef", "postlude train RECIPE method=ppo_ptx pretrain.coef=1"),
    ),
    *_rows(
        "rl-for-llms",
        "PPO",
        ("clipped surrogate", "clipping", "postlude methods ppo"),
        ("adaptive KL", "adaptive kl", "postlude train RECIPE method=ppo_penalty"),
        ("Anthropic's setting", "error 3.13", "postlude explain error 3.13"),
        ("TRPO", "trpo", "postlude methods ppo_penalty"),
        ("ratio", "probability ratio", "postlude explain ratio/max"),
        ("advantage, lambda", "gae", "postlude methods ppo"),
        ("KL divergence", "kl_ref/k3", "postlude explain kl_ref/k3"),
    ),
    *_rows(
        "rl-for-llms",
        "DPO",
        ("why it is needed, why it works", "derivation of dpo", "postlude train RECIPE method=dpo"),
        ("optimal policy", "derivation 1", "postlude explain derivation 1"),
        ("reward reparameterised", "derivation 2", "postlude eval --data PAIRS.jsonl --reward implicit"),
        ("Bradley-Terry reparameterised", "derivation 3", "postlude explain derivation 3"),
        ("loss and gradient", "derivation 4", "postlude train RECIPE method=dpo"),
        ("four steps from PPO to DPO", "derivation of dpo", "postlude explain --kind derivation"),
    ),
    *_rows(
        "rl-for-llms",
        "GRPO",
        ("no value function", "no value model", "postlude methods --compare grpo ppo"),
        ("cost of a critic", "memory of ppo", EQUAL.format("ppo")),
        ("accuracy of a critic", "value/explained_variance", "postlude doctor RUN"),
        ("outcome supervision", "outcome supervision", "postlude train RECIPE method=grpo"),
        ("process supervision", "process supervision", "postlude train RECIPE method=grpo_process"),
    ),
)
NOTEBOOK = (
    *_rows(
        "rl-notebook",
        "Methods",
        ("SFT", "sft", "postlude train RECIPE method=sft"),
        ("PPO", "ppo", "postlude train RECIPE method=ppo"),
        ("PPO: GAE", "gae", "postlude methods ppo"),
        ("PPO: KL in the reward", "objective.advantage.kl_coef", "postlude explain objective.advantage.kl_coef"),
        ("PPO: the red question", "error 1.4", "postlude explain clipping"),
        ("DPO, averaged", "dpo_length_normalised", "postlude methods --compare dpo dpo_length_normalised"),
        ("RFT", "rft", "postlude train RECIPE method=rft"),
        ("GRPO", "grpo", "postlude train RECIPE method=grpo"),
        ("DAPO", "dapo", "postlude train RECIPE method=dapo"),
    ),
    *_rows(
        "rl-notebook",
        "DAPO's parts",
        ("clip-higher", "clip-higher", "postlude train RECIPE objective.surrogate.high=0.28"),
        ("dynamic sampling", "dynamic sampling", "postlude train RECIPE method=dapo"),
        ("token-level loss", "token-level loss", "postlude methods --compare grpo dapo"),
        ("overlong reward shaping", "overlong penalty", "postlude train RECIPE method=dapo"),
    ),
    *_rows(
        "rl-notebook",
        "Discussion",
        ("scaling laws of overoptimisation", "overoptimisation", "make study-overoptimization"),
        ("reward hacking", "reward hacking", "postlude doctor RUN"),
    ),
)
ROWS: tuple[Row, ...] = (*DRPO, *NOTEBOOK, *DOCTRINE, *FOR_LLMS)
TITLES = {
    "drpo": "Decoupled Reward Policy Optimization",
    "rl-notebook": "RL notebook",
    "rl-doctrine": "Reinforcement Learning Doctrine",
    "rl-for-llms": "RL for LLMs",
}
"""Note -> its title."""


def markdown() -> Iterable[str]:
    """docs/notes.md, line by line."""
    yield from (
        "# The notes, row by row",
        "",
        "Made by `make docs` from `src/postlude/facts/notes.py`. postlude implements four notes on reinforcement "
        "learning",
        "for language models. Every row of their tables and every claim that is a feature is listed with the topic "
        "that",
        "explains it here (`postlude explain TOPIC`) and a command that shows it, measured where it can be measured.",
        f"{len(ROWS)} rows, and {len(ERRATA)} errors of the notes that are corrected here.",
    )
    for note, title in TITLES.items():
        yield from ("", f"## {title}", "", "| section | row | `postlude explain` | shown by |", "|---|---|---|---|")
        for row in (row for row in ROWS if row.note == note):
            yield f"| {row.section} | {row.text} | `{row.topic}` | `{row.command}` |"
    yield from (
        "",
        "## Corrected errors",
        "",
        "Numbers are those of section 14 of [specification.md](specification.md).",
        "",
    )
    yield from ("| error | note | it says | right is | tested by |", "|---|---|---|---|---|")
    for erratum in ERRATA:
        tests = ", ".join(f"`{test}`" for test in erratum.tested) or "a matter of words"
        cells = (f"`error {erratum.number}`", erratum.note, erratum.says, erratum.right, tests)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
