"""The catalogue: one entry per method. Reading an entry is reading the method.

An entry fixes everything the paper fixes (specification section 15); a variant has a name of its own. `updates` is
the number of optimiser steps a drawn batch is cut into, `epochs` how often it is gone through.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from postlude.errors import ConfigError
from postlude.method import Algorithm
from postlude.objectives import ContrastObjective, TokenObjective
from postlude.objectives.advantages import (
    GAE,
    Constant,
    DecoupledReward,
    DecoupledValue,
    GroupBaseline,
    Indicator,
    LeaveOneOut,
    ProcessSteps,
    Reward,
    RewardToGo,
    WhitenedGroupBaseline,
)
from postlude.objectives.contrast import (
    KTO,
    Binary,
    Hinge,
    Logistic,
    PlackettLuce,
    SoftLogistic,
    Squared,
    Steps,
)
from postlude.objectives.divergence import KL, KLHinge
from postlude.objectives.surrogates import Cispo, Clip, Linear, ProbabilityMask
from postlude.objectives.value import ValueLoss
from postlude.objectives.weights import Aggregate, Correction
from postlude.objects import load_object
from postlude.rollouts.filters import Accepted, Extremes, Mixed
from postlude.rollouts.shaping import (
    AdaptiveLength,
    HistoryLength,
    Overlong,
    PlusMinusOne,
    RlooLength,
)

RATES = {
    "orpo": 8e-6,
    "reward_model": 9e-6,
    "reward_model_soft": 9e-6,
    "reward_model_listwise": 9e-6,
    "reward_model_binary": 9e-6,
    "reward_model_pair": 9e-6,
    "reward_model_process": 9e-6,
}
"""Rates of preference methods where they are not 1e-6 (specification section 5; InstructGPT for reward models)."""

TIS = Correction()
"""Token-level truncated importance sampling, cap 2: on whenever the sampler gives log-probs (section 17)."""

TOKEN_MEAN = Aggregate("token_mean")
SEQ_MEAN = Aggregate("seq_mean_token_mean")


def _clip(
    advantage: GroupBaseline | WhitenedGroupBaseline | RewardToGo | GAE | ProcessSteps | DecoupledValue,
    aggregate: Aggregate,
    clip: Clip | None = None,
    kl: KL | None = None,
    value: ValueLoss | None = None,
    entropy: float = 0.0,
) -> TokenObjective:
    """A clipped surrogate on the token ratio, with truncated importance sampling."""
    return TokenObjective(
        advantage, clip or Clip(), "token", aggregate, correction=TIS, kl=kl, value=value, entropy=entropy
    )


_ENTRIES = (
    # ------------------------------------------------------------------------------------------ written answers
    Algorithm(
        "sft",
        "Supervised fine-tuning: maximise the likelihood of written answers.",
        "InstructGPT, arXiv 2203.02155",
        TokenObjective(Constant(), aggregate=TOKEN_MEAN),
        source="file",
        group_size=1,
        lr=2e-5,
    ),
    # ---------------------------------------------------------------------------------------- rejection sampling
    Algorithm(
        "rft",
        "Rejection sampling: sample, keep what the reward accepts, fine-tune on it.",
        "RFT, arXiv 2308.01825",
        TokenObjective(Constant(), aggregate=SEQ_MEAN),
        keep=Accepted(),
        lr=2e-5,
    ),
    Algorithm(
        "expert_iteration",
        "Rejection sampling in rounds: sample many prompts, then fine-tune on what was accepted for a while.",
        "arXiv 1705.08439; ReST-EM, arXiv 2312.06585, without its restarts",
        TokenObjective(Constant(), aggregate=SEQ_MEAN),
        keep=Accepted(),
        updates=8,
        epochs=2,
        lr=2e-5,
    ),
    Algorithm(
        "rft_online",
        "Rejection sampling without a filter: accepted answers get advantage 1, the others 0.",
        "RFT, arXiv 2308.01825; online form as in DeepSeekMath, arXiv 2402.03300",
        TokenObjective(Indicator(), aggregate=Aggregate("accepted_mean_token_mean"), correction=TIS),
    ),
    # ------------------------------------------------------------------------------------ critic-free, no groups
    Algorithm(
        "reinforce",
        "Plain policy gradient with the batch mean as baseline.",
        "Williams 1992",
        TokenObjective(Reward("batch"), aggregate=Aggregate("seq_mean_token_sum"), correction=TIS),
        group_size=1,
    ),
    Algorithm(
        "reinforce_pp",
        "REINFORCE++: KL in the token reward, reward-to-go whitened over the batch, PPO clip.",
        "arXiv 2501.03262",
        _clip(RewardToGo(kl_coef=0.01), TOKEN_MEAN),
        group_size=1,
    ),
    # -------------------------------------------------------------------------------------- critic-free, groups
    Algorithm(
        "reinforce_pp_baseline",
        "REINFORCE++ with the group mean as baseline, whitened over the batch, k2 loss to the reference.",
        "arXiv 2501.03262",
        _clip(WhitenedGroupBaseline(), TOKEN_MEAN, kl=KL("k2", 1e-3)),
    ),
    Algorithm(
        "rloo",
        "REINFORCE leave-one-out: the other answers of the group are the baseline, KL in the reward.",
        "arXiv 2402.14740",
        TokenObjective(LeaveOneOut(0.05), aggregate=Aggregate("seq_mean_token_sum"), correction=TIS),
    ),
    Algorithm(
        "rloo_clip",
        "RLOO for several updates per draw: PPO clip on the ratio of whole answers.",
        "arXiv 2402.14740",
        TokenObjective(LeaveOneOut(0.05), Clip(), "sequence_sum", SEQ_MEAN, correction=TIS),
    ),
    Algorithm(
        "grpo",
        "Group relative policy optimisation: standardise rewards within the group, clip, k3 to the reference.",
        "DeepSeekMath, arXiv 2402.03300",
        _clip(GroupBaseline("group"), SEQ_MEAN, kl=KL("k3", 0.04)),
    ),
    Algorithm(
        "grpo_process",
        "GRPO with a reward for each step of the answer.",
        "DeepSeekMath, arXiv 2402.03300, section 4.1.3",
        _clip(ProcessSteps(), SEQ_MEAN, kl=KL("k3", 0.04)),
    ),
    Algorithm(
        "dr_grpo",
        "GRPO done right: no division by the group's deviation or by the answer's length.",
        "arXiv 2503.20783",
        _clip(GroupBaseline("none"), Aggregate("seq_mean_token_sum_norm")),
    ),
    Algorithm(
        "dapo",
        "Clip-higher, dynamic sampling, token-level loss and a soft penalty on overlong answers.",
        "arXiv 2503.14476",
        _clip(GroupBaseline("group"), TOKEN_MEAN, Clip(0.2, 0.28)),
        keep=Mixed(),
        shaping=(PlusMinusOne(), Overlong()),
    ),
    Algorithm(
        "gspo",
        "One ratio per answer, its geometric mean, clipped very tightly.",
        "arXiv 2507.18071",
        TokenObjective(GroupBaseline("group"), Clip(3e-4, 4e-4), "sequence_mean", SEQ_MEAN, correction=TIS),
        updates=4,
    ),
    Algorithm(
        "gspo_token",
        "GSPO with a gradient per token, for advantages that differ within an answer.",
        "arXiv 2507.18071, section 4.3",
        TokenObjective(GroupBaseline("group"), Clip(3e-4, 4e-4), "sequence_token", SEQ_MEAN, correction=TIS),
        updates=4,
    ),
    Algorithm(
        "cispo",
        "Clips the importance weight instead of the update, so every token keeps a gradient.",
        "MiniMax-M1, arXiv 2506.13585",
        TokenObjective(GroupBaseline("group"), Cispo(), "token", TOKEN_MEAN, correction=TIS),
    ),
    Algorithm(
        "dppo",
        "Drops a token once its probability moved too far; ratio to the sampler's own log-probs.",
        "arXiv 2602.04879",
        TokenObjective(
            GroupBaseline("none"),
            ProbabilityMask(),
            "token",
            TOKEN_MEAN,
            behaviour="rollout",
            kl=KL("k2", 2e-3, against="rollout"),
        ),
    ),
    # -------------------------------------------------------------------------------------------- short answers
    Algorithm(
        "drpo",
        "Decoupled reward: shorter correct answers weigh more among the correct; length never flips a sign.",
        "arXiv 2510.04474",
        TokenObjective(DecoupledReward(0.1), aggregate=Aggregate("group_mean_seq_sum"), hinge=KLHinge()),
        updates=4,
    ),
    Algorithm(
        "disco",
        "Discriminative constrained optimisation: DRPO without the length preference.",
        "arXiv 2505.12366",
        TokenObjective(DecoupledReward(float("inf")), aggregate=Aggregate("group_mean_seq_sum"), hinge=KLHinge()),
        updates=4,
    ),
    Algorithm(
        "disco_ratio",
        "DisCO with the likelihood ratio to the old policy as score.",
        "arXiv 2505.12366",
        TokenObjective(
            DecoupledReward(float("inf"), tau=1.0, score="ratio"),
            Linear(),
            "token",
            Aggregate("group_mean_seq_sum"),
            hinge=KLHinge(),
        ),
        updates=4,
    ),
    Algorithm(
        "rloo_lp",
        "RLOO on a correctness reward lowered for answers longer than the prompt's other correct ones.",
        "arXiv 2502.04463",
        TokenObjective(LeaveOneOut(), aggregate=Aggregate("seq_mean_token_sum"), correction=TIS),
        shaping=(RlooLength(),),
    ),
    Algorithm(
        "alp",
        "Adaptive length penalty: every token costs more on prompts that are often solved.",
        "arXiv 2506.05256",
        _clip(GroupBaseline("group"), SEQ_MEAN),
        shaping=(AdaptiveLength(),),
    ),
    Algorithm(
        "hapo",
        "History-aware: compares an answer's length with the shortest correct one seen so far.",
        "arXiv 2505.11225",
        _clip(GroupBaseline("group"), SEQ_MEAN),
        shaping=(HistoryLength(),),
    ),
    # --------------------------------------------------------------------------------------------------- critic
    Algorithm(
        "ppo",
        "Proximal policy optimisation with a critic, GAE per token and KL in the reward.",
        "arXiv 1707.06347; for language models 1909.08593, 2203.02155",
        _clip(GAE(), TOKEN_MEAN, value=ValueLoss()),
        group_size=1,
        updates=4,
    ),
    Algorithm(
        "ppo_ptx",
        "PPO with a second stream of pretraining text against forgetting.",
        "InstructGPT, arXiv 2203.02155",
        _clip(GAE(kl_coef=0.02), TOKEN_MEAN, value=ValueLoss()),
        group_size=1,
        updates=4,
        pretrain=True,
    ),
    Algorithm(
        "ppo_penalty",
        "No clip: a linear surrogate with a KL penalty to the old policy.",
        "arXiv 1707.06347, section 4",
        TokenObjective(
            GAE(), Linear(), "token", TOKEN_MEAN, kl=KL("reverse_k1", 0.5, against="old"), value=ValueLoss()
        ),
        group_size=1,
        updates=4,
    ),
    Algorithm(
        "drpo_value",
        "DRPO with a critic of the prompt, as in the DRPO note (another method than drpo).",
        "docs/specification.md, section 9.1",
        _clip(
            DecoupledValue(),
            TOKEN_MEAN,
            value=ValueLoss(0.5, clip=None, aggregate=Aggregate("seq_mean_first_token")),
            entropy=0.01,
        ),
    ),
    # ---------------------------------------------------------------------------------------------- preferences
    Algorithm(
        "online_dpo",
        "DPO on the policy's own answers: best against worst of each group, as the reward sees them.",
        "arXiv 2402.04792",
        ContrastObjective("implicit", Logistic(0.1)),
        keep=Extremes(),
    ),
    *(
        Algorithm(name, summary, cite, objective, source="preference", group_size=2, lr=RATES.get(name, 1e-6))
        for name, summary, cite, objective in (
            (
                "dpo",
                "Direct preference optimisation: the policy is its own reward model.",
                "arXiv 2305.18290",
                ContrastObjective("implicit", Logistic(0.1)),
            ),
            (
                "dpo_length_normalised",
                "DPO on per-token averages; needs a larger beta.",
                "arXiv 2305.18290, averaged",
                ContrastObjective("implicit_mean", Logistic(2.0)),
            ),
            (
                "cdpo",
                "Conservative DPO: labels are wrong with a known rate.",
                "Mitchell, 2023",
                ContrastObjective("implicit", Logistic(0.1, smoothing=0.1)),
            ),
            (
                "dpo_robust",
                "DPO, unbiased under a known rate of flipped labels.",
                "arXiv 2403.00409",
                ContrastObjective("implicit", Logistic(0.1, smoothing=0.1, robust=True)),
            ),
            (
                "ipo",
                "Squared distance of the margin to 1/(2 beta); summed log-ratios.",
                "arXiv 2310.12036",
                ContrastObjective("implicit", Squared(0.1)),
            ),
            (
                "ipo_mean",
                "IPO on per-token averages.",
                "arXiv 2310.12036, averaged",
                ContrastObjective("implicit_mean", Squared(0.1)),
            ),
            (
                "hinge",
                "SLiC: a hinge on the margin.",
                "arXiv 2305.10425",
                ContrastObjective("implicit", Hinge(0.1)),
            ),
            (
                "kto",
                "Thumbs up or down instead of pairs.",
                "arXiv 2402.01306",
                ContrastObjective("implicit", KTO()),
            ),
            (
                "orpo",
                "Likelihood of the chosen answer plus log odds against the rejected one; no reference.",
                "arXiv 2403.07691",
                ContrastObjective("log_odds", Logistic(1.0), nll=1.0, link_coef=0.1),
            ),
            (
                "simpo",
                "Average log-prob as reward, with a margin; no reference.",
                "arXiv 2405.14734",
                ContrastObjective("mean_logprob", Logistic(2.0, margin=0.5)),
            ),
            (
                "reward_model",
                "Bradley-Terry on pairs, or InstructGPT's K-wise form on ranked lists.",
                "arXiv 2203.02155",
                ContrastObjective("head", Logistic(1.0)),
            ),
            (
                "reward_model_soft",
                "Bradley-Terry on labels that are probabilities.",
                "arXiv 2309.00267",
                ContrastObjective("head", SoftLogistic()),
            ),
            (
                "reward_model_listwise",
                "Plackett-Luce on full rankings.",
                "Plackett 1975; Luce 1959",
                ContrastObjective("head", PlackettLuce()),
            ),
            (
                "reward_model_binary",
                "Thumbs up or down, absolute scores; also the pair model.",
                "arXiv 2404.04656",
                ContrastObjective("head", Binary()),
            ),
            (
                "reward_model_pair",
                "Reads both answers and says how likely the first is better; sees every pair in both orders.",
                "docs/specification.md, section 2.4",
                ContrastObjective("pair_head", Binary()),
            ),
            (
                "reward_model_process",
                "A label for each step of the answer.",
                "arXiv 2305.20050",
                ContrastObjective("head", Steps()),
            ),
        )
    ),
)

ALGORITHMS: dict[str, Algorithm] = {entry.name: entry for entry in _ENTRIES}
"""The methods: name -> `Algorithm`."""

__all__ = ["ALGORITHMS", "Algorithm"]


@cache
def find_method(method: str) -> Algorithm:
    """The entry of a name, or of a path to one."""
    if ":" not in method:
        return ALGORITHMS[method]
    algorithm = load_object(method, "method")
    if not isinstance(algorithm, Algorithm):
        raise ConfigError(
            f"method: {method!r} is a {type(algorithm).__name__}, not an Algorithm of postlude.algorithms.",
            code="wrong-object",
        )
    return replace(algorithm, name=method)
