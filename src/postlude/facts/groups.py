"""Concepts of group methods: GRPO's supervision, DAPO's four parts, DRPO's parts and limits."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.topic import Topic

LIMIT = "limitation"

GROUPS = (
    Topic(
        "outcome supervision",
        "one score for each answer of a group",
        CONCEPT,
        "1. Sample a group of answers per prompt from the current policy (the notes say from the reference, corrected "
        "error 3.11). 2. Score each answer whole. 3. Standardise within the group. 4. Every token of an answer gets "
        "its number as advantage. 5. Update.",
        formula="A_t = (R - mean of the group) / (deviation of the group + 1e-6)  for every t",
        source="arXiv 2402.03300; docs/specification.md, section 7.1",
        place="objectives/advantages.py:GroupBaseline",
        see=("grpo", "process supervision", "response level", "error 3.11"),
        words=("grpo outcome",),
        shows=("postlude methods grpo",),
    ),
    Topic(
        "process supervision",
        "a score for each step of an answer",
        CONCEPT,
        "As outcome supervision, with a reward per step: all step rewards of the group are standardised together, "
        "and a "
        "token gets the sum over the steps that end at it or later. The step in progress counts: the notes' 'rewards "
        "after it' would leave it out (corrected error 3.12).",
        formula="A_t = sum over steps k that end at t or later of (r_k - mean) / (deviation + 1e-6)",
        use="grpo_process, with a reward of steps: a process model, or a function of yours with reward.steps.",
        bad_at="Sums favour answers of many steps.",
        source="arXiv 2402.03300, section 4.1.3; docs/specification.md, section 7.1",
        place="objectives/advantages.py:ProcessSteps",
        see=("grpo_process", "token level", "reward_model_process", "error 3.12"),
        words=("grpo process",),
        shows=("postlude methods grpo_process",),
    ),
    Topic(
        "zero-signal groups",
        "prompts whose answers all score the same",
        CONCEPT,
        "Where every answer of a group is right, or every one wrong, none is better than another: the advantage is 0 "
        "for all, exactly (equality is tested; an epsilon under the division would blow rounding up). They cost "
        "sampling and teach nothing.",
        healthy="group/all_correct_frac + group/all_wrong_frac well below 1",
        use="More answers per prompt, prompts of middling difficulty, dynamic sampling (method=dapo, or keep: {kind: "
        "mixed}); where all are wrong, sft or rft first.",
        source="docs/specification.md, sections 0.6 and 8",
        place="objectives/advantages.py:equal_steps",
        see=("dynamic sampling", "group/all_correct_frac", "group/all_wrong_frac", "reward not improving", "error 2.3"),
        words=("no signal", "zero advantage", "constant reward", "all correct", "all wrong", "reward flat"),
        shows=("postlude check RECIPE", "postlude doctor RUN"),
    ),
    Topic(
        "clip-higher",
        "more room upwards than downwards",
        CONCEPT,
        "DAPO's first part. A rare token has little probability to gain under an even clip; a larger upper bound lets "
        "it grow and keeps entropy from collapsing. DAPO also leaves out the KL term.",
        formula="min( rho A, clip(rho, 1 - 0.2, 1 + 0.28) A )",
        use="objective.surrogate.high=0.28 with any clipped method.",
        source="arXiv 2503.14476; docs/specification.md, section 8",
        place="objectives/surrogates.py:Clip",
        see=("dapo", "clipping", "objective.surrogate.high", "entropy bonus"),
        words=("clip higher", "asymmetric clipping", "epsilon_high"),
        shows=("postlude train RECIPE method=grpo objective.surrogate.high=0.28",),
    ),
    Topic(
        "dynamic sampling",
        "sample until enough groups have something to compare",
        CONCEPT,
        "DAPO's second part. Groups that are all right or all wrong are put aside and new prompts drawn, until the "
        "batch is full (the notes only say that they are discarded, corrected error 1.10). What is right is asked of "
        "the correctness, "
        "not of the shaped reward. Surplus groups wait for the next draw.",
        healthy="gen_rounds near 1; at the limit of 10 the data are too easy or too hard",
        use="keep: {kind: mixed} with any method of groups.",
        bad_at="Sampling is the dear part, and this multiplies it; it shifts the data towards the middle.",
        source="arXiv 2503.14476; docs/specification.md, section 8",
        place="rollouts/filters.py:Mixed",
        see=("dapo", "zero-signal groups", "keep", "gen_rounds", "error 1.10"),
        words=("dapo filter", "group filtering", "mixed groups"),
        shows=("postlude train RECIPE method=dapo",),
    ),
    Topic(
        "token-level loss",
        "every token counts the same",
        CONCEPT,
        "DAPO's third part. A mean over all tokens of the batch, instead of one per answer and then over answers: long "
        "answers count by their length, and their bad habits are unlearned as fast. Which mean a method takes is its "
        "aggregation, and it is a weight per token that is set before the loss.",
        formula="token_mean: sum over all tokens / number of tokens\n"
        "seq_mean_token_mean: mean over answers of the mean over their tokens",
        source="arXiv 2503.14476; docs/specification.md, sections 0.4 and 8",
        place="objectives/weights.py:Aggregate",
        see=("dapo", "objective.aggregate", "dr_grpo", "error 1.9", "error 1.13"),
        words=("token mean", "aggregation", "loss normalisation", "token-level policy gradient"),
        shows=("postlude methods --compare grpo dapo dr_grpo",),
    ),
    Topic(
        "overlong penalty",
        "a soft punishment before the length limit",
        CONCEPT,
        "DAPO's fourth part. Up to limit - cache tokens nothing is taken off, then linearly more, -1 at the limit "
        "and beyond. "
        "A cut-off answer is not simply wrong, and the model learns the limit before it hits it.",
        formula="0                              n <= limit - cache\n"
        "(limit - cache - n) / cache    up to the limit\n"
        "-1                             beyond",
        use="shaping: [{kind: overlong, limit: ..., cache: ...}]; objective.mask_truncated=true leaves cut answers out "
        "instead.",
        source="arXiv 2503.14476; docs/specification.md, section 8",
        place="objectives/lengths.py:overlong_penalty",
        see=("dapo", "overlong", "shaping", "truncated_frac"),
        words=("soft overlong punishment", "overlong reward shaping", "length penalty"),
        shows=("postlude train RECIPE method=dapo",),
    ),
    Topic(
        "decoupled length signal",
        "what DRPO decouples",
        CONCEPT,
        "A length penalty inside a group's advantage can push a right but long answer below the mean: then it is "
        "punished for being right. With rewards 0.73, 0.6 and 0.2 for three right answers beside three wrong ones, "
        "GRPO gives the third about -0.17. DRPO lets length weigh only among the right answers: shorter ones count "
        "more, the weights are positive and sum to 1, so length never flips a sign.",
        formula="w_i = exp(l_i / lambda) / sum over the right of exp(l_j / lambda),  l = 1 - n/C",
        healthy="lambda 0.1 shortens most; larger is gentler, infinite is disco",
        source="arXiv 2510.04474; docs/specification.md, section 9.2",
        place="objectives/advantages.py:DecoupledReward",
        see=("drpo", "disco", "drpo_value", "error 0.5"),
        words=("decoupled reward", "drpo intuition", "length reward"),
        shows=("postlude methods --compare drpo disco grpo rloo_lp", "make study-drpo"),
    ),
    Topic(
        "drpo's two forms",
        "the note's DRPO and the published one",
        CONCEPT,
        "The note's DRPO is PPO's clipped surrogate with a critic and a reward model, and says that length is "
        "decoupled "
        "without a formula for it. The published method has neither critic nor clip: it raises right answers, weighted "
        "by shortness, over wrong ones, under a hinge on the KL. Both are here: drpo_value for the note's, drpo for "
        "the paper's.",
        source="docs/specification.md, section 9",
        see=("drpo", "drpo_value", "decoupled length signal", "error 0.6"),
        words=("drpo pipeline", "why drpo", "two drpos"),
        shows=("postlude methods --compare drpo drpo_value grpo",),
    ),
    Topic(
        "drpo components",
        "the models and terms of the note's DRPO",
        CONCEPT,
        "Policy: trained, answers the prompts. Reward: a reward model or a verifier. Old policy: a snapshot per draw, "
        "which the ratio divides by; the note calls it the reference, though that is a third thing, frozen, for a KL "
        "term (corrected error 0.1). Value function: the expected reward of a prompt. Advantage: reward minus value. "
        "Then an entropy bonus. The published method needs the policy and a verifier only.",
        formula="loss = clipped surrogate + 0.5 * mean[ 1/2 (V - R)^2 ] - 0.01 * entropy",
        source="docs/specification.md, section 9.1",
        place="objectives/advantages.py:DecoupledValue",
        see=("drpo_value", "drpo's two forms", "value function", "entropy bonus", "error 0.1", "error 0.11"),
        words=("policy model", "combined drpo loss", "drpo summary"),
        shows=("postlude methods drpo_value",),
    ),
)


def _limit(name: str, title: str, meaning: str, use: str, see: tuple[str, ...], *shows: str) -> Topic:
    return Topic(
        f"limitation {name}",
        title,
        LIMIT,
        meaning,
        use=use,
        source="section 9 of the DRPO note; docs/specification.md, section 9",
        see=see,
        words=(name, title),
        shows=shows,
    )


LIMITATIONS = (
    _limit(
        "kl sensitivity",
        "needs a hold on the KL",
        "Without a hold the policy drifts from what worked. The note asks for a KL penalty, and its loss has none.",
        "drpo has a hinge on the KL to the old policy; drpo_value takes objective.kl for a penalty to the reference.",
        ("kl penalty", "drpo/kl", "error 0.12"),
        "postlude doctor RUN",
    ),
    _limit(
        "training cost",
        "several models at once",
        "Policy, critic, reference and reward model together take several times the policy's memory.",
        "Count before: `postlude memory`. drpo and dr_grpo hold the policy only; LoRA makes the reference free.",
        ("no value model", "lora for rl", "memory of ppo"),
        "postlude memory RECIPE",
    ),
    _limit(
        "reward hacking",
        "the policy finds the reward's flaws",
        "What is optimised is the reward, flaws included.",
        "Audit the reward before, measure something it is not trained on while, read answers after.",
        ("reward hacking", "overoptimisation"),
        "postlude audit REWARD DATA",
        "postlude doctor RUN",
    ),
    _limit(
        "sparse rewards",
        "one noisy number per answer",
        "A whole answer is judged by one number, which may be wrong.",
        "More answers per prompt, rewards of steps, several rewards; for noisy labels cdpo or dpo_robust.",
        ("response level", "token level", "group_size"),
        "postlude check RECIPE",
    ),
    _limit(
        "credit assignment",
        "which token earned it",
        "Updates are per token, the reward is per answer: the tokens that mattered are not told from the rest.",
        "Averages over many answers do much; a critic or step rewards do more.",
        ("credit assignment", "gae", "process supervision"),
        "postlude methods --compare drpo grpo_process ppo",
    ),
    _limit(
        "exploration",
        "trying against staying safe",
        "What is never sampled is never learned, and what is sampled wildly is mostly bad.",
        "Watch entropy; clip-higher, temperature and group size for more, KL and rate for less.",
        ("exploration", "entropy", "clip-higher"),
        "postlude doctor RUN",
    ),
    _limit(
        "complexity",
        "many parts, many settings",
        "Several models and their settings have to fit each other.",
        "Settings that cannot work are refused at the check; `postlude advise` writes a recipe that passes it; drpo "
        "has "
        "fewer parts than the note's form.",
        ("drpo", "tip start with dpo"),
        "postlude check RECIPE",
        "postlude advise DATA",
    ),
)
