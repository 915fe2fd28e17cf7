"""Judgement on the methods that learn from written answers or from the policy's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from postlude.facts.method import MethodFacts

GROUPS = "policy only; 8 answers sampled and scored per prompt, and one pass over them"
ANCHORED = "policy and a frozen reference (with LoRA the base weights: free); 8 answers per prompt, one more pass"
CRITIC = "policy, critic and reference, the first two with gradients and optimiser; 1 answer per prompt, 4 updates"
ALL_EQUAL = "learns nothing from a prompt whose answers all score the same"
GAMED = "pushes whatever the reward measures, flaws too (postlude audit)"

GRPO = MethodFacts(
    requires="prompts, and a reward that tells their answers apart",
    complexity="medium",
    best_for="maths, code and whatever else a program can check",
    cost=ANCHORED,
    limits=(
        ALL_EQUAL,
        "dividing by the group's deviation lets prompts that are nearly always or nearly never solved weigh most",
        "averaging per answer favours short right answers and long wrong ones",
        GAMED,
    ),
    feedback=("checkable", "scored"),
)
PPO = MethodFacts(
    requires="prompts, a reward (for preferences: a reward model trained first) and a critic",
    complexity="high",
    best_for="nuanced alignment to a reward model, and credit that differs from token to token",
    cost=CRITIC,
    limits=(
        "about twice the memory of methods without a critic, and the most settings to find",
        "a critic that predicts badly makes advantages of noise: watch value/explained_variance",
        "the reward comes at the last token, so the critic has to guess it from half an answer",
        GAMED,
    ),
    feedback=("scored", "checkable"),
)
DRPO = MethodFacts(
    requires="prompts, and a reward that says right or wrong (1 or 0)",
    complexity="medium",
    best_for="right answers that get shorter, without long right ones being punished",
    cost="policy only; 8 answers per prompt, 4 updates with one pass ahead of each, no reference",
    limits=(
        "right and wrong only: a graded reward needs a threshold (correct)",
        "prompts that are always or never solved add to the KL hinge alone",
        "the shortest right answers weigh most: where a right answer has to be long, take disco or a larger lambda",
        "beta and delta of the KL hinge are set for the authors' 1.5B and 7B models",
    ),
    feedback=("checkable",),
)
RFT = MethodFacts(
    requires="prompts, and a reward that accepts or rejects",
    complexity="low",
    best_for="a first gain on checkable tasks, and a start for RL where the base rate is low",
    cost="policy only; 8 answers sampled and scored per prompt, trained on the accepted",
    limits=(
        "learns nothing from wrong answers, so it levels off earlier than policy gradients",
        "needs some right answers: at a base rate of 0 nothing is accepted",
        "easy prompts crowd out hard ones beyond the cap per prompt (keep.per_prompt)",
    ),
    feedback=("checkable", "scored"),
)
RLOO = MethodFacts(
    requires="prompts, and a reward that tells their answers apart",
    complexity="medium",
    best_for="a plain, unbiased policy gradient with a reward model or a verifier",
    cost=ANCHORED + ", twice",
    limits=(
        ALL_EQUAL,
        "no clip: one update per draw (rloo_clip takes several)",
        "advantages keep the reward's scale, so the rate has to fit it",
    ),
    feedback=("checkable", "scored"),
)
SHORT = replace(
    GRPO,
    best_for="shorter answers on tasks that are mostly solved",
    cost=GROUPS,
)

ONLINE: Mapping[str, MethodFacts] = {
    "sft": MethodFacts(
        requires="written answers",
        complexity="low",
        best_for="format, tone and skills that somebody can write down; the start of everything else",
        cost="policy only; one pass over written text, nothing is sampled",
        limits=(
            "imitates: cannot get better than what was written, and has no notion of a worse answer",
            "one right answer per prompt, where many would do",
            "wants higher LoRA ranks than RL: text holds far more to learn than a reward",
        ),
        feedback=("answers",),
    ),
    "rft": RFT,
    "expert_iteration": replace(
        RFT,
        best_for="the same in rounds: many prompts sampled at once, then several epochs on what was accepted",
        cost="policy only; 8 answers per prompt, then 8 updates in each of 2 epochs",
        limits=(*RFT.limits, "goes through the same answers twice, so it narrows faster"),
    ),
    "rft_online": replace(
        RFT,
        best_for="rejection sampling that follows the policy step by step, in comparisons with policy gradients",
        cost=GROUPS,
        limits=(*RFT.limits[:2], "nothing removes doubles or caps easy prompts"),
    ),
    "reinforce": MethodFacts(
        requires="prompts and a reward",
        complexity="low",
        best_for="the plainest baseline; prompts that can be answered only once",
        cost="policy only; 1 answer per prompt, one pass",
        limits=(
            "noisy: one mean over the batch is the baseline, whatever the prompt's difficulty",
            "nothing bounds a step but the rate and the norm of the gradient",
        ),
        feedback=("checkable", "scored"),
    ),
    "reinforce_pp": MethodFacts(
        requires="prompts and a reward",
        complexity="medium",
        best_for="reward models on many different prompts, one answer each, without a critic",
        cost="policy and reference; 1 answer per prompt, two more passes (old policy, reference)",
        limits=(
            "the baseline is the whole batch's mean: hard prompts are punished for being hard",
            "whitening makes a step of the usual size even of a batch without signal but noise",
            GAMED,
        ),
        feedback=("scored", "checkable"),
    ),
    "reinforce_pp_baseline": replace(
        GRPO,
        best_for="GRPO without its division per group: steadier where groups are small or rewards noisy",
        limits=(ALL_EQUAL, "whitening over tokens gives long answers more say in mean and deviation", GAMED),
    ),
    "rloo": RLOO,
    "rloo_clip": replace(
        RLOO,
        best_for="RLOO where sampling is dear and a draw should serve several updates",
        limits=(ALL_EQUAL, "the ratio of whole answers explodes beyond a few hundred tokens"),
    ),
    "grpo": GRPO,
    "grpo_process": replace(
        GRPO,
        requires="prompts, and a reward that scores each step of an answer",
        best_for="long reasoning where a process reward model or rule can judge steps",
        limits=(
            "advantages add over the steps that follow: more steps, larger advantages, and padding with easy steps",
            "a step's score is noisier than the answer's",
            GAMED,
        ),
        feedback=("scored steps",),
    ),
    "dr_grpo": replace(
        GRPO,
        best_for="GRPO without its biases of length and difficulty; a good first choice for checkable tasks",
        cost=GROUPS,
        limits=(ALL_EQUAL, "no KL term: watch what else changes (add objective.kl for reward models)", GAMED),
    ),
    "dapo": replace(
        GRPO,
        best_for="long reasoning on checkable tasks, where plain GRPO loses its entropy",
        cost="policy only; 8 answers per prompt, sampled up to 10 times over until enough prompts are mixed",
        limits=(
            "dynamic sampling multiplies the sampling where most prompts are solved or hopeless",
            "no KL term: for reward models it drifts",
            "the penalty on overlong answers wants a length limit that fits the task",
        ),
        feedback=("checkable",),
    ),
    "gspo": replace(
        GRPO,
        best_for="several updates per draw, long answers, mixtures of experts: one ratio per answer",
        cost=GROUPS + " per update, of 4",
        limits=(
            ALL_EQUAL,
            "clips at 3e-4 and 4e-4: the 0.2 of other methods would never clip",
            "a single bad token is averaged away in the ratio",
        ),
    ),
    "gspo_token": replace(
        GRPO,
        best_for="GSPO with advantages that differ within an answer",
        cost=GROUPS + " per update, of 4",
        limits=(ALL_EQUAL, "equals gspo where an answer has one advantage"),
    ),
    "cispo": replace(
        GRPO,
        best_for="long runs where rare words that open a line of thought must keep their gradient",
        cost=GROUPS,
        limits=(ALL_EQUAL, "bounds the weight of a token and not the step: a high rate goes unchecked", GAMED),
    ),
    "dppo": replace(
        GRPO,
        best_for="samplers whose log-probs differ from the trainer's, and draws ahead of the trainer",
        cost=GROUPS,
        limits=(ALL_EQUAL, "needs the sampler's log-probs as they were sampled"),
    ),
    "drpo": DRPO,
    "disco": replace(
        DRPO,
        best_for="checkable tasks where length does not matter: no bias by difficulty, the hardest wrong answers first",
        limits=(DRPO.limits[0], DRPO.limits[1], DRPO.limits[3]),
    ),
    "disco_ratio": replace(
        DRPO,
        best_for="DisCO with a score by ratio, in comparisons",
        limits=(DRPO.limits[0], DRPO.limits[1], "ratios of many updates grow without a clip; the hinge alone holds"),
    ),
    "rloo_lp": replace(
        SHORT,
        requires="prompts, and a reward that says right or wrong (1 or 0)",
        limits=(
            ALL_EQUAL,
            "a long right answer can fall below the group's mean and is then pushed down (drpo keeps its sign)",
        ),
        feedback=("checkable",),
    ),
    "alp": replace(
        SHORT,
        requires="prompts, and a reward that says right or wrong (1 or 0)",
        limits=(
            "in a group that is all right the division by its deviation blows the smallest penalty up to full size",
            "in a mixed group the penalty is hardly seen, so beta does not set its strength",
        ),
        feedback=("checkable",),
    ),
    "hapo": replace(
        SHORT,
        requires="prompts that come again, and a reward that says right or wrong (1 or 0)",
        limits=(
            "its history helps only where prompts return: several epochs",
            "one lucky short answer sets the mark for good",
        ),
        feedback=("checkable",),
    ),
    "ppo": PPO,
    "ppo_ptx": replace(
        PPO,
        requires="as ppo, and plain text (pretrain)",
        best_for="PPO that must not forget what it could before: the alignment tax paid in text",
        cost=CRITIC + ", and a pass over plain text in each",
        limits=(*PPO.limits[:2], "its coefficient belongs to the scale of the loss, and has to be found"),
        feedback=("scored", "text"),
    ),
    "ppo_penalty": replace(
        PPO,
        best_for="the older form with a KL penalty instead of a clip: comparisons, and an adaptive coefficient",
        limits=(*PPO.limits[:2], "the penalty acts after the first update only; too weak and a step runs away"),
    ),
    "drpo_value": MethodFacts(
        requires="prompts, a reward that says right or wrong, and a critic",
        complexity="high",
        best_for="DRPO as the note describes it; for results take drpo",
        cost="policy and a critic of the prompt, both with gradients and optimiser; 8 answers per prompt",
        limits=(
            "another method than the published one, with parts that one dropped",
            "a critic of the prompt costs a model and tells little more than the group's mean",
        ),
        feedback=("checkable", "scored"),
    ),
    "online_dpo": MethodFacts(
        requires="prompts, and a reward that tells their answers apart",
        complexity="medium",
        best_for="DPO that keeps up with its policy, with a reward model or a judge as the labeller",
        cost="policy and reference; 8 answers sampled and scored per prompt, the best and the worst trained",
        limits=(
            "of eight answers two are used",
            "best against worst finds the reward's flaws quickly (postlude audit)",
            "likelihood displacement as in dpo",
        ),
        feedback=("scored", "checkable"),
    ),
}
