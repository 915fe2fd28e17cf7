"""Golden values for rewards of steps and prefixes: `python -m tests.golden.steps` writes steps.json beside this file.

Plain loops over float64 numbers, one token after the other, straight from sections 3.1 to 3.5 and 7.1 of the
specification; nothing of postlude is used. Gradients are differences of fourth order. A reward r(x, y<=t) of a step or
a prefix stands at its own token, or where a tool wrote that, at the last token before it that the policy wrote; the
reward of the whole answer stands at the last token that the policy wrote.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

Ragged = list[list[float]]
LENGTHS = [4, 6, 1, 5, 3, 7]
GROUP = [0, 0, 0, 1, 1, 1]
H = 1e-3
SEED = 20254
"""One that puts no ratio within 2 H of an edge of the clip, where differences say nothing of the gradient."""


def numbers(rng: random.Random, low: float, high: float) -> Ragged:
    return [[round(rng.uniform(low, high), 4) for _ in range(n)] for n in LENGTHS]


def make_batch() -> dict[str, Any]:
    rng = random.Random(SEED)
    old = numbers(rng, -2.5, -0.1)
    near = lambda scale: [[round(x + rng.gauss(0, scale), 4) for x in row] for row in old]
    return {
        "group": GROUP,
        "lengths": LENGTHS,
        "logp": near(0.2),
        "old_logp": old,
        "ref_logp": near(0.3),
        "rollout_logp": near(0.05),
        "values": numbers(rng, -1, 1),
        "old_values": numbers(rng, -1, 1),
        "entropy": numbers(rng, 0.2, 2),
        # the second answer begins with a tool's token, the fourth and sixth have steps that end on one
        "loss_mask": [
            [1, 1, 1, 1],
            [0, 1, 1, 1, 1, 0],
            [1],
            [1, 1, 0, 1, 1],
            [1, 0, 1],
            [1, 1, 0, 0, 1, 1, 0],
        ],
        "correct": [1, 0, 1, 0, 1, 0],
        "reward": [1.0, 0.0, 0.4, -0.5, 1.2, 0.3],
        "truncated": [False, True, False, False, False, True],
        "step_end": [[1, 3], [0, 2, 5], [0], [2, 4], [], [0, 3, 6]],
        "step_reward": [[0.9, 0.2], [0.7, 0.1, -0.6], [0.5], [0.8, -0.3], [], [0.25, 0.75, -1.0]],
        "token_reward": numbers(rng, -0.5, 0.5),
        "prompt_value": [0.2, -0.1],
    }


# ------------------------------------------------------------------------------------------------------ the loops


def mask_of(batch: dict[str, Any], params: dict[str, Any]) -> list[list[int]]:
    return batch["loss_mask"] if params.get("mask") == "loss_mask" else [[1] * n for n in LENGTHS]


def placed(batch: dict[str, Any], params: dict[str, Any], i: int, mask: list[int]) -> list[float]:
    """The rewards of steps or prefixes of answer i, each at the token it counts for."""
    if params["rewards"] == "tokens":
        given = list(enumerate(batch["token_reward"][i]))
    else:
        given = list(zip(batch["step_end"][i], batch["step_reward"][i], strict=True))
    result = [0.0] * LENGTHS[i]
    for end, reward in given:
        t = end
        while t >= 0 and not mask[t]:
            t -= 1
        if t >= 0:
            result[t] += reward
    return result


def token_rewards(batch: dict[str, Any], params: dict[str, Any], i: int, mask: list[int]) -> list[float]:
    """r_t of section 3.1, with the rewards of steps."""
    result = placed(batch, params, i, mask)
    for t in range(LENGTHS[i]):
        if mask[t]:
            result[t] -= params["kl_coef"] * (batch["old_logp"][i][t] - batch["ref_logp"][i][t])
    last = max(t for t in range(LENGTHS[i]) if mask[t])
    result[last] += batch["reward"][i]
    return result


def gae(batch: dict[str, Any], params: dict[str, Any]) -> tuple[Ragged, Ragged]:
    """(advantages, returns) of section 3.2 over the tokens that the policy wrote; 0 elsewhere."""
    advantages, returns = [], []
    for i, mask in enumerate(mask_of(batch, params)):
        reward, value = token_rewards(batch, params, i, mask), batch["old_values"][i]
        own = [t for t in range(LENGTHS[i]) if mask[t]]
        a = [0.0] * LENGTHS[i]
        for place, t in enumerate(own):
            total = 0.0
            for later in range(place, len(own)):
                u = own[later]
                following = value[own[later + 1]] if later + 1 < len(own) else 0.0
                delta = reward[u] + params["gamma"] * following - value[u]
                total += (params["gamma"] * params["lam"]) ** (later - place) * delta
            a[t] = total
        advantages.append(a)
        returns.append([a[t] + value[t] if mask[t] else 0.0 for t in range(LENGTHS[i])])
    return advantages, returns


def to_go(batch: dict[str, Any], params: dict[str, Any]) -> Ragged:
    """sum over k >= t of gamma^(k-t) r_k, of section 7.1."""
    result = []
    for i, mask in enumerate(mask_of(batch, params)):
        reward = token_rewards(batch, params, i, mask)
        own = [t for t in range(LENGTHS[i]) if mask[t]]
        a = [0.0] * LENGTHS[i]
        for place, t in enumerate(own):
            a[t] = sum(params["gamma"] ** k * reward[u] for k, u in enumerate(own[place:]))
        result.append(a)
    return result


def process(batch: dict[str, Any], params: dict[str, Any]) -> Ragged:
    """Standardised over the group's steps, then the sum of those that end at or after t (section 7.1)."""
    mask = mask_of(batch, params)
    result = []
    for i in range(len(LENGTHS)):
        pool = [r for j in range(len(LENGTHS)) if GROUP[j] == GROUP[i] for r in batch["step_reward"][j]]
        mean = sum(pool) / len(pool)
        std = math.sqrt(sum((r - mean) ** 2 for r in pool) / (len(pool) - 1))
        steps = list(zip(batch["step_end"][i], batch["step_reward"][i], strict=True))
        result.append(
            [
                sum((r - mean) / (std + 1e-6) for end, r in steps if end >= t) if mask[i][t] else 0.0
                for t in range(LENGTHS[i])
            ]
        )
    return result


def whitened(rows: Ragged, mask: list[list[int]]) -> Ragged:
    """Section 3.3."""
    kept = [x for row, m in zip(rows, mask, strict=True) for x, k in zip(row, m, strict=True) if k]
    mean = sum(kept) / len(kept)
    variance = sum((x - mean) ** 2 for x in kept) / (len(kept) - 1)
    scale = math.sqrt(variance + 1e-8)
    return [
        [(x - mean) / scale if k else 0.0 for x, k in zip(row, m, strict=True)]
        for row, m in zip(rows, mask, strict=True)
    ]


def clipped(batch: dict[str, Any], params: dict[str, Any], advantages: Ragged, logp: Ragged) -> float:
    """Section 3.4, the mean over tokens or over answers of their means."""
    rows = []
    for i, mask in enumerate(mask_of(batch, params)):
        row = []
        for t in range(LENGTHS[i]):
            if mask[t]:
                ratio, a = math.exp(logp[i][t] - batch["old_logp"][i][t]), advantages[i][t]
                held = min(max(ratio, 1 - params["eps"]), 1 + params["eps"])
                row.append(max(-ratio * a, -held * a))
        rows.append(row)
    if params["mode"] == "token_mean":
        return sum(map(sum, rows)) / sum(map(len, rows))
    return sum(sum(row) / len(row) for row in rows) / len(rows)


def value_loss(batch: dict[str, Any], params: dict[str, Any], returns: Ragged) -> float:
    """Section 3.5, clipped, times its coefficient."""
    total, count = 0.0, 0
    for i, mask in enumerate(mask_of(batch, params)):
        for t in range(LENGTHS[i]):
            if mask[t]:
                value, before = batch["values"][i][t], batch["old_values"][i][t]
                held = min(max(value, before - params["clip_value"]), before + params["clip_value"])
                total += 0.5 * max((value - returns[i][t]) ** 2, (held - returns[i][t]) ** 2)
                count += 1
    return params["value_coef"] * total / count


def gradient(batch: dict[str, Any], params: dict[str, Any], advantages: Ragged) -> Ragged:
    """d loss / d logp by differences of fourth order."""

    def at(i: int, t: int, step: float) -> float:
        moved = [list(row) for row in batch["logp"]]
        moved[i][t] += step
        return clipped(batch, params, advantages, moved)

    def slope(i: int, t: int) -> float:
        return (8 * (at(i, t, H) - at(i, t, -H)) - (at(i, t, 2 * H) - at(i, t, -2 * H))) / (12 * H)

    return [[slope(i, t) for t in range(n)] for i, n in enumerate(LENGTHS)]


# ------------------------------------------------------------------------------------------------------ the cases

PPO = {"gamma": 1.0, "lam": 0.95, "kl_coef": 0.05, "eps": 0.2, "value_coef": 0.5, "clip_value": 0.2}
PLUS = {"gamma": 1.0, "kl_coef": 0.01, "eps": 0.2, "mode": "token_mean"}
CASES: dict[str, dict[str, Any]] = {
    "ppo_steps": {**PPO, "mode": "token_mean", "rewards": "steps"},
    "ppo_steps_masked": {**PPO, "mode": "token_mean", "rewards": "steps", "mask": "loss_mask"},
    "ppo_steps_discounted": {**PPO, "mode": "token_mean", "rewards": "steps", "gamma": 0.9, "lam": 0.8},
    "ppo_prefixes": {**PPO, "mode": "token_mean", "rewards": "tokens"},
    "ppo_prefixes_masked": {**PPO, "mode": "token_mean", "rewards": "tokens", "mask": "loss_mask", "gamma": 0.9},
    "reinforce_pp_steps": {**PLUS, "rewards": "steps"},
    "reinforce_pp_steps_masked": {**PLUS, "rewards": "steps", "mask": "loss_mask", "gamma": 0.9},
    "reinforce_pp_prefixes": {**PLUS, "rewards": "tokens", "gamma": 0.97},
    "grpo_process_masked": {"eps": 0.2, "mode": "seq_mean_token_mean", "rewards": "steps", "mask": "loss_mask"},
}


def case(batch: dict[str, Any], name: str, params: dict[str, Any]) -> dict[str, Any]:
    mask, aux = mask_of(batch, params), {}
    loss = 0.0
    if name.startswith("ppo"):
        plain, returns = gae(batch, params)
        advantages = whitened(plain, mask)
        aux = {"advantage_unwhitened": plain, "return": returns}
        loss = value_loss(batch, params, returns)
    elif name.startswith("reinforce"):
        plain = to_go(batch, params)
        advantages = whitened(plain, mask)
    else:
        advantages = process(batch, params)
    return {
        "section": "7.1" if "lam" not in params else "3",
        "params": params,
        "loss": loss + clipped(batch, params, advantages, batch["logp"]),
        "wrt": "logp",
        "grad": gradient(batch, params, advantages),
        "aux": {**aux, "advantages": advantages},
    }


def main() -> None:
    batch = make_batch()
    meta = {
        "schema": "as golden.json; `rewards` of params says which rewards stand at their own tokens: step_reward at "
        "step_end, or token_reward at every token; reward is then that of the whole answer, beside them",
        "dtype": "float64",
        "finite_difference": {"order": 4, "h": H},
        "tolerance": {"loss_rel": 1e-10, "grad_abs": 1e-9},
        "convention": "losses are minimised; an absent mask is all ones",
    }
    cases = {name: case(batch, name, params) for name, params in CASES.items()}
    text = json.dumps({"meta": meta, "batch": batch, "cases": cases}, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()
