"""Section `rows`: what was read, used and left out, how long rows are, what stands in them twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postlude.data import Group, Prompt
from postlude.errors import Problem
from postlude.preflight.report import Section
from postlude.prepared import Prepared
from postlude.rewards.text_only import by_reason, sentence, text_only
from postlude.words import counted

DUPLICATES = 0.01
"""Share of rows that repeat another from which on that is more than a note."""


@dataclass(frozen=True)
class Lengths:
    """Of some rows, in tokens."""

    least: int
    median: int
    p95: int
    most: int

    @classmethod
    def of(cls, sizes: Iterable[int]) -> Lengths:
        ordered = sorted(sizes) or [0]
        last = len(ordered) - 1
        return cls(ordered[0], ordered[last // 2], ordered[round(0.95 * last)], ordered[-1])

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.most:,}"
        return f"{self.least:,} to {self.most:,} (median {self.median:,}, 95 % up to {self.p95:,})"


def look_at_rows(prepared: Prepared) -> Section:
    """All rows of all files."""
    section = Section("rows", "Rows")
    _count(prepared, section)
    _measure(prepared, section)
    _repeated(_prompts(prepared), section)
    _compared_as_text(prepared, section)
    for note in prepared.notes:
        section.note("note", note)
    return section


def _prompts(prepared: Prepared) -> list[Prompt]:
    return prepared.prompts or [group.prompt for group in prepared.items]


def _count(prepared: Prepared, section: Section) -> None:
    """Read = used + rejected, file by file, and why."""
    names = [key.removesuffix(" read") for key in prepared.counts if key.endswith(" read")]
    files = {name: {part: prepared.counts[f"{name} {part}"] for part in ("read", "used", "rejected")} for name in names}
    reasons = Counter(problem.code for problem in prepared.rejected if isinstance(problem, Problem))
    section.figures |= {"files": files, "rejected_by_reason": dict(reasons)}
    read, used = (sum(one[part] for one in files.values()) for part in ("read", "used"))
    section.summary = f"{counted(read, 'row')} read, {used:,} used, {read - used:,} left out"
    for name, one in files.items():
        section.table.append((name, f"{one['read']:,} read = {one['used']:,} used + {one['rejected']:,} left out"))
    if reasons:
        listed = ", ".join(f"{code} {n:,}" for code, n in reasons.most_common())
        section.warn(
            "bad-rows",
            f"{counted(read - used, 'row')} of {read:,} are left out: {listed}. First: {prepared.rejected[0]}",
            "Mend them, or leave them out knowingly (data.on_bad_row=skip, as set); rejected.txt will list them.",
        )


def _compared_as_text(prepared: Prepared, section: Section) -> None:
    """Right answers that another spelling of the same value would not equal."""
    remarks = text_only(prepared.rewards, prepared.prompts) if prepared.prompts else []
    section.figures["text_only_golds"] = len(remarks)
    if remarks:
        section.note(
            "text-only-gold",
            f"{len(remarks):,} of {counted(len(prepared.prompts), 'right answer')} are compared as text: "
            f"{sentence(by_reason(remarks))}; `postlude data check FILE --reward maths --json` lists all of their rows",
        )


def _measure(prepared: Prepared, section: Section) -> None:
    """Lengths against what the model holds. No row is ever cut here: it is used whole or refused."""
    context = prepared.facts.context
    asked = Lengths.of(len(p.tokens) for p in _prompts(prepared))
    section.table.append(("tokens of a prompt", str(asked)))
    section.figures |= {"prompt_tokens": vars(asked), "context": context, "truncated": 0}
    if prepared.prompts:
        most = asked.most + prepared.recipe.sampling.max_tokens
        what = f"longest prompt {asked.most:,} + max_tokens {prepared.recipe.sampling.max_tokens:,} = {most:,}"
    else:
        answers = Lengths.of(len(c.tokens) for g in prepared.items for c in g.completions)
        section.table.append(("tokens of an answer", str(answers)))
        section.figures["answer_tokens"] = vars(answers)
        most = max((_longest(group) for group in prepared.items), default=0)
        what = f"longest row {most:,}"
    limit = f"of {context:,} that the model holds" if context else "(the model names no limit)"
    section.table.append(("fit", f"{what} {limit}; no row is cut"))
    section.figures["longest"] = most


def _longest(group: Group) -> int:
    return len(group.prompt.tokens) + max(len(c.tokens) for c in group.completions)


def _repeated(prompts: Sequence[Prompt], section: Section) -> None:
    """Prompts that stand there more than once, and such that have two golds."""
    golds: defaultdict[str, list[str]] = defaultdict(list)
    first: dict[str, str] = {}
    for prompt in prompts:
        key = " ".join(prompt.text.split())
        if key:
            first.setdefault(key, prompt.place)
            golds[key].append("" if prompt.answer is None else str(prompt.answer).strip())
    extra = sum(len(one) - 1 for one in golds.values())
    torn = [key for key, one in golds.items() if len({*one}) > 1]
    section.figures |= {"repeated_prompts": extra, "prompts_with_several_golds": len(torn)}
    if extra:
        text = f"{extra:,} of {counted(len(prompts), 'row')} repeat the prompt of another row"
        if extra > DUPLICATES * len(prompts):
            section.warn("duplicate-rows", text, "Leave repeats out, unless they are meant to count more.")
        else:
            section.note("duplicate-rows", text)
    if torn:
        section.warn(
            "duplicate-rows",
            f"{counted(len(torn), 'prompt')} stand{'s' * (len(torn) == 1)} in several rows with different answers; "
            f"first {torn[0][:60]!r} ({first[torn[0]]}: {', '.join(sorted({*golds[torn[0]]}))[:80]})",
            "Keep one answer of each: a right answer is otherwise called wrong half of the time.",
        )
