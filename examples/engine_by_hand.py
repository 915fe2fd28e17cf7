"""A GRPO loop on the engine itself: python examples/engine_by_hand.py demo-run/sft/model demo-run/prompts.jsonl"""

import asyncio
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from postlude import LocalEngine, Prompt, Sampling, answer, methods, minibatches, pack


async def train(model: str, data: str, steps=130, lr=3e-4, max_tokens=48, output="by-hand", dtype="float32"):
    engine = LocalEngine.open(model, dtype=dtype)
    objective = replace(methods["grpo"].objective, kl=None)
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    render = engine.renderer.with_tokens
    prompts = [render(Prompt(str(i), row["prompt"], row["answer"])) for i, row in enumerate(rows)]
    pick, right = random.Random(0), 0.0
    for step in range(steps):
        chosen, sampling = pick.sample(prompts, 16), Sampling(max_tokens=max_tokens)
        groups = await answer(engine.sampler, chosen, 8, sampling, seed=0, tag=step)
        for i, group in enumerate(groups):
            rewards = [float(c.text.rpartition("#")[2].strip() == str(group.prompt.answer)) for c in group.completions]
            scored = tuple(replace(c, reward=r) for c, r in zip(group.completions, rewards, strict=True))
            groups[i] = replace(group, completions=scored)
        right = sum(c.reward or 0.0 for g in groups for c in g.completions) / (16 * 8)
        batch = objective.advantages(pack(groups, engine.trainer.dtype))
        for update in minibatches(batch, 1, objective.keeps_groups, None):
            weighed = objective.weigh(update, None)
            engine.trainer.forward_backward(weighed, objective)
            stats = engine.trainer.step(lr * (1 - 0.9 * step / steps))
        await engine.publish()
        print(f"step {step + 1:3d}  right {right:.3f}  gradient {stats.summary()['grad_norm']:.3f}", flush=True)
    await engine.save(Path(output))  # weights, tokenizer and optimiser; `await engine.load(...)` takes it up again
    return right


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/engine_by_hand.py MODEL_FOLDER PROMPTS.jsonl")
    asyncio.run(train(*sys.argv[1:]))
