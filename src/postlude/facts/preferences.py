"""Judgement on the methods that learn from compared or judged answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from postlude.facts.method import MethodFacts

DISPLACED = "likelihood displacement: the chosen answer too can become less likely (watch displaced_frac)"
SCORER = "one model with a scalar head, trained; a run with it later holds it beside the policy"

DPO = MethodFacts(
    requires="preference pairs",
    complexity="low",
    best_for="general alignment from pairs, with the least compute",
    cost="policy and a frozen reference (with LoRA the base weights: free); nothing is sampled",
    limits=(
        "learns from answers that others may have written: what its own would be it never sees",
        DISPLACED,
        "overfits clean pairs, and over-optimises like a reward model does",
        "takes on the length bias of its pairs (postlude data check)",
    ),
    feedback=("pairs", "rankings"),
)
REWARD_MODEL = MethodFacts(
    requires="preference pairs, or ranked lists",
    complexity="low",
    best_for="a scorer for RL, for ranking answers and for pairs that more answers are to make",
    cost=SCORER,
    limits=(
        "below some 2,000 comparisons it is close to guessing",
        "only differences mean anything: scores of two models, or of two prompts, do not compare",
        "overfits in a second epoch, and RL finds its flaws (postlude audit)",
    ),
    feedback=("pairs", "rankings"),
)

PREFERENCES: Mapping[str, MethodFacts] = {
    "dpo": DPO,
    "dpo_length_normalised": replace(
        DPO,
        best_for="pairs whose chosen answers are much longer or shorter than the rejected",
        limits=("beta is another number: 2 to 10, as averages per token are small", DISPLACED),
    ),
    "cdpo": replace(
        DPO,
        best_for="pairs of which some share is labelled the wrong way round (AI labels, crowds)",
        limits=("the rate of wrong labels must be guessed (objective.link.smoothing)", *DPO.limits[1:2]),
    ),
    "dpo_robust": replace(
        DPO,
        best_for="a known rate of flipped labels, when an unbiased loss matters more than a bounded one",
        limits=("unbounded below: confident pairs are pushed on and on", "the rate must be known"),
    ),
    "ipo": replace(
        DPO,
        best_for="clean or repeated preferences, which dpo would overfit: the margin has a target",
        limits=("the target 1/(2 beta) is a sum over tokens: long answers reach it by little", DPO.limits[0]),
    ),
    "ipo_mean": replace(
        DPO,
        best_for="ipo where lengths differ much: the target is per token",
        limits=("beta means another strength than in ipo", DPO.limits[0]),
    ),
    "hinge": replace(
        DPO,
        best_for="a loss that leaves pairs alone once they are apart far enough",
        limits=("no gradient beyond the margin: good pairs stop teaching", DPO.limits[0], DISPLACED),
    ),
    "kto": replace(
        DPO,
        requires="answers with thumbs up or down; pairs count as one of each",
        best_for="feedback as products collect it: single answers, unequal numbers of good and bad",
        cost="policy and a frozen reference (with LoRA: free); one more pass over mismatched prompts and answers",
        limits=(
            "less to learn from an answer than from a pair",
            "unequal classes want weights (objective.link)",
            "needs batches of at least two prompts for its baseline",
        ),
        feedback=("thumbs", "pairs"),
    ),
    "orpo": replace(
        DPO,
        best_for="SFT and preferences in one go, from a base model, on little memory",
        cost="policy only; no reference, nothing is sampled",
        limits=("nothing anchors it: it also imitates the chosen answers", "its rate is its own (8e-6)"),
    ),
    "simpo": replace(
        DPO,
        best_for="pairs on little memory, where what is trained should be what is sampled by (mean log-prob)",
        cost="policy only; no reference, nothing is sampled",
        limits=(
            "nothing anchors it: sensitive to rate, beta and margin",
            "the chosen answer too can become less likely (watch logps/chosen)",
        ),
    ),
    "reward_model": REWARD_MODEL,
    "reward_model_soft": replace(
        REWARD_MODEL,
        requires="pairs with the chance that the first answer is better",
        best_for="labels of a judge, which knows how sure it is",
        feedback=("chances", "pairs"),
    ),
    "reward_model_listwise": replace(
        REWARD_MODEL,
        requires="full rankings of several answers",
        best_for="rankings whose order matters at every place",
        limits=("cannot say that two are equal: ties are refused", *REWARD_MODEL.limits[1:]),
        feedback=("rankings", "pairs"),
    ),
    "reward_model_binary": replace(
        REWARD_MODEL,
        requires="answers with thumbs up or down",
        best_for="feedback as products collect it; scores whose zero means something",
        limits=("no comparison in the data: between two good answers it may not tell", REWARD_MODEL.limits[2]),
        feedback=("thumbs", "pairs"),
    ),
    "reward_model_pair": replace(
        REWARD_MODEL,
        best_for="preferences that hang on both answers, and are no score of each",
        cost="one model with a scalar head, trained on every pair in both orders",
        limits=(
            "gives no score of an answer: a group of G needs G (G - 1) comparisons in RL",
            "may depend on the order, so both are asked",
        ),
        feedback=("pairs",),
    ),
    "reward_model_process": replace(
        REWARD_MODEL,
        requires="steps of answers, each labelled right or wrong",
        best_for="scoring reasoning step by step, for grpo_process or for choosing among answers",
        limits=("labels per step are dear", "noisy steps add up: how they are joined matters (product, least, last)"),
        feedback=("steps",),
    ),
}
