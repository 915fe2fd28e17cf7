"""Rows of the notes' table of reward models, and the concepts behind them."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.topic import Topic

ROW = "reward model"

REWARD_MODELS = (
    Topic(
        "reward model",
        "what turns feedback into a number",
        CONCEPT,
        "A model that was trained on judged answers and scores new ones. Four questions decide its kind: is it a model "
        "of its own (explicit) or the policy itself (implicit); does it score one answer (pointwise) or compare two "
        "(preferencewise); one score per answer (response level) or per step or token; and who wrote the good and the "
        "bad answers it learned from.\n\n"
        "Where a program can check the answer, none is needed: a verifier is cheaper and harder to game.",
        use="Train one with reward_model and name its run as a reward: {use: model, args: {path: runs/rm}}.",
        bad_at="It is right on answers like those it saw. Measure it on held-out pairs, and watch truth beside it.",
        source="docs/specification.md, section 2",
        place="rewards/learned.py:reward_model",
        see=(
            "explicit reward",
            "implicit reward",
            "pointwise reward",
            "preferencewise reward",
            "token level",
            "response level",
            "overoptimisation",
        ),
        words=("table 2", "rm", "scorer", "reward models"),
        shows=("postlude train RECIPE method=reward_model", "postlude eval RUN --data PAIRS.jsonl"),
    ),
    Topic(
        "bradley-terry",
        "from scores to preferences",
        CONCEPT,
        "The chance that one answer is preferred depends on the difference of two scores alone. Maximising the "
        "likelihood of the observed preferences under it trains a reward model; it is also the link that makes DPO a "
        "classification.",
        formula="p(y_w better than y_l | x) = exp(r_w) / (exp(r_w) + exp(r_l)) = sigmoid(r_w - r_l)\n"
        "loss = - mean over prompts of the mean over its pairs of log sigmoid(r_w - r_l)",
        healthy="0.693 (log 2) is a model that cannot tell; held-out accuracy of 0.6 to 0.75 is usual for people's "
        "preferences",
        bad_at="Only differences are known: a constant per prompt changes nothing. Preferences that go in a circle "
        "fit no score.",
        source="Bradley and Terry 1952; arXiv 2203.02155; docs/specification.md, section 2.1",
        place="objectives/contrast.py:Logistic",
        see=("reward_model", "dpo", "preferencewise reward", "derivation 3", "rewards/accuracy"),
        words=("bt", "bradley terry model", "logistic", "pairwise loss"),
        shows=("postlude train RECIPE method=reward_model", "postlude eval RUN --data PAIRS.jsonl"),
    ),
    Topic(
        "explicit reward",
        "a reward model of its own",
        ROW,
        "A separate model, usually the fine-tuned one with its output layer replaced by one number per answer.",
        use="Where the reward is to be looked at, tested, combined with others and used by several runs: reward_model, "
        "then {use: model}.",
        bad_at="One more model to train and to hold in memory beside the policy.",
        source="docs/specification.md, section 2",
        place="rewards/learned.py:HeadReward",
        see=("implicit reward", "reward_model", "model"),
        words=("explicit reward model",),
        shows=("postlude train RECIPE method=reward_model", "postlude memory RECIPE"),
    ),
    Topic(
        "implicit reward",
        "the policy as its own reward model",
        ROW,
        "A policy trained by dpo says by how much it prefers an answer: beta times the log-ratio to its reference. No "
        "model is trained for it.",
        formula="r(x, y) = beta * sum over tokens of (lp - lp_ref),  up to a constant per prompt",
        use="{use: implicit, args: {path: runs/dpo}} scores with it: for best of n, for steps, as an ensemble of "
        "several.",
        bad_at="Less control: what it rewards cannot be changed by itself. The notes say that it does not overfit; it "
        "does over-optimise, like any reward (corrected error 3.16): watch its KL and margins.",
        source="arXiv 2305.18290; docs/specification.md, section 5",
        place="rewards/implicit.py:ImplicitReward",
        see=("dpo", "explicit reward", "derivation 2", "rewards/margin", "overoptimisation", "error 3.16"),
        words=("implicit reward model", "your language model is secretly a reward model"),
        shows=("postlude eval --data PAIRS.jsonl --reward implicit",),
    ),
    Topic(
        "pointwise reward",
        "a score for one answer",
        ROW,
        "Reads prompt and answer, gives a number. Simple, and what most methods want.",
        formula="s = w . h(last token)",
        bad_at="It never sees two answers at once, so what only a comparison shows is lost; scores of two prompts do "
        "not compare.",
        source="docs/specification.md, section 2.4",
        place="rewards/learned.py:AnswerReward",
        see=("preferencewise reward", "reward_model", "bradley-terry"),
        words=("pointwise reward model",),
        shows=("postlude train RECIPE method=reward_model",),
    ),
    Topic(
        "preferencewise reward",
        "which of two answers is better",
        ROW,
        "Reads the prompt and both answers, gives the chance that the first is better. The notes write it as the "
        "sigmoid of a difference of scores; that is a pointwise model (corrected error 3.15). Here it is one number "
        "read from both answers at once.",
        formula="P(a better than b) = ( sigmoid(z_ab) + 1 - sigmoid(z_ba) ) / 2\n"
        "reward of an answer in a group = mean chance against the others",
        use="Preferences that no score can hold: reward_model_pair, then {use: pair_model}.",
        bad_at="A group of G answers takes G(G-1) comparisons; it depends on the order, so both are asked; labels that "
        "contradict each other confuse it.",
        source="docs/specification.md, section 2.4",
        place="rewards/learned.py:PairReward",
        see=("reward_model_pair", "pair_model", "pointwise reward", "error 3.15"),
        words=("preferencewise reward model", "pairwise reward model"),
        shows=("postlude train RECIPE method=reward_model_pair",),
    ),
    Topic(
        "token level",
        "a reward for each token or step",
        ROW,
        "Feedback where it happened: each step, or each token, has a number. It lands at the token where the step "
        "ends.",
        use="Long reasoning: reward_model_process, then grpo_process or ppo. A function of yours gives them with "
        "reward: {steps: ...} or {tokens: true}.",
        bad_at="Labels per step are dear, single steps are noisy, and the policy can collect steps.",
        source="docs/specification.md, sections 2.5 and 7.1",
        place="rewards/learned.py:StepReward",
        see=("response level", "process supervision", "reward_model_process", "grpo_process"),
        words=("token-level reward", "process reward", "prm", "dense reward", "step rewards"),
        shows=("postlude train RECIPE method=reward_model_process",),
    ),
    Topic(
        "response level",
        "one reward for the whole answer",
        ROW,
        "The usual case: one number once the answer has ended, which the last token gets.",
        use="Verifiers, reward models and judges give it; group methods spread it over the answer.",
        bad_at="Coarse: it does not say which part was good. Credit then comes from comparing many answers, or from a "
        "critic.",
        source="docs/specification.md, sections 2.5 and 3.1",
        place="objectives/along.py:token_rewards",
        see=("token level", "outcome supervision", "credit assignment"),
        words=("response-level reward", "outcome reward", "sparse reward"),
        shows=("postlude audit REWARD DATA",),
    ),
    Topic(
        "labelled good and bad",
        "people judge both sides of a pair",
        ROW,
        "The notes call it the positive source: people label what is wanted and what is not.",
        use="The most control. A column that says who wrote each side is carried along with its row, and has no "
        "effect on "
        "the loss.",
        bad_at="Dear and slow.",
        source="docs/specification.md, section 14 (3.17)",
        place="feedback/labelled.py:Labelled",
        see=("labelled bad only", "human feedback", "error 3.17"),
        words=("positive source", "chosen_source"),
        shows=("postlude data check FILE",),
    ),
    Topic(
        "labelled bad only",
        "people label what is bad, a model writes the good",
        ROW,
        "The notes call it the negative source: only unwanted answers are labelled, and a model writes the other side. "
        "`postlude pairs` does that from one given side, or from a reward's extremes.",
        use="Cheap, and as much as one wants.",
        bad_at="Less control: the model's answers may be bad in another way, and they differ from the labelled side in "
        "style, which is then what is learned.",
        source="docs/feedback.md",
        place="feedback/sampled.py:Paired",
        see=("labelled good and bad", "ai feedback"),
        words=("negative source", "rejected_source"),
        shows=("postlude pairs MODEL --data FILE --out PAIRS.jsonl",),
    ),
    Topic(
        "overoptimisation",
        "the reward still rises, what it stands for falls",
        CONCEPT,
        "A reward is a proxy. The further the policy moves from where the proxy was right, the more of its gain is "
        "error: against a gold measure, quality first rises, peaks and then falls. KL to the start is the scale on "
        "which this happens.",
        formula="d = sqrt(KL);  best of n: gold = d (a - b d), peak at d = a/(2b);  RL: gold = d (a - b log d), peak "
        "at "
        "exp(a/b - 1)",
        healthy="truth beside the reward rises with it; truth/.../divergence near 0",
        use="Measure with something that is not trained on (evaluate.metrics), choose the checkpoint by it, stop "
        "there. More data for the reward model moves the peak; below some 2,000 comparisons it is near chance.",
        bad_at="A KL penalty mostly stops earlier: in the study it did not improve what gold one gets at a KL.",
        source="arXiv 2210.10760; docs/overoptimization.md; docs/specification.md, section 13",
        place="statistics.py:peak_rl",
        see=("reward hacking", "kl penalty", "checkpoints.best", "reward model"),
        words=("goodhart", "goodharts law", "reward over-optimization", "proxy reward", "gold reward"),
        shows=("postlude doctor RUN", "make study-overoptimization"),
    ),
)
