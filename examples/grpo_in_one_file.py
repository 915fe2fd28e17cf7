"""GRPO in one file, with nothing but torch and transformers: what `method: grpo` does, to be read from top to bottom.

    python examples/grpo_in_one_file.py demo-run/sft/model demo-run/prompts.jsonl

For every prompt the model writes a group of answers; each gets a reward; an answer that is better than its group
becomes more likely, a worse one less. There is no critic: the group is the baseline. A test holds the gradient of
`grpo_loss` equal to the library's. What the library adds is speed (packed rows, shared prompts), checks, resume and the
other methods.
"""

import json
import random
import sys

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS_PER_STEP = 16
GROUP = 8
STEPS = 130
MAX_TOKENS = 48
LEARNING_RATE = 3e-4
CLIP = 0.2  # the ratio to the old policy counts up to 1 +- CLIP
KL = 0.04  # weight of the pull back to the starting weights; 0 switches it off
EPS = 1e-6  # added to the group's standard deviation


def reward(answer, expected):
    """1 where what follows the last `#` is right, else 0."""
    return float(answer.rpartition("#")[2].strip() == str(expected))


@torch.no_grad()
def sample(model, tokenizer, prompt):
    """GROUP answers to one prompt: (prompt ids [P], a list of answer ids, each with its end-of-sequence token)."""
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    out = model.generate(
        ids.repeat(GROUP, 1),
        attention_mask=torch.ones(GROUP, ids.shape[1], dtype=torch.long),
        max_new_tokens=MAX_TOKENS,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    answers = []
    for row in out[:, ids.shape[1] :]:
        ends = (row == tokenizer.eos_token_id).nonzero()
        answers.append(row[: int(ends[0]) + 1] if len(ends) else row)
    return ids[0], answers


def advantages(rewards):
    """[GROUP] rewards against their own group: (R - mean) / (standard deviation + EPS), 0 where all are equal."""
    if bool((rewards == rewards[0]).all()):
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / (rewards.std() + EPS)


def log_probs(model, prompt, answers):
    """[N, L] log-prob of each answer's tokens, and [N, L] which of them are real."""
    rows = [torch.cat([prompt, a]) for a in answers]
    ids = pad_sequence(rows, batch_first=True)
    real = pad_sequence([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True)
    logits = model(input_ids=ids, attention_mask=real).logits[:, :-1]  # position t predicts token t + 1
    scores = torch.log_softmax(logits.float(), -1).gather(2, ids[:, 1:, None]).squeeze(2)
    return scores[:, len(prompt) - 1 :], real[:, len(prompt) :].bool()


def grpo_loss(new, old, reference, advantage, real):
    """The loss of some answers: [N, L] log-probs under three models, [N] advantages, [N, L] mask (2402.03300 eq. 3).

    The mean over each answer's tokens, then the mean over answers.
    """
    ratio = torch.exp(new - old)
    a = advantage[:, None]
    gain = torch.minimum(ratio * a, torch.clamp(ratio, 1 - CLIP, 1 + CLIP) * a)
    if KL:
        apart = reference - new
        gain = gain - KL * (torch.exp(apart) - apart - 1)  # the k3 estimate of the divergence
    per_answer = (gain * real).sum(1) / real.sum(1)
    return -per_answer.mean()


def train(folder, data):
    torch.manual_seed(0)
    random.seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()  # no dropout: ratios start at 1
    start = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() if KL else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    with open(data) as lines:
        rows = [json.loads(line) for line in lines]
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - 0.9 * step / STEPS)
        right = 0.0
        for row in random.sample(rows, PROMPTS_PER_STEP):
            prompt, answers = sample(model, tokenizer, row["prompt"])
            texts = [tokenizer.decode(a, skip_special_tokens=True) for a in answers]
            rewards = torch.tensor([reward(text, row["answer"]) for text in texts])
            right += float(rewards.sum())
            new, real = log_probs(model, prompt, answers)
            old = new.detach()  # one update per draw: the old policy is the current one
            with torch.no_grad():
                reference = log_probs(start, prompt, answers)[0] if start is not None else old
            loss = grpo_loss(new, old, reference, advantages(rewards), real)
            (loss / PROMPTS_PER_STEP).backward()  # groups are of one size, so the mean of means is the mean
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1:3d}  right {right / (PROMPTS_PER_STEP * GROUP):.3f}", flush=True)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/grpo_in_one_file.py MODEL_FOLDER PROMPTS.jsonl")
    train(*sys.argv[1:])
