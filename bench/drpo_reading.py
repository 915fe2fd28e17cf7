"""What the page of the DRPO study says in words; the reading is of the numbers of docs/drpo-study.json."""

HEAD = """\
# DRPO's claim in miniature: accuracy against length

Made by `make study-drpo`, on `postlude compare` ([compare.md](compare.md)). The task (`bench/long_answers.py`): two
sums modulo 10, of the digits at odd and at even places. Half of the prompts have three or four digits and can be
answered at once; half have six or seven and need their working, since one guess in a hundred is right. The teachers hum
between most steps, and work out what could be said: the policy that starts (0.4 M parameters) is right {accuracy:.2f}
of the time, with {length:.1f} tokens.

Every arm trains for {steps} steps of 64 answers (8 prompts x 8, two updates a step, C = 64 tokens), with seeds 0 to 2,
from this one start. ± is of 95 % over seeds; tests are over seeds and 120 held-out prompts with four sampled answers
each. "GRPO α" is GRPO with the price on length of DRPO's motivating example, R = 1[right] (1 - α tokens/C), without a
KL term; without a penalty ALP is GRPO α 0. HAPO compares an answer with earlier ones to its prompt, so its runs go
through 128 of the 1,280 prompts three times; its strength 0 is GRPO on those. The catalogue's entries are the published
ones (tests/golden: `drpo_kl1`, `disco_logl`, `length_penalties`).
"""
READING = """
"""
