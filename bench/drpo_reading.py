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
## What it says

**DRPO does not win here, and does not lose.** Its strengths order lengths as published (λ ∞, 0.5, 0.2, 0.1: 39.6, 39.2,
34.3, 26.3 tokens), and λ 0.1 takes a third of the tokens at an accuracy of 0.817 instead of 0.839. A plain price in
GRPO takes 37 % of them at 0.819 instead of 0.828. At equal reductions no difference between the two is to be seen; at
30 % an advantage of DRPO above 0.027 would have been (the published one over RLOO-LP, ALP and HAPO is about 0.09, at
half of the tokens). Against HAPO w 1, at the same length, DRPO λ 0.1 is better. ALP falls furthest, as published:
where wrong answers pay for their length as well, being wrong at once is the way out (β 0.1: 4.7 tokens, 0.02 on long
prompts).

Why no more than that:

* The task can punish a price on length: before training the right answers to a prompt are 14 tokens longer than the
  wrong ones, and a long prompt is right 0.63 of the time with hums and 0.44 without. Every method that shortens loses
  on long prompts. But the loss is a few hundredths, since the plain working gets better while it is trained.
* The harm that DRPO removes is rare. In GRPO with a price 7 % of the right answers have a negative advantage, and one
  has it only beside shorter right ones, which here are the same working without hums. A long answer that is the only
  right one of its group is pushed up in GRPO too.
* DRPO's preference acts where a group has both classes and right answers of several lengths: 23 to 39 % of groups. In
  40 to 47 % all answers are right, which gives DRPO no gradient at all, while GRPO divides the smallest price up to
  unit size there: α 0.4 and 0.8 come to the same length.
* λ's scale: right answers of a group differ by 11 to 15 tokens, a fifth of C = 64. The shortest then weigh 1.3 times
  their share at λ 0.5, 1.8 times at 0.2, 1.9 times at 0.1. Where C lies far above the lengths there are, λ must be
  smaller, or C nearer (`objective.advantage.cap`).
* The KL constraint is no reason: it is active in a fifth of the updates at every λ, infinity among them.

What this cannot say: one task, one start of 0.4 M parameters, 48 steps. The rates of four methods are the largest that
were tried, each chosen with one seed at one strength, HAPO's on prompts that came once. HAPO is trained on a tenth of
the others' prompts. A difference of 0.03 may be there unseen. It agrees with [methods-study.md](methods-study.md) (23.2
tokens at 0.709 against GRPO's 25.1 at 0.697: no clear effect).
"""
