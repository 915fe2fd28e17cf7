"""Concepts: what reinforcement learning is for a language model, and what a run is made of."""

from __future__ import annotations

from postlude.facts.topic import Topic

CONCEPT = "concept"

BASICS = (
    Topic(
        "mdp",
        "a language model as an agent",
        CONCEPT,
        "Writing an answer is a walk through states. State: the prompt and the tokens so far. Action: the next token. "
        "Transition: the token is appended, so nothing is random but the policy's own choice. Policy: the model, whose "
        "probabilities of the next token are those of the actions. Reward: usually one number once the answer is "
        "whole; a method may also read one per step or token. Episode: one answer, from the first token to its end.\n\n"
        "Since nothing else is random and the reward comes at the end, much of RL's machinery can be left out: the "
        "discount is 1, and whole answers to one prompt can be compared with each other.",
        use="In postlude an episode is a Completion, a prompt with its answers a Group; every token knows whether the "
        "policy sampled it (Completion.sampled), which is what is trained.",
        source="docs/specification.md, section 0",
        place="data.py:Completion",
        see=("reinforcement learning", "token level", "response level", "gae"),
        words=("markov decision process", "agent", "state", "action", "environment", "episode", "rl for llms"),
        shows=("postlude sample MODEL --data PROMPTS.jsonl",),
    ),
    Topic(
        "reinforcement learning",
        "learning from what an action leads to",
        CONCEPT,
        "A policy acts, a reward says how well it went, and actions that went better than expected become likelier. It "
        "is made for decisions whose worth shows later and for which nobody can write down the right action; "
        "supervised learning is for questions with an answer to copy.",
        formula="maximise  E[ R(x, y) ],  x a prompt, y an answer of the policy\n"
        "gradient   E[ (R - baseline) * gradient of log p(y | x) ]",
        source="Williams 1992; docs/specification.md, section 7",
        place="loop.py:train",
        see=("mdp", "why rl", "reinforce", "advantage"),
        words=("rl", "policy gradient"),
        shows=("postlude demo",),
    ),
    Topic(
        "alignment",
        "making a model do what people want",
        CONCEPT,
        "A pretrained model continues text as its data would; aligned, it follows what people asked for and prefer, "
        "and leaves out what harms. Three things decide what comes of it: the feedback, what turns it into a reward, "
        "and how the policy is optimised against that.",
        source="docs/feedback.md",
        see=("feedback data", "reward model", "rlhf pipeline", "alignment tax"),
        words=("llm alignment", "human preferences"),
        shows=("postlude methods",),
    ),
    Topic(
        "why rl",
        "why not only supervised fine-tuning",
        CONCEPT,
        "SFT copies one answer per prompt and treats every other as equally wrong. Where many answers are good, where "
        "people can say which of two is better but not write the best, or where a program can check what nobody wrote "
        "down, that is the wrong lesson. RL lets the model answer, and learns from its own mistakes as well as from "
        "what went right.\n\n"
        "SFT comes first all the same: it is cheap, it gives the form, and a policy that never earns a reward has "
        "nothing to learn from.",
        use="Look at the base rate first: `postlude check` samples it. At 0 begin with sft or rft; near 1 there is "
        "nothing left to learn.",
        source="docs/specification.md, sections 1 and 6",
        see=("sft", "rft", "zero-signal groups", "reward"),
        words=("sft or rl", "why not sft", "sft falls short"),
        shows=("postlude check RECIPE",),
    ),
    Topic(
        "rlhf pipeline",
        "feedback to reward model to policy",
        CONCEPT,
        "1. Fine-tune on written answers (sft). 2. Let people compare answers, and train a reward model on that "
        "(reward_model). 3. Optimise the policy against the reward model, held near its start by a KL term (ppo, or "
        "ppo_ptx with plain text against forgetting; grpo and rloo do without the critic). InstructGPT's is the model: "
        "pairs by people, an explicit pointwise reward model, PPO.",
        source="InstructGPT, arXiv 2203.02155; docs/feedback.md",
        place="cli/rlhf.py",
        see=("ppo", "ppo_ptx", "reward_model", "bradley-terry", "alignment tax"),
        words=("rlhf", "instructgpt", "human feedback"),
        shows=("postlude demo rlhf",),
    ),
    Topic(
        "online and offline",
        "learning from one's own answers, or from written ones",
        CONCEPT,
        "Offline methods (sft, dpo and its relatives, reward models) go through a file. Online methods sample from the "
        "policy as it is and score that: they see the mistakes it makes now, and pay for it in sampling and in a "
        "reward that has to hold against an optimiser.",
        source="docs/specification.md, section 12",
        place="streams.py:Stream",
        see=("off-policy", "online_dpo", "dpo"),
        words=("on-policy", "offline rl"),
        shows=("postlude methods --compare dpo online_dpo grpo",),
    ),
    Topic(
        "off-policy",
        "answers from another policy than the one that is trained",
        CONCEPT,
        "Two gaps. Staleness: later updates of a draw train a policy that has moved since it sampled; the ratio "
        "exp(lp - lp_old) of the clipped surrogates accounts for it. Mismatch: sampler and trainer give the same "
        "tokens other probabilities (numbers of another precision, another engine, answers drawn ahead); a constant "
        "weight exp(lp_old - lp_mu), cut off at 2, accounts for that.",
        formula="loss term = constant( min(exp(lp_old - lp_mu), 2) ) * surrogate( exp(lp - lp_old), A )",
        healthy="mismatch/ess near 1 and mismatch/max below some 0.1 nats; a ratio/max of hundreds means that single "
        "tokens decide the step",
        use="It is on wherever the sampler gives log-probs (objective.correction). For answers drawn ahead: max_lag 1.",
        bad_at="A correction trades bias for variance; far off, no weight helps: draw anew, or lower the rate.",
        source="docs/specification.md, section 12",
        place="objectives/weights.py:Correction",
        see=("objective.correction", "max_lag", "mismatch/ess", "mismatch/max", "ratio/max", "trust region"),
        words=("stale data", "importance sampling", "tis", "mismatch", "sampler and trainer disagree"),
        shows=("postlude selftest MODEL", "postlude doctor RUN"),
    ),
    Topic(
        "alignment tax",
        "what is lost while aligning",
        CONCEPT,
        "Optimising for a reward can cost skills the reward does not measure: tasks of pretraining get worse. Three "
        "brakes: a KL term to the reference, a small rate with few steps, and plain text trained along with every "
        "update (the pretraining mix of PPO-ptx).",
        formula="loss = loss of PPO + coef * (- mean over tokens of text of lp)",
        healthy="pretrain/held_out/loss/policy stays flat; where it rises, the run pays the tax",
        use="Take ppo_ptx, or give any method a pretrain section with a held-out file (pretrain.eval) to measure it.",
        source="InstructGPT, arXiv 2203.02155; docs/specification.md, section 4.1",
        place="recipe/schema.py:Pretrain",
        see=("ppo_ptx", "pretrain.coef", "kl penalty", "alignment"),
        words=("forgetting", "catastrophic forgetting", "pretraining mix", "ptx", "regression on other tasks"),
        shows=("postlude train RECIPE method=ppo_ptx pretrain.path=TEXT.jsonl pretrain.eval=HELD_OUT.jsonl",),
    ),
)
