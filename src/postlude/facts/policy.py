"""Concepts of policy optimisation: ratio, trust region, advantage, critic, KL."""

from __future__ import annotations

from postlude.facts.basics import CONCEPT
from postlude.facts.topic import Topic

POLICY = (
    Topic(
        "trust region",
        "why a step must stay small",
        CONCEPT,
        "An advantage was measured under the policy that sampled; the further the new one is from it, the less the "
        "measurement says, and a large step can ruin what worked. Ways to stay near: a hard limit on the KL (TRPO), a "
        "penalty (ppo_penalty), a clipped ratio (ppo, grpo), a hinge on the KL (drpo), or stopping (stop_kl).",
        healthy="clip_frac_low + clip_frac_high below a few percent to a fifth; ratio/max in single digits",
        source="arXiv 1502.05477, 1707.06347; docs/specification.md, sections 3.4 and 4.2",
        place="objectives/surrogates.py:Clip",
        see=("clipping", "trpo", "adaptive kl", "stop_kl", "ratio/max", "kl penalty"),
        words=("proximal", "policy too far"),
        shows=("postlude doctor RUN",),
    ),
    Topic(
        "probability ratio",
        "how much likelier an action has become",
        CONCEPT,
        "The probability of a token under the policy now, by that under the policy that the draw began with. 1 at the "
        "first update of a draw; what it does later is staleness.",
        formula="rho_t = exp(lp_t - lp_old_t)",
        healthy="ratio/max in single digits",
        bad_at="Of whole answers it is a product of hundreds of numbers, and explodes: gspo takes the geometric mean.",
        source="docs/specification.md, section 0.1",
        place="objectives/terms.py:log_ratio",
        see=("clipping", "trust region", "off-policy", "gspo"),
        words=("importance ratio", "rho"),
        shows=("postlude explain ratio/max",),
    ),
    Topic(
        "clipping",
        "PPO's clipped surrogate",
        CONCEPT,
        "The ratio counts up to 1 + eps where the advantage is positive and down to 1 - eps where it is negative: "
        "beyond, a token has no gradient in the direction it already went. It limits what an update gains from going "
        "further; it does not forbid going, and does not ask whether the policy got better.\n\n"
        "At the first update of a draw the ratio is 1, nothing is clipped, and the gradient is the plain policy "
        "gradient A * gradient of lp: that answers the red question in the notebook.",
        formula="loss = - mean[ min( rho A, clip(rho, 1 - eps, 1 + eps) A ) ]",
        healthy="eps 0.2; 0.1 to 0.3 are used. GSPO's ratio of whole answers takes 3e-4",
        source="arXiv 1707.06347; docs/specification.md, section 3.4",
        place="objectives/surrogates.py:Clip",
        see=("objective.surrogate.low", "clip-higher", "clip_frac_high", "trust region", "error 3.1", "error 1.4"),
        words=("clip", "clipped surrogate", "epsilon", "clip ratio", "ppo clip"),
        shows=("postlude methods ppo",),
    ),
    Topic(
        "trpo",
        "trust region policy optimisation",
        CONCEPT,
        "PPO's ancestor: maximise ratio times advantage under a hard limit on the KL from the old policy to the new, "
        "by a second-order step. The notes print a penalty instead, with the KL the other way round: that is PPO's "
        "second form, ppo_penalty here.",
        formula="maximise mean[ rho A ]  subject to  mean KL(old || new) <= delta",
        use="Not offered itself. ppo_penalty for the penalty, drpo and disco for a limit on the KL.",
        source="arXiv 1502.05477; docs/specification.md, section 4.2",
        place="objectives/divergence.py:KL",
        see=("ppo_penalty", "trust region", "adaptive kl", "error 3.7"),
        words=("trust region policy optimization",),
        shows=("postlude methods ppo_penalty",),
    ),
    Topic(
        "advantage",
        "how much better than expected",
        CONCEPT,
        "Reward against a baseline: what an action or answer gained over what was to be expected. The baseline changes "
        "no expectation, only the noise. Choices: a critic (gae), the group's mean (grpo, dr_grpo), the mean of the "
        "others (rloo), the batch's mean (reinforce).",
        formula="A = R - baseline",
        healthy="mean 0 and deviation 1 where it is whitened; all 0 is a step without signal",
        source="docs/specification.md, sections 3.2 and 7.1",
        place="objectives/advantages.py",
        see=("gae", "no value model", "zero-signal groups", "grpo"),
        words=("advantage estimate", "baseline", "variance reduction"),
        shows=("postlude methods --compare grpo rloo ppo",),
    ),
    Topic(
        "gae",
        "advantages from a critic, bias against variance",
        CONCEPT,
        "Each token's error of the critic (reward plus next value minus value) is summed up along the rest of the "
        "answer, later ones less. lambda 0 trusts the critic after one step (biased, steady), lambda 1 waits for the "
        "reward (unbiased, noisy). Finite: the last token's next value is 0.",
        formula="delta_t = r_t + gamma V_{t+1} - V_t\nA_t = sum over l from 0 to T-1-t of (gamma lambda)^l delta_{t+l}",
        healthy="lambda 0.95 (0.9 to 1), gamma 1. With gamma 0.99 the reward of a thousand tokens later counts 4e-5",
        bad_at="As good as the critic: with an explained variance near 0 it only adds noise.",
        source="arXiv 1506.02438; docs/specification.md, section 3.2",
        place="objectives/advantages.py:GAE",
        see=("objective.advantage.lam", "value/explained_variance", "value function", "error 1.1", "ppo"),
        words=(
            "generalised advantage estimation",
            "generalized advantage estimation",
            "lambda",
            "td error",
            "discount",
        ),
        shows=("postlude methods ppo",),
    ),
    Topic(
        "value function",
        "what a state is worth",
        CONCEPT,
        "The critic's guess of the reward still to come, from the tokens so far: one number per token. It is trained "
        "along with the policy on the returns, and is the baseline of PPO.",
        formula="loss = 0.5 * mean[ 1/2 max( (V - return)^2, (V held within 0.2 of V_old - return)^2 ) ]",
        healthy="value/explained_variance rises above 0.3 or so; at 0 or below the critic knows nothing",
        use="critic: {form: own} is a second model, {form: trunk} a head on the policy. critic.path starts it from a "
        "reward model; critic.warmup lets it learn first.",
        bad_at="As large as the policy, and it has to guess the end from half an answer.",
        source="docs/specification.md, section 3.5",
        place="objectives/value.py:ValueLoss",
        see=("critic.form", "no value model", "gae", "value/explained_variance"),
        words=("critic", "value model", "value head", "value loss"),
        shows=("postlude memory RECIPE", "postlude methods ppo"),
    ),
    Topic(
        "no value model",
        "why group methods do without a critic",
        CONCEPT,
        "A critic is a second model of the policy's size with gradients and optimiser (InstructGPT: 6B beside the "
        "policy). And it is asked for a value at every token though the reward comes at the last: it has to guess the "
        "end from half an answer, and its error becomes noise in the advantage. Several answers to one prompt give a "
        "baseline for nothing: their mean.",
        use="Group methods (grpo, rloo, dr_grpo, drpo) where a prompt can be answered several times; ppo where credit "
        "within an answer matters and a critic can learn it.",
        bad_at="Several answers per prompt have to be sampled, all tokens share one advantage, and a prompt whose "
        "answers score alike teaches nothing.",
        source="arXiv 2402.03300; docs/specification.md, section 7",
        place="objectives/advantages.py:GroupBaseline",
        see=("grpo", "ppo", "value function", "memory of grpo", "zero-signal groups"),
        words=("critic-free", "without critic", "why no value model", "why no critic", "group baseline"),
        shows=("postlude memory MODEL --method ppo", "postlude memory MODEL --method grpo"),
    ),
    Topic(
        "credit assignment",
        "which token earned the reward",
        CONCEPT,
        "One number per answer does not say which of its tokens mattered. Group methods give all tokens the same "
        "advantage and let the comparison of many answers average it out; a critic spreads it (gae); rewards of steps "
        "say it (grpo_process).",
        source="docs/specification.md, sections 3.2 and 7.1",
        place="objectives/advantages.py:ProcessSteps",
        see=("gae", "process supervision", "token level", "limitation credit assignment"),
        words=("sparse rewards", "temporal credit"),
        shows=("postlude methods --compare grpo grpo_process ppo",),
    ),
    Topic(
        "kl penalty",
        "the pull to the reference",
        CONCEPT,
        "The reference is the policy's start, frozen (the SFT model, or whatever the run began with). The distance to "
        "it is either taken off the reward (ppo, rloo: one number per token, constant) or added to the loss (grpo: "
        "k3). "
        "Its estimates differ in their gradient: k1 as a loss has none in expectation, k2 pulls like the reverse KL, "
        "k3 "
        "like the forward one.\n\n"
        "It is per token; of an answer it is the sum of its tokens'.",
        formula="k1 = lp - lp_ref;   k2 = 1/2 (lp - lp_ref)^2;   k3 = exp(lp_ref - lp) - (lp_ref - lp) - 1",
        healthy="kl_ref/k3 grows slowly, and slower than the reward; hundredths of a nat per token are usual, above "
        "one the "
        "text is another",
        use="With a reward model keep it on. With a verifier 0 is usual, as there is less to game.",
        bad_at="It holds back good changes as well as bad ones.",
        source="docs/specification.md, sections 3.1 and 3.7",
        place="objectives/divergence.py:KL",
        see=("objective.kl.coef", "objective.advantage.kl_coef", "kl_ref/k3", "adaptive kl", "beta", "reward hacking"),
        words=("kl", "kl divergence", "kl coefficient", "reference", "kl estimators", "k1 k2 k3"),
        shows=("postlude explain kl_ref/k3", "postlude doctor RUN"),
    ),
    Topic(
        "adaptive kl",
        "a KL coefficient that follows a target",
        CONCEPT,
        "Give the KL one wants, not its price: after each step the coefficient goes up where the policy moved further "
        "than the target, down where less.",
        formula="double:        d > 1.5 target: beta * 2;   d < target/1.5: beta / 2\n"
        "proportional:  beta * (1 + 0.1 clip(d/target - 1, -0.2, 0.2))",
        healthy="kl_ref (proportional) or kl_old (double) near the target after some ten steps",
        use="kl_control with a target in nats; say which KL: per token or per answer differ by the length.",
        bad_at="For PPO the clip was found to do better; and one more setting, whose unit people confuse.",
        source="arXiv 1707.06347, 1909.08593; docs/specification.md, section 3.8",
        place="objectives/divergence.py:KLControl",
        see=("kl_control.target", "kl penalty", "ppo_penalty", "trpo", "error 3.13"),
        words=("kl controller", "adaptive kl coefficient", "target kl"),
        shows=("postlude train RECIPE method=ppo_penalty",),
    ),
    Topic(
        "entropy bonus",
        "paying for being undecided",
        CONCEPT,
        "The entropy of the next-token distribution, over the whole vocabulary, is added to what is maximised: a brake "
        "on collapsing to one answer. Taking -p log p of the sampled token instead, as the notes' code does, is "
        "another quantity.",
        formula="loss = ... - coef * mean over tokens of ( - sum over v of p_v log p_v )",
        healthy="off (0) unless entropy collapses; then 0.001 to 0.01",
        bad_at="Too large and the model babbles: entropy that rises without end.",
        source="docs/specification.md, section 3.6",
        place="objectives/token.py:TokenObjective",
        see=("objective.entropy", "entropy", "clip-higher", "exploration", "error 0.3"),
        words=("entropy", "entropy regularisation"),
        shows=("postlude explain entropy --kind figure",),
    ),
    Topic(
        "exploration",
        "sampling something new against staying safe",
        CONCEPT,
        "Only what is sampled can be rewarded. Temperature 1, several answers per prompt, an entropy bonus and "
        "clip-higher keep the policy trying; KL, a small rate and clipping keep it near what works.",
        healthy="entropy falls slowly and does not reach 0; frac_zero_std_groups stays below 1",
        source="docs/specification.md, sections 3.6 and 8",
        place="engines/settings.py:Sampling",
        see=("entropy", "clip-higher", "sampling.temperature", "limitation exploration"),
        words=("exploration vs exploitation", "diversity"),
        shows=("postlude doctor RUN",),
    ),
)
