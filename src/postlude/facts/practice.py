"""Judgement for practice: choosing, LoRA, tips, symptoms, reward hacking and what helps."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.topic import Topic

TIP, SYMPTOM, GAMING, CHOICE = "tip", "symptom", "hacking", "choice"
ASIDE = "docs/specification.md, section 14 (2.13)"

CHOICES = (
    Topic(
        "choose a method",
        "which method for which data",
        CHOICE,
        "Pairs: dpo. Thumbs only: kto. Rankings or ratings: dpo, or reward_model_listwise for a scorer. Right answers "
        "or tests: grpo, dr_grpo or dapo; drpo where answers should also get shorter. A nuanced reward that has to be "
        "learned: reward_model, then ppo, rloo or grpo. Prompts only: a judge (RLAIF). Written answers, or a base "
        "rate of 0: sft or rft "
        "first.\n\n"
        "Compute is a question beside all of these, and not the last branch of a tree, where the notes have it and it "
        "is never reached (corrected error 2.13): LoRA, a method without reference (orpo, simpo) or without critic.",
        source=ASIDE,
        see=("dpo", "kto", "grpo", "ppo", "rlaif", "tip start with dpo"),
        words=("decision tree", "method selection", "which method", "choose", "what should i use"),
        shows=("postlude advise DATA", "postlude methods --compare dpo grpo ppo"),
    ),
    Topic(
        "have preference pairs",
        "pairs of chosen and rejected answers",
        CHOICE,
        "Take dpo: no reward model, no sampling, little memory.",
        use="Check the pairs for length bias and conflicts first.",
        source=ASIDE,
        see=("dpo", "pairwise feedback", "length bias"),
        words=("dpo or ppo",),
        shows=("postlude data check FILE", "postlude advise FILE"),
    ),
    Topic(
        "have verifiable rewards",
        "right answers, or tests",
        CHOICE,
        "Take a group method: grpo, or dr_grpo without its biases; dapo for long reasoning; drpo for shorter answers.",
        use="Audit the verifier and sample the base rate first: at 0 or 1 there is nothing to learn.",
        source=ASIDE,
        see=("grpo", "dr_grpo", "dapo", "drpo", "zero-signal groups", "maths", "code"),
        words=("verifiable", "rlvr", "math and code"),
        shows=("postlude advise FILE", "postlude audit maths DATA"),
    ),
    Topic(
        "need nuanced alignment",
        "complex preferences, fine control",
        CHOICE,
        "Train a reward model on preferences, then ppo against it; rloo or grpo do without the critic.",
        use="Worth it where a budget for labels is there and the reward has to be looked at by itself.",
        source=ASIDE,
        see=("ppo", "reward_model", "rlhf pipeline"),
        words=("when to use ppo",),
        shows=("postlude demo rlhf",),
    ),
    Topic(
        "scale with ai feedback",
        "prompts, and a judge",
        CHOICE,
        "Let a model label (RLAIF): pairs for dpo, chances for a reward model, or its score as the reward.",
        use="Measure the judge against people on some pairs first.",
        source=ASIDE,
        see=("rlaif", "direct rlaif", "constitutional ai", "ai feedback"),
        words=("unlabelled prompts",),
        shows=("postlude label FILE OUT --judge MODEL", "postlude advise FILE"),
    ),
    Topic(
        "limited compute",
        "little memory, little time",
        CHOICE,
        "An axis of its own: with pairs dpo with LoRA (its reference costs nothing), or orpo and simpo, which have "
        "none; with a verifier a group method with LoRA; smaller groups, shorter answers.",
        use="`postlude memory` says what each takes and which knob saves most.",
        source=ASIDE,
        see=("lora for rl", "orpo", "simpo", "memory of grpo with lora"),
        words=("small gpu", "out of memory", "cheap"),
        shows=("postlude memory RECIPE", "postlude memory MODEL --method dpo"),
    ),
)
PRACTICE = (
    Topic(
        "lora for rl",
        "low-rank adapters where rewards teach",
        CONCEPT,
        "A reward tells the model about one bit per answer; text tells it about as much per token. For answers of a "
        "thousand tokens that is a thousand times less, so that an adapter of rank 1 was found to learn as much as "
        "full "
        "training (the factor is per token and depends on the length: corrected error 2.8). SFT fills an adapter up: "
        "give it higher ranks.\n\n"
        "Adapt all linear layers (attention alone is worse), alpha 32, and ten times the rate of full training. The "
        "reference is the model with the adapter off: it costs no memory.",
        formula="W' = W + (alpha / rank) B A,  B starts at 0",
        healthy="rank 8 to 32 for rewards; more changes little",
        use="model.lora.rank=16",
        bad_at="Very large batches are borne less well than by full training.",
        source="LoRA Without Regret (Thinking Machines, 2025); docs/specification.md, section 11",
        place="models/lora.py:Lora",
        see=("model.lora.rank", "rank 8b", "rank 70b", "tip lower rate for rl", "error 2.6", "error 2.7", "error 2.8"),
        words=("lora", "low rank", "why is rank low", "adapter", "peft", "rank"),
        shows=("postlude memory MODEL --method grpo", "postlude advise DATA"),
    ),
    Topic(
        "tip start with dpo",
        "begin with the simplest",
        TIP,
        "Where there are pairs, dpo first: hours instead of days, few settings, and a result that anything more "
        "complex "
        "has to beat. Where there are none, sft or rft.",
        source="docs/specification.md, section 5",
        see=("dpo", "choose a method"),
        words=("start with dpo", "training tips", "simplest", "where do i start"),
        shows=("postlude train RECIPE method=dpo", "postlude compare --help"),
    ),
    Topic(
        "tip lower rate for rl",
        "a smaller learning rate than for SFT",
        TIP,
        "A policy gradient is noisy: full training takes 1e-6, not SFT's 1e-5 to 2e-5. An adapter takes ten times as "
        "much, 1e-5: the notes' number is for full training, and they do not say so (corrected error 2.7). The "
        "catalogue does this by itself.",
        use="Leave schedule.lr out; change it by factors of 2 or 3.",
        source="docs/specification.md, section 11",
        place="facts/tables.py:RATES",
        see=("schedule.lr", "lora for rl", "error 2.7", "rates"),
        words=("learning rate", "lower lr", "lr for rl"),
        shows=("postlude check RECIPE", "postlude methods NAME"),
    ),
    Topic(
        "tip reward against kl",
        "watch what the reward costs",
        TIP,
        "Reward alone says nothing: the same gain at a tenth of the KL is the better run. Look at both, and at truth: "
        "gain without distance is good, distance without gain is drift.",
        source="arXiv 2210.10760; docs/specification.md, section 13",
        see=("kl_ref/k3", "reward/mean", "overoptimisation", "kl penalty"),
        words=("monitor reward vs kl", "reward vs kl"),
        shows=("postlude doctor RUN", "postlude train RECIPE (live view)"),
    ),
    Topic(
        "tip checkpoint often",
        "runs can go bad late",
        TIP,
        "The best step is often not the last. Keep several checkpoints, and let one be chosen by a figure that is not "
        "the reward.",
        use="checkpoints.every, checkpoints.keep, checkpoints.best=sampled/accuracy (or a truth figure).",
        source="docs/reliability.md",
        place="best.py:Best",
        see=("checkpoints.every", "checkpoints.best", "overoptimisation"),
        words=("checkpoint frequently", "unstable", "early stopping"),
        shows=("postlude train RECIPE checkpoints.best=sampled/accuracy",),
    ),
)
SYMPTOMS = (
    Topic(
        "reward not improving",
        "the reward stays where it is",
        SYMPTOM,
        "Most often no answer is better than another to the same prompt (all right, all wrong, or a reward that says "
        "the same of everything), next a reward that does not measure what it should, next a rate too small to change "
        "anything.",
        use="1. `postlude check RECIPE`: section signal says how many groups will have something to compare, reward "
        "what it says of real rows. 2. `postlude audit` for the reward itself. 3. If all are wrong: sft or rft "
        "first, easier prompts, larger "
        "groups. 4. If the weights hardly move (alarm unmoved): schedule.lr times 3. A higher rate, the notes' first "
        "advice, helps in that last case only.",
        source="docs/checks.md",
        place="learning.py:Learning",
        see=("zero-signal groups", "signal", "reward/mean", "schedule.lr", "no-signal", "flat-reward"),
        words=(
            "reward is flat",
            "why is my reward flat",
            "reward stuck",
            "not learning",
            "no improvement",
            "reward does not increase",
            "reward plateau",
            "nothing is learned",
        ),
        shows=("postlude check RECIPE", "postlude audit REWARD DATA", "postlude doctor RUN"),
    ),
    Topic(
        "reward spikes then crashes",
        "up, then down for good",
        SYMPTOM,
        "Steps that are too large: the policy leaves the region in which its advantages were right. It shows in "
        "ratio/max, clip fractions, kl_ref/k3 and grad_norm a few steps before.",
        use="Lower schedule.lr by 3, take fewer updates per draw (updates, epochs), or set stop_kl. Go on from the "
        "last "
        "good checkpoint, not from the end.",
        source="docs/specification.md, section 3.4",
        place="objectives/surrogates.py:Clip",
        see=("reward-crash", "trust region", "schedule.lr", "stop_kl", "ratio/max", "grad_norm"),
        words=("reward collapse", "reward crash", "training unstable", "diverged", "reward dropped suddenly"),
        shows=("postlude doctor RUN",),
    ),
    Topic(
        "kl exploding",
        "the policy runs from its reference",
        SYMPTOM,
        "Too weak a hold, or a reward that pays for going far. Also: a template or a temperature that differs between "
        "policy and reference, which shows as a KL that is large from the first step on.",
        use="Raise objective.advantage.kl_coef or objective.kl.coef (for preferences objective.link.beta), or let "
        "kl_control hold a target; lower schedule.lr; stop_kl leaves the rest of a draw out.",
        source="docs/specification.md, sections 3.7 and 3.8",
        place="objectives/divergence.py:KL",
        see=("kl-explosion", "kl penalty", "adaptive kl", "kl_ref/k3", "stop_kl", "beta"),
        words=("kl explosion", "kl too high", "kl divergence large", "kl goes up"),
        shows=("postlude doctor RUN", "postlude check RECIPE"),
    ),
    Topic(
        "high reward, bad outputs",
        "the number is good, the answers are not",
        SYMPTOM,
        "Reward hacking: the policy found what the reward pays for and people do not want.",
        use="Read answers: `postlude review RUN`. Look at the reward: `postlude audit`. Measure truth beside it: "
        "evaluate.metrics. Then mend the reward, and begin again from before the turn.",
        source="docs/rewards.md",
        place="audit/verdicts.py:audit",
        see=("reward hacking", "overoptimisation", "length hacking", "format hacking", "sycophancy"),
        words=("outputs got worse", "answers are bad", "reward up quality down", "weird outputs"),
        shows=("postlude review RUN", "postlude audit REWARD DATA", "postlude doctor RUN"),
    ),
)
HACKING = (
    Topic(
        "reward hacking",
        "maximising the number, not what it stands for",
        GAMING,
        "Any reward is a proxy; an optimiser finds where proxy and purpose part. It shows as a reward that rises while "
        "truth is flat, as one way to end or begin every answer, as growing length, as programs that look at the "
        "tests.",
        healthy="truth/.../divergence near 0; no format or length figure that moves with the reward",
        use="Before: `postlude audit` tries cheap tricks on the reward. While: truth figures and alarms. After: "
        "`postlude review`.",
        source="arXiv 2210.10760; docs/rewards.md",
        place="audit/probes.py:Probe",
        see=(
            "length hacking",
            "format hacking",
            "sycophancy",
            "mitigation kl penalty",
            "mitigation diverse rewards",
            "mitigation human oversight",
            "mitigation adversarial evaluation",
            "overoptimisation",
        ),
        words=("reward gaming", "specification gaming", "cheating", "verifier abuse"),
        shows=("postlude audit REWARD DATA", "postlude doctor RUN", "postlude review RUN"),
    ),
    Topic(
        "length hacking",
        "longer answers score higher",
        GAMING,
        "Reward models and judges like long answers, so answers grow while nothing gets better. Pairs whose chosen "
        "side is mostly longer teach it to begin with.",
        healthy="completion_length/mean grows only with accuracy",
        use="`postlude data check` measures the bias in pairs, `postlude audit` in the reward. Then a length reward "
        "with a negative weight, an overlong penalty, drpo, or dpo_length_normalised.",
        source="docs/rewards.md",
        place="screening/preferences.py:length_bias",
        see=("length-bias", "completion_length/mean", "overlong penalty", "decoupled length signal"),
        words=("length bias", "verbosity", "answers get longer", "too long"),
        shows=("postlude data check FILE", "postlude audit REWARD DATA"),
    ),
    Topic(
        "format hacking",
        "a phrase that pays",
        GAMING,
        "A closing courtesy, a heading, a box around nothing: form that the reward pays for whatever it holds.",
        use="`postlude audit` gives the reward such shells without content; a gate lets form count only with a right "
        "answer (reward.gate).",
        source="docs/rewards.md",
        place="audit/probes.py:boxes",
        see=("reward[].gate", "format", "mitigation adversarial evaluation"),
        words=("suffix", "boilerplate", "i hope this helps", "same ending"),
        shows=("postlude audit REWARD DATA", "postlude doctor RUN"),
    ),
    Topic(
        "sycophancy",
        "agreeing with the user, right or wrong",
        GAMING,
        "People and judges prefer to be agreed with, and the policy learns to.",
        use="`postlude audit --sycophancy` adds a wrong opinion of the user's to the prompts and measures how far the "
        "right answers fall.",
        source="docs/rewards.md",
        place="audit/verdicts.py:sycophancy",
        see=("reward hacking", "judge", "ai feedback"),
        words=("flattery", "agrees with everything"),
        shows=("postlude audit REWARD DATA --sycophancy",),
    ),
    Topic(
        "mitigation kl penalty",
        "stay near the reference",
        GAMING,
        "The reward was right near where it was learned. A KL term keeps the policy there.",
        use="objective.kl.coef or objective.advantage.kl_coef; stop_kl as a stop.",
        bad_at="It mostly stops the run earlier: it does not make the reward better.",
        source="docs/specification.md, sections 3.7 and 13",
        place="objectives/divergence.py:KL",
        see=("kl penalty", "overoptimisation", "adaptive kl"),
        words=("kl against hacking",),
        shows=("postlude train RECIPE objective.kl.coef=0.05",),
    ),
    Topic(
        "mitigation diverse rewards",
        "several criteria",
        GAMING,
        "What games one reward seldom games three that look elsewhere. Weighted sums, gates that must be passed, "
        "ensembles of reward models (mean, least, or mean minus their disagreement).",
        use="reward: [maths, {use: format, weight: 0.1}, {use: repetition, weight: -0.5}]",
        bad_at="A sum lets one part pay for another: what must hold belongs into a gate.",
        source="arXiv 2310.02743; docs/rewards.md",
        place="rewards/combine.py:Combining",
        see=("reward[].weight", "reward[].gate", "model"),
        words=("multiple rewards", "diverse reward signals", "ensemble"),
        shows=("postlude audit REWARD DATA",),
    ),
    Topic(
        "mitigation human oversight",
        "people look at answers",
        GAMING,
        "A few dozen answers read by a person find what no figure shows.",
        use="`postlude review RUN` queues random, best, most surprising and flagged answers, keeps verdicts, and sets "
        "them against the reward.",
        source="docs/review.md",
        see=("human feedback", "high reward, bad outputs"),
        words=("human oversight", "quality checks", "spot checks"),
        shows=("postlude review RUN",),
    ),
    Topic(
        "mitigation adversarial evaluation",
        "try to game it yourself first",
        GAMING,
        "Tricks that score without solving anything: empty answers, the gold repeated, boxes around a guess, cut-off "
        "answers, the prompt given back.",
        use="`postlude audit` runs them and says which score.",
        source="docs/rewards.md",
        place="audit/probes.py:Probe",
        see=("format hacking", "sandbox-unavailable", "code"),
        words=("adversarial evaluation", "edge cases", "probes"),
        shows=("postlude audit REWARD DATA",),
    ),
)
