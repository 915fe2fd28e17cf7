"""Rows of the notes' table of feedback, and the ways from feedback to a reward."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.topic import Topic

FEEDBACK = "feedback"

FEEDBACK_TOPICS = (
    Topic(
        "feedback data",
        "the kinds of feedback, and what reads each",
        CONCEPT,
        "Label: a rating or ranking that says by how much or in which order (preference), or a thumb up or down "
        "(binary). Style: two answers compared (pairwise), or many ranked at once (listwise). Source: people, or a "
        "model. Each is a row of its own here; every kind can be made from another as far as it says enough "
        "(`postlude data convert`), and what gets lost is counted.",
        source="docs/feedback.md",
        place="feedback/convert.py:convert",
        see=(
            "preference feedback",
            "binary feedback",
            "pairwise feedback",
            "listwise feedback",
            "human feedback",
            "ai feedback",
        ),
        words=("table 1", "kinds of feedback", "preference data"),
        shows=("postlude data check FILE", "postlude advise FILE"),
    ),
    Topic(
        "preference feedback",
        "ratings on a scale",
        FEEDBACK,
        "Answers get a grade, or a place in an order: more than good or bad. Rows with `completions` and `ratings` (or "
        "`ranks`) hold it; UltraFeedback, Nectar and HelpSteer are read as they are.",
        use="Where graders can tell degrees. dpo, reward_model and reward_model_listwise read them directly; a margin "
        "per pair (Llama 2) uses by how much.",
        bad_at="Dear, and graders differ in what a 4 is: grades of two people do not compare, orders within a prompt "
        "do.",
        source="docs/feedback.md; docs/specification.md, section 2.2",
        place="sources/compared.py",
        see=("listwise feedback", "reward_model_listwise", "reward_model"),
        words=("ratings", "rated answers", "likert", "nuance"),
        shows=("postlude data convert FILE OUT --to pairs",),
    ),
    Topic(
        "binary feedback",
        "thumbs up or down",
        FEEDBACK,
        "Single answers, each called good or bad: what products collect. Rows with `completion` and `label`.",
        use="kto trains the policy on them, reward_model_binary a scorer. With several answers to a prompt they also "
        "make pairs of a good and a bad one.",
        bad_at="No middle, and no comparison: between two good answers they say nothing. Thumbs come unequally often: "
        "weigh the classes (objective.link.lam_desirable, lam_undesirable).",
        source="arXiv 2402.01306; docs/specification.md, sections 2.6 and 5",
        place="objectives/contrast.py:KTO",
        see=("kto", "reward_model_binary", "preference feedback"),
        words=("thumbs", "thumbs up", "thumbs down", "likes", "labels"),
        shows=("postlude train RECIPE method=kto",),
    ),
    Topic(
        "pairwise feedback",
        "one answer chosen over another",
        FEEDBACK,
        "Two answers to a prompt, and which is better: rows with `chosen` and `rejected`. Easy to ask for and to "
        "read, and most tools speak it.",
        use="dpo and its relatives, reward_model, reward_model_pair.",
        bad_at="Covering K answers takes K(K-1)/2 comparisons; a pair says which, not by how much.",
        source="docs/specification.md, sections 2.1 and 5",
        place="objectives/contrast.py:Logistic",
        see=("bradley-terry", "dpo", "reward_model", "listwise feedback", "length bias"),
        words=("pairs", "chosen and rejected", "preference pairs"),
        shows=("postlude data check FILE", "postlude pairs MODEL --data PROMPTS.jsonl --out PAIRS.jsonl"),
    ),
    Topic(
        "listwise feedback",
        "several answers ranked at once",
        FEEDBACK,
        "One look at K answers yields an order of all: K(K-1)/2 pairs for one reading. Rows with `completions` and "
        "`ranks`.",
        use="reward_model takes all pairs of a list as one element of a batch, which keeps it from seeing an answer "
        "K-1 times; reward_model_listwise takes the order as a whole (Plackett-Luce).",
        bad_at="Long lists are hard to rank and their middle is noise; equal places are left out (K-wise) or refused "
        "(Plackett-Luce).",
        source="InstructGPT, arXiv 2203.02155; docs/specification.md, sections 2.2 and 2.3",
        place="objectives/contrast.py:PlackettLuce",
        see=("reward_model_listwise", "reward_model", "pairwise feedback"),
        words=("rankings", "ranked list", "k-wise", "plackett-luce"),
        shows=("postlude data convert FILE OUT --to pairs",),
    ),
    Topic(
        "human feedback",
        "people judge",
        FEEDBACK,
        "What people actually want, as far as one asked the right people.",
        use="The measure of everything else: keep some for evaluation even where a model makes the labels. `postlude "
        "review RUN` collects verdicts on a run's own answers.",
        bad_at="Dear, slow, and people disagree: `postlude data check` counts pairs that contradict each other, and "
        "cdpo expects a share of wrong labels.",
        source="docs/feedback.md",
        place="screening/preferences.py:conflicts",
        see=("ai feedback", "cdpo", "human oversight", "conflict"),
        words=("annotators", "labellers", "labelers"),
        shows=("postlude review RUN", "postlude data check FILE"),
    ),
    Topic(
        "ai feedback",
        "a model judges",
        FEEDBACK,
        "A language model compares or scores answers: cheap, fast, as much as one wants.",
        use="A reward in a run (judge), or labels for a file (`postlude label`). Ask in both orders, keep the chance "
        "it gives (reward_model_soft), and measure it against people (`postlude audit`).",
        bad_at="It has its own taste (length, its own style, the first answer), need not hold your values, and an "
        "optimiser finds where it errs.",
        source="arXiv 2309.00267; docs/ai-feedback.md; docs/specification.md, section 10",
        place="rewards/judge.py:judge",
        see=("rlaif", "direct rlaif", "constitutional ai", "judge", "human feedback", "position bias"),
        words=("ai labels", "llm judge", "llm as a judge"),
        shows=("postlude label FILE OUT --judge MODEL", "postlude audit REWARD DATA"),
    ),
    Topic(
        "rlaif",
        "reinforcement learning from a model's feedback",
        CONCEPT,
        "1. Sample several answers per prompt. 2. Let a model prefer one of two, in both orders. 3. Train a reward "
        "model on its chances, or take the preferences for dpo, or leave the reward model out (direct RLAIF). 4. "
        "Optimise as with people's feedback.\n\n"
        "The notes ask for a strong labeller; one of the policy's own size was found to do as well as people for "
        "summaries (Lee et al.).",
        formula="p = ( p_ab(first) + p_ba(second) ) / 2,  p_ab(first) = exp(l_1) / (exp(l_1) + exp(l_2))",
        healthy="Both orders agree in most pairs (`postlude label` prints the share); where they do not, the judge "
        "goes by the place",
        use="Prompts without labels, and a judge you have measured.",
        bad_at="Everything the judge is bad at becomes a goal.",
        source="arXiv 2309.00267; docs/specification.md, section 10.1",
        place="judge/questions.py:Judging",
        see=("ai feedback", "direct rlaif", "constitutional ai", "reward_model_soft", "online_dpo"),
        words=("rl from ai feedback", "scaling feedback"),
        shows=("postlude pairs MODEL --data PROMPTS.jsonl --out PAIRS.jsonl", "postlude label FILE OUT --judge MODEL"),
    ),
    Topic(
        "direct rlaif",
        "a judge's score as the reward",
        CONCEPT,
        "No reward model in between: the judge is asked for a grade from 1 to 10 while the policy trains. Better than "
        "the grade it writes is the mean over its chances of all grades, which is finer and steadier.",
        formula="s = sum over i of i * P(grade i);  reward = 2 (s - 1)/9 - 1, between -1 and 1",
        use="reward: {use: judge, args: {model: ..., read: likelihood}}. An answer that cannot be read has no score "
        "(it abstains); it is never 0.",
        bad_at="A call per answer: cap it (args.max_calls), keep scores (cache: true). An answer that tells the "
        "judge what to "
        "say must not reach it: answers are quoted, and a canary is asked.",
        source="arXiv 2309.00267; docs/specification.md, section 10.2",
        place="rewards/judge.py:JudgeReward",
        see=("judge", "rlaif", "ai feedback", "reward hacking"),
        words=("d-rlaif", "llm judge reward"),
        shows=("postlude audit judge DATA --reward-args '{model: MODEL}'",),
    ),
    Topic(
        "constitutional ai",
        "critique and revision by written principles",
        CONCEPT,
        "Supervised part: answer, then for some rounds draw a principle, let the model criticise its answer by it and "
        "write a better one; fine-tune on the revisions. RL part: let the model say, by a principle, which of two "
        "answers is better, train a preference model on that, and optimise against it.\n\n"
        "A principle here is an instruction with a direction ('prefer the answer that ...'). The notes' examples are "
        "questions, of which yes is good for some and bad for others: those are refused.",
        use="No labels, and values that can be written down.",
        bad_at="The model cannot criticise what it does not see; empty critiques keep the text as it was, and are "
        "counted.",
        source="arXiv 2212.08073; docs/ai-feedback.md; docs/specification.md, section 10.3",
        place="feedback/constitution.py:Revising",
        see=("rlaif", "ai feedback", "sft", "dpo"),
        words=("cai", "constitution", "critique", "revision", "principles", "self-critique"),
        shows=(
            "postlude constitution revise --help",
            "postlude constitution compare --help",
            "postlude demo constitution",
        ),
    ),
    Topic(
        "position bias",
        "a judge that goes by the place",
        CONCEPT,
        "Asked which of two answers is better, a model may favour the first whatever it says. Asking in both orders "
        "and averaging takes the bias out, and the disagreement measures it.",
        formula="bias = mean chance of the first place - 1/2",
        healthy="near 0, with both orders agreeing in most pairs",
        source="docs/specification.md, section 10.1",
        place="judge/questions.py:Judging",
        see=("rlaif", "ai feedback", "judge"),
        words=("order consistency", "debiasing"),
        shows=("postlude label FILE OUT --judge MODEL", "postlude audit REWARD DATA"),
    ),
)
