"""Topics of the small tables: rows of beta, ranks, rates, memory and PPO's usual settings."""

from __future__ import annotations

from collections.abc import Iterator

from postlude.facts.tables import ADAPTER_FACTOR, BETAS, DPO_RANK, EQUAL, MEMORY, PPO_SETTINGS, RANKS, RATES
from postlude.facts.topic import Topic

ROW = "setting"
BETA = "docs/specification.md, section 5"
LORA = "docs/specification.md, section 11"
PPO = "docs/specification.md, section 3.9"


def settings() -> tuple[Topic, ...]:
    return (*_betas(), *_ranks(), *_rates(), *_memory(), *_ppo())


def _betas() -> Iterator[Topic]:
    yield Topic(
        "beta",
        "how strongly preference methods hold to the reference",
        ROW,
        "The pull to the reference in dpo and its relatives: the higher, the closer the policy stays. As a reward it "
        "is "
        "the scale of the implicit one.",
        formula="\n".join(f"{beta.value:<5g} {beta.effect}" for beta in BETAS),
        healthy="0.1; go by how far the policy may move, not by habit",
        bad_at="The numbers are for summed log-ratios. Methods that average over tokens (dpo_length_normalised, simpo) "
        "take 2 to 10.",
        source=BETA,
        place="facts/tables.py:BETAS",
        see=("objective.link.beta", *(f"beta {beta.value:g}" for beta in BETAS), "dpo", "kl penalty"),
        words=("dpo beta", "temperature of dpo", "when beta matters"),
        shows=("postlude advise DATA", "postlude train RECIPE method=dpo objective.link.beta=0.3"),
    )
    for beta in BETAS:
        yield Topic(
            f"beta {beta.value:g}",
            "DPO's beta",
            ROW,
            f"With beta {beta.value:g} and above: {beta.effect}."
            if beta is BETAS[-1]
            else f"With beta {beta.value:g}: {beta.effect}.",
            source=BETA,
            place="facts/tables.py:BETAS",
            see=("beta", "objective.link.beta"),
            words=(f"beta={beta.value:g}", f"beta={beta.value}"),
        )


def _ranks() -> Iterator[Topic]:
    for rank in RANKS:
        yield Topic(
            f"rank {rank.billions:g}b",
            f"LoRA ranks for a model of {rank.billions:g}B parameters",
            ROW,
            f"{rank.sft} for SFT, {rank.rl} where rewards teach. Starting points: where rewards teach, rank 1 was "
            f"found "
            "to do, and the notes print their table as if it were a finding (corrected error 2.6).",
            source=LORA,
            place="facts/tables.py:RANKS",
            see=("lora for rl", "model.lora.rank", "error 2.6"),
            words=("lora ranks", "rank table", f"{rank.billions:g}b"),
            shows=("postlude advise DATA --model MODEL",),
        )
    yield Topic(
        "rank dpo",
        "LoRA rank for DPO",
        ROW,
        f"The notes' {DPO_RANK}, whatever the size; a lower one often does.",
        source=LORA,
        place="facts/tables.py:DPO_RANK",
        see=("lora for rl", "dpo", "model.lora.rank"),
        words=("dpo lora rank",),
    )


def _rates() -> Iterator[Topic]:
    yield Topic(
        "rates",
        "learning rates",
        ROW,
        f"With AdamW and all weights trained; an adapter takes {ADAPTER_FACTOR:g} times as much, and a method's own "
        "rate is taken where none is given.",
        formula="\n".join(f"{rate.full:<7.0e} {rate.training}: {rate.remark}" for rate in RATES),
        source=LORA,
        place="facts/tables.py:RATES",
        see=("schedule.lr", "tip lower rate for rl", "error 2.7"),
        words=("learning rates", "lr table"),
        shows=("postlude methods NAME",),
    )


def _memory() -> Iterator[Topic]:
    for row in MEMORY:
        name = {"PPO (policy and critic)": "ppo", "GRPO (policy only)": "grpo", "GRPO with LoRA": "grpo with lora"}
        yield Topic(
            f"memory of {name[row.setting]}",
            f"memory of an 8B model: {row.setting}",
            ROW,
            f"The notes say about {row.gigabytes:g} GB. That cannot be so for all weights trained with Adam: "
            f"{row.remark}. Measured rather than recited: `postlude memory` computes every part from the model's "
            "config, before anything is loaded."
            if "LoRA" not in row.setting
            else f"The notes say about {row.gigabytes:g} GB. That is {row.remark}. `postlude memory` computes every "
            "part from the model's config, before anything is loaded.",
            formula="full training, bytes a parameter: weights 2 + gradients 2 + float32 master 4 + Adam 8 = 16\n"
            "LoRA: 2 a frozen parameter + 16 a trained one;  reference 2 (LoRA: 0);  critic as the policy\n"
            "key-value cache: 2 * layers * heads * width of a head * 2 bytes a token;  activations on top",
            source=LORA,
            place="facts/tables.py:MEMORY",
            see=("no value model", "lora for rl", "error 2.5"),
            words=("memory efficiency", "gpu memory", "how much memory", "vram"),
            shows=tuple(EQUAL.format(method) for method in ("ppo", "grpo", "grpo model.lora.rank=16")),
        )


def _ppo() -> Iterator[Topic]:
    for usual in PPO_SETTINGS:
        yield Topic(
            f"ppo {usual.name.lower()}",
            "a usual setting of PPO",
            ROW,
            f"The notes: {usual.noted:g}. Here: {usual.key} = {usual.default:g}; {usual.remark}.",
            source=PPO,
            place="facts/tables.py:PPO_SETTINGS",
            see=("ppo", usual.key),
            words=(usual.name,),
            shows=("postlude methods ppo",),
        )
