"""From evidence to a method: a table of routes, the first that fits is taken, and each says why it is not.

A route is one function. It returns a `Fit` with its reasons, each with the evidence it rests on, or a `Miss` with why
not, and what would change that. The order of `ROUTES` is the order of preference; it follows the decision tree of the
notes (pairs: DPO; what can be verified: GRPO; a strong labeller: RLAIF), with the corrections that each function names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postlude.advice.evidence import Evidence, Part
from postlude.advice.shapes import Feedback

SOLVES_NONE, SOLVES_ALL = 0.02, 0.95
"""A base pass rate whose interval lies below the first, or above the second, leaves nothing to learn from."""
RARELY = 0.05
"""Below this most groups of answers have no right one."""
BIASED = 0.75
"""Share of pairs that prefer the longer answer from which on length is held in check."""
CONTRADICTED = 0.03
"""Share of pairs that are contradicted from which on labels are taken for noisy."""
FEWEST_ASKED = 6
"""Prompts below which a base pass rate near 0 or 1 says too little."""
CUT_OFF = 0.5
"""Share of cut-off answers above which a pass rate near 0 may be too low."""
MANY = 32
"""Answers to a prompt, where right ones are rare."""
FEWEST_SIDE, LOPSIDED = 20, 0.1
"""Thumbs of one kind, and their share, below which no weight makes up for the lack of them."""
FEW_ANSWERS = 100
"""Written answers below which they are no stage of their own beside other feedback."""


@dataclass(frozen=True)
class Reason:
    """Why, and on what evidence."""

    text: str
    evidence: str


@dataclass(frozen=True)
class Fit:
    """A route that can be taken."""

    method: str
    feedback: Feedback
    reasons: tuple[Reason, ...]
    first: str = ""
    """What comes before it, where something has to."""
    lead: str = ""
    """What is to be said before the method's name."""


@dataclass(frozen=True)
class Miss:
    """A route that is not taken."""

    why: str
    unless: str
    """What would change that."""


@dataclass(frozen=True)
class Route:
    """One way to train."""

    name: str
    """Of the methods it leads to, for people."""
    look: Callable[[Evidence], Fit | Miss]


def counted_rows(part: Part) -> str:
    """How many distinct rows there are, and where."""
    where = ", ".join(name.rpartition("/")[2] for name in part.files[:3]) + (", ..." if part.files[3:] else "")
    return f"{part.distinct:,} distinct {part.words} in {where}"


def in_order(part: Part) -> str:
    """The same where rows of several kinds stand beside each other."""
    return f"{part.distinct:,} {part.words}"


# ---------------------------------------------------------------------------------------------------- the routes


def reward_model(e: Evidence) -> Fit | Miss:
    """A reward model or a judge is trained where one is asked for."""
    part = e.part("lists", "pairs", "thumbs", "steps")
    if part is None:
        return Miss("no answers are compared or judged here", "pairs, lists, thumbs or labelled steps")
    if not e.goal.has("reward model", "judge"):
        return Miss(
            "the aim is a policy, and DPO needs no model between preferences and policy",
            '--goal "a reward model": for RL on new prompts, or to rank answers',
        )
    judge = e.goal.has("judge") and not e.goal.has("reward model")
    method = {"pairs": "reward_model", "thumbs": "reward_model_binary", "steps": "reward_model_process"}.get(
        part.feedback
    )
    method = "reward_model_listwise" if method is None and part.ties < 0.01 else method or "reward_model"
    method = "reward_model_pair" if judge and part.feedback == "pairs" else method
    reasons = [Reason(_ASKED_FOR[judge], f'--goal "{e.goal.text}"'), Reason(_WHY_SCORER[method], counted_rows(part))]
    return Fit(method, part.feedback, tuple(reasons))


_ASKED_FOR = {False: "a reward model was asked for", True: "a judge of answers was asked for"}
_WHY_SCORER = {
    "reward_model": "comparisons teach scores (Bradley-Terry; K-wise on lists with ties)",
    "reward_model_listwise": "full rankings teach scores at once (Plackett-Luce)",
    "reward_model_binary": "thumbs teach absolute scores",
    "reward_model_process": "labelled steps teach a score for every step",
    "reward_model_pair": "a judge reads both answers and says which is better, so it may also see intransitive taste",
}


def process(e: Evidence) -> Fit | Miss:
    """Labelled steps: a process reward model, then GRPO with a reward for each step."""
    part = e.part("steps")
    if part is None:
        return Miss("no step of an answer is labelled", "rows with steps and a label for each")
    reason = (
        "each step is judged, and a process reward model tells where an answer goes wrong, which one label "
        "per answer cannot"
    )
    return Fit(
        "reward_model_process", "steps",
        (Reason(reason, f"{counted_rows(part)}, {part.wrong:.0%} of the steps wrong"),),
    )  # fmt: skip


def solve_first(e: Evidence) -> Fit | Miss:
    """Where no answer is right, RL has nothing to reinforce: written answers first, or the few lucky ones."""
    part, answers = e.part("tests", "golds") or (e.part("prompts") if e.reward else None), e.part("answers")
    if part is None or e.base is None or not e.base.graded:
        return Miss(
            "it is for prompts that the model never solves, and that was not measured", "a base pass rate near 0"
        )
    if e.part("pairs", "lists"):
        return Miss("pairs need no right answer among the model's own", "without the pairs")
    if e.base.prompts < FEWEST_ASKED and e.base.right.value:
        return Miss(
            f"only {e.base.prompts} prompts were asked, too few to tell", f"{FEWEST_ASKED} prompts asked (--prompts)"
        )
    if e.base.right.value >= RARELY or (e.base.right.low > SOLVES_NONE):
        return Miss(f"the model solves {e.base.right} already", "a base pass rate near 0")
    said = Reason("RL reinforces right answers, and there are next to none", pass_rate(e))
    again = measure_again(e)
    if answers is not None and answers.distinct >= 20:
        shown = Reason("written answers show what a right one is", counted_rows(answers))
        return Fit("sft", "answers", (said, shown), again, NOT_YET)
    chance = 1 - 0.99**MANY
    many = Reason(
        "many answers are drawn to each prompt, and the model is fine-tuned on the right ones alone",
        f"arithmetic: at a pass rate of 1 %, {MANY} answers hold a right one for {chance:.0%} of the prompts",
    )
    easier = "easier prompts, or written solutions: both do more than drawing more"
    return Fit("rft", part.feedback, (said, many), again or easier, NOT_YET)


def measure_again(e: Evidence) -> str:
    """What to do first where most answers were cut off."""
    b = e.base
    if b is None or b.cut_off <= CUT_OFF:
        return ""
    more = 4 * (b.room or b.longest or 256)
    model = f" --model {e.model.path}" if e.model else ""
    return (
        f"{b.cut_off:.0%} of the sampled answers were cut off, so the rate may be too low: measure again with longer "
        f"ones: postlude advise DATA{model} --max-tokens {more}"
    )


NOT_YET = "no RL yet, the model solves next to nothing: "


def pass_rate(e: Evidence) -> str:
    """The base pass rate, with how it was measured."""
    assert e.base is not None
    b = e.base
    return f"base pass rate {b.right}: {b.right.count:g} of {b.right.of} answers to {b.prompts} prompts"


def shorter(e: Evidence) -> Fit | Miss:
    """Shorter answers where right ones can be told."""
    part = e.part("golds", "tests")
    if not e.goal.has("shorter"):
        return Miss("shorter answers were not asked for", '--goal "shorter answers"')
    if part is None:
        return Miss(
            "no right answer can be told here, and short wrong ones are worth nothing", "right answers, or tests"
        )
    return Fit(
        "drpo", part.feedback,
        (
            Reason("shorter answers were asked for", f'--goal "{e.goal.text}"'),
            Reason("right answers can be told, so that length counts among the right ones only", counted_rows(part)),
        ),
    )  # fmt: skip


def written_first(e: Evidence) -> Fit | Miss:
    """Many written answers beside other feedback: InstructGPT's order, fine-tuning first."""
    answers = e.part("answers")
    others = [p for p in (e.part("pairs", "lists"), e.part("thumbs"), e.part("golds", "tests")) if p is not None]
    if answers is None or not others:
        return Miss("there is one kind of feedback, so no order to choose", "written answers beside other feedback")
    most = max(part.distinct for part in others)
    if answers.others or answers.distinct < min(FEW_ANSWERS, most):
        return Miss("the other rows say more than the few written answers", "more written answers of their own")
    if e.base is not None and e.base.graded and e.base.right.value >= RARELY and not e.part("pairs", "lists", "thumbs"):
        return Miss(f"the model solves {e.base.right} already, so RL has what to reinforce", "a base pass rate near 0")
    reason = (
        "written answers come first: preferences and rewards refine a model that already answers in the right manner"
    )
    beside = "; ".join(in_order(part) for part in [answers, *others])
    return Fit("sft", "answers", (Reason(reason, beside),))


def pairs(e: Evidence) -> Fit | Miss:
    """Preference pairs: DPO, or a relative where the pairs call for one."""
    part = e.part("pairs")
    if part is None:
        if e.part("lists"):
            return Miss("the lists hold the comparisons, and DPO reads them whole", "pairs instead of lists")
        return Miss(
            "there are no pairs of a better and a worse answer", "pairs (`postlude pairs` makes them of samples)"
        )
    method, why = variant(part)
    reasons = [
        Reason("start with DPO where pairs exist: one model, no sampling, no reward to be gamed", counted_rows(part))
    ]
    return Fit(method, "pairs", (*reasons, *why))


def longer_wins(part: Part) -> bool:
    """Whether length alone tells most better answers, beyond chance."""
    return part.longer is not None and part.longer.value >= BIASED and part.longer.low > 0.6


def variant(part: Part) -> tuple[str, list[Reason]]:
    """Which relative of DPO, by what the pairs show."""
    if longer_wins(part):
        text = "log-ratios are averaged over tokens, since summed ones also learn that longer is better"
        return "dpo_length_normalised", [Reason(text, f"the chosen answer is the longer one in {part.longer} of pairs")]
    if part.conflicts >= max(2, CONTRADICTED * part.distinct):
        text = "labels are taken to be wrong now and then (smoothing), as some contradict each other"
        return "cdpo", [Reason(text, f"{part.conflicts:,} of {part.distinct:,} pairs are contradicted by another")]
    return "dpo", []


def lists(e: Evidence) -> Fit | Miss:
    """Ranked or rated lists: every comparison of a list at once."""
    part = e.part("lists")
    if part is None:
        return Miss("no lists of several answers are ranked or rated", "ranked or rated lists")
    text = "DPO reads lists whole: all comparisons of a list count as one example (listwise), so no pairs need be made"
    method, why = variant(part)
    return Fit(method, "lists", (Reason(text, f"{counted_rows(part)}, {part.size:g} answers each"), *why))


def thumbs(e: Evidence) -> Fit | Miss:
    """Thumbs: KTO, unless all point one way."""
    part = e.part("thumbs")
    if part is None:
        return Miss("no single answers are judged good or bad", "answers with a thumb up or down")
    if part.down == 0:
        return Fit(
            "sft", "thumbs",
            (Reason("every thumb is up, so the rows are examples to imitate", f"{part.up:,} up, 0 down"),),
        )  # fmt: skip
    if part.down < FEWEST_SIDE and part.down <= LOPSIDED * part.distinct:
        few = f"{part.up:,} up, {part.down:,} down"
        return Fit(
            "sft", "thumbs",
            (Reason("hardly any thumb is down, so the good answers are examples to imitate; the few bad ones are left "
                    "out, since a weight that made up for it would let single rows decide", few),),
        )  # fmt: skip
    text = "KTO learns from single answers, good or bad, and needs no two answers to one prompt"
    return Fit("kto", "thumbs", (Reason(text, f"{counted_rows(part)}: {part.up:,} up, {part.down:,} down"),))


def verified(e: Evidence) -> Fit | Miss:
    """Right answers or tests: GRPO; DAPO where few groups would carry a signal."""
    part = e.part("tests", "golds")
    part = part or (e.part("prompts") if e.reward else None)
    if part is None:
        return Miss(
            "nothing says whether an answer is right", "right answers, tests, or a reward of your own (--reward)"
        )
    by = {"tests": "tests", "golds": "the right answers"}.get(part.feedback, "your reward")
    by = f"your reward {e.reward['use']}" if e.reward else by
    reasons = [Reason(f"answers can be verified by {by}, and no critic is needed", counted_rows(part))]
    if e.base is not None and e.base.graded and e.base.prompts >= FEWEST_ASKED and 0 < e.base.right.value < 1:
        reasons.append(Reason("the model solves some and not all, so groups of answers differ", pass_rate(e)))
        if e.base.signal.value < 0.35:
            text = "groups whose answers are all right or all wrong are drawn anew (dynamic sampling)"
            return Fit("dapo", part.feedback, (*reasons, Reason(text, f"groups of 8 with a signal: {e.base.signal}")))
    return Fit("grpo", part.feedback, tuple(reasons))


def written(e: Evidence) -> Fit | Miss:
    """Written answers or text: imitation."""
    part = e.part("answers", "text")
    if part is None:
        return Miss("no answers are written out to imitate", "prompts with written answers")
    text = "there are answers to imitate, and nothing that tells better from worse"
    return Fit("sft", part.feedback, (Reason(text, counted_rows(part)),))


def ai_feedback(e: Evidence) -> Fit | Miss:
    """Prompts alone: feedback by a model."""
    part = e.part("prompts")
    if part is None:
        return Miss(
            "there is feedback already, and a labelling model adds its own taste", "prompts without any feedback"
        )
    return Fit(
        "grpo", "prompts",
        (
            Reason("nobody says which answers are good, so a stronger model has to (RLAIF)", counted_rows(part)),
            Reason("a judge rewards the policy's own answers directly", "no pairs, right answers or tests in the data"),
        ),
        "choose a judge stronger than the model, and see whether it can be fooled: postlude audit judge DATA",
        "RLAIF, a judge gives the feedback: ",
    )  # fmt: skip


def critic(e: Evidence) -> Fit | Miss:
    """PPO: named as what it costs, never the first choice."""
    return Miss(
        "a critic as large as the policy doubles memory and adds settings that must be right",
        "a reward model for nuanced preferences, and room for two models (`postlude methods ppo`)",
    )


ROUTES: Sequence[Route] = (
    Route("reward model", reward_model),
    Route("process reward model, then grpo_process", process),
    Route("sft or rft before RL", solve_first),
    Route("drpo", shorter),
    Route("sft first", written_first),
    Route("dpo", pairs),
    Route("dpo on lists", lists),
    Route("kto", thumbs),
    Route("grpo on what is verified", verified),
    Route("sft", written),
    Route("RLAIF: grpo with a judge", ai_feedback),
    Route("ppo", critic),
)
"""What can be done, the first choice first."""
