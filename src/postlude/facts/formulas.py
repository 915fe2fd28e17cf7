"""What each method minimises, in plain text.

lp, lp_old, lp_ref, lp_mu are log-probs of a token under the policy, the policy that the draw began with, the reference,
the sampler; R is an answer's reward, n its length, G the group's size, s(x) = 1 / (1 + exp(-x)) the sigmoid.
"""

from __future__ import annotations

from collections.abc import Mapping

SURROGATE = "loss = - mean[ min(r A, clip(r, 1-0.2, 1+0.2) A) ],  r = exp(lp - lp_old)"
GROUP = "A = (R - mean of the group) / (deviation of the group + 1e-6)"
GAE = (
    "A_t = sum_l (gamma lambda)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}),  gamma 1, lambda 0.95, then whitened\n"
    "r_t = - beta (lp_old - lp_ref),  plus R at the last token"
)
PER_PAIR = "h = sum(lp - lp_ref) of the chosen - sum(lp - lp_ref) of the rejected"
SCORES = "s_w, s_l: scores of the better and the worse answer"
DISCRIMINATE = (
    "loss = - mean over prompts [ sum_right w_i s_i - tau log mean_wrong exp(s_j / tau) ]\n"
    "       + beta/2 max(0, K - delta)^2\n"
)
HELD = "K = mean(lp_old - lp) over all tokens; tau 10, beta 1000, delta 1e-4"

FORMULAS: Mapping[str, str] = {
    "sft": "loss = - mean over tokens of lp",
    "rft": "loss = - mean over accepted answers of (1/n sum lp)",
    "expert_iteration": "loss = - mean over accepted answers of (1/n sum lp), 8 updates, 2 epochs per draw",
    "rft_online": "loss = - mean over accepted answers of (1/n sum lp),  A = 1 accepted, 0 not",
    "reinforce": "loss = - mean over answers of (A sum lp),  A = R - mean of the batch",
    "reinforce_pp": f"{SURROGATE} over tokens\nA_t = whitened( sum_{{k>=t}} r_k ),  r_k = - 0.01 (lp_old - lp_ref), "
    "plus R at the last",
    "reinforce_pp_baseline": f"{SURROGATE} over tokens + 0.001 mean[ 1/2 (lp - lp_ref)^2 ]\nA = whitened( R - mean "
    "of the group )",
    "rloo": "loss = - mean over answers of (A sum lp)\nA = R' - mean of the others' R',  R' = R - 0.05 sum(lp_old - "
    "lp_ref)",
    "rloo_clip": "loss = - mean[ min(r A, clip(r, 0.8, 1.2) A) ],  r = exp(sum(lp - lp_old))\nA as in rloo",
    "grpo": f"{SURROGATE}, per answer first\n       + 0.04 mean[ exp(lp_ref - lp) - (lp_ref - lp) - 1 ]\n{GROUP}",
    "grpo_process": (
        "loss as in grpo\nA_t = sum of the standardised rewards of the steps that end at t or later, the step in "
        "progress too"
    ),
    "dr_grpo": "loss = - mean over answers of (sum over tokens of min(r A, clip(r, 0.8, 1.2) A)) / length limit\nA = "
    "R - mean of the group",
    "dapo": (
        "loss = - mean over tokens[ min(r A, clip(r, 1-0.2, 1+0.28) A) ]\n"
        f"{GROUP},  R = +1 or -1, plus the penalty on overlong answers; mixed groups only"
    ),
    "gspo": "loss = - mean over answers[ min(r A, clip(r, 1-3e-4, 1+4e-4) A) ],  r = exp(1/n sum(lp - "
    "lp_old))\n{GROUP}",
    "gspo_token": "loss as in gspo, with r_t = constant(r) exp(lp - constant(lp)): the same value, a gradient per "
    "token",
    "cispo": f"loss = - mean over tokens[ constant(min(r, cap)) A lp ],  r = exp(lp - lp_old)\n{GROUP}",
    "dppo": (
        "loss = - mean over tokens[ keep A r ] + 0.002 mean[ 1/2 (lp - lp_mu)^2 ],  r = exp(lp - lp_mu)\n"
        "keep = 0 once p - p_mu has gone further than 0.2 in the direction of A\nA = R - mean of the group"
    ),
    "drpo": (
        DISCRIMINATE
        + "s = 1/n sum lp;  w_i proportional to exp( (1 - n_i/C) / lambda ) among the right, lambda 0.1\n"
        + HELD
    ),
    "disco": DISCRIMINATE + "s = 1/n sum lp;  w_i = 1 / number of right answers\n" + HELD,
    "disco_ratio": DISCRIMINATE
    + "s = 1/n sum exp(lp - lp_old);  w_i = 1 / number of right answers\n"
    + HELD.replace("tau 10", "tau 1"),
    "rloo_lp": "loss = - mean over answers of (A sum lp),  A = R' - mean of the others' R'\nR' = right * (1 - 0.1 "
    "s((n - mean) / deviation)), over the prompt's right answers",
    "alp": f"{SURROGATE}, per answer first\n{GROUP},  R' = R - 0.001 n max(share solved, 1/G)",
    "hapo": f"{SURROGATE}, per answer first\n{GROUP},  R' = R + 0.1 f,  f = cos(pi/2 min(n / shortest right so far, "
    "2)), held to [-0.7, 1] if right, [-1, 0] if wrong",
    "ppo": f"{SURROGATE} over tokens\n       + 0.5 mean[ 1/2 (V - return)^2, clipped ]\n{GAE},  beta 0.05",
    "ppo_ptx": f"loss of ppo (beta 0.02) - coef * mean over tokens of text of lp\n{GAE}",
    "ppo_penalty": f"loss = - mean[ r A ] + 0.5 mean[ lp_old - lp ] + value loss\n{GAE},  beta 0.05",
    "drpo_value": (
        "loss = ppo's clipped surrogate + 0.5 mean[ 1/2 (V(x) - R)^2 ] - 0.01 mean[ entropy ]\n"
        "A = w (R - V(x)) for right answers above V(x), else R - V(x);  w = exp((1 - n/C)/0.1), mean 1 over the right"
    ),
    "online_dpo": f"loss = - mean log s(0.1 h) over (best, worst) of each group\n{PER_PAIR}",
    "dpo": f"loss = - mean over pairs of log s(0.1 h)\n{PER_PAIR}",
    "dpo_length_normalised": "loss = - mean over pairs of log s(2 h),  h with means over tokens in place of sums",
    "cdpo": f"loss = - mean[ (1-e) log s(0.1 h) + e log s(-0.1 h) ],  e 0.1\n{PER_PAIR}",
    "dpo_robust": f"loss = - mean[ ((1-e) log s(0.1 h) - e log s(-0.1 h)) / (1 - 2e) ],  e 0.1\n{PER_PAIR}",
    "ipo": f"loss = mean over pairs of (h - 1/(2 * 0.1))^2\n{PER_PAIR}",
    "ipo_mean": "loss = mean over pairs of (h - 1/(2 * 0.1))^2,  h with means over tokens in place of sums",
    "hinge": f"loss = mean over pairs of max(0, 1 - 0.1 h)\n{PER_PAIR}",
    "kto": (
        "loss = mean of 1 - s(0.1 (d - z)) for good answers, 1 - s(0.1 (z - d)) for bad ones\n"
        "d = sum(lp - lp_ref);  z = max(0, mean d of answers beside another's prompt), constant"
    ),
    "orpo": "loss = - mean lp of the chosen - 0.1 log s( log odds(chosen) - log odds(rejected) ),  odds = p/(1-p), p "
    "= exp(mean lp)",
    "simpo": "loss = - mean over pairs of log s( 2 mean lp(chosen) - 2 mean lp(rejected) - 0.5 )",
    "reward_model": f"loss = - mean over prompts of the mean over its pairs of log s(s_w - s_l)\n{SCORES}",
    "reward_model_soft": "loss = - mean[ q log s(s_1 - s_2) + (1-q) log s(s_2 - s_1) ],  q = chance that the first "
    "is better",
    "reward_model_listwise": "loss = mean over prompts of sum_k [ log sum_{j>=k} exp s_j - s_k ],  s in the order of "
    "the ranking",
    "reward_model_binary": "loss = - mean[ y log s(score - b) + (1-y) log s(b - score) ],  y 1 good, 0 bad",
    "reward_model_pair": "loss = - mean[ y log s(z) + (1-y) log s(-z) ],  z read from both answers, in both orders",
    "reward_model_process": "loss = - mean over labelled steps of [ y log s(z) + (1-y) log s(-z) ]",
}
"""Method -> loss, with the method's own defaults."""
