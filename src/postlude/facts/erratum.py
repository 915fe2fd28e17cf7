"""A corrected error of the notes."""

from __future__ import annotations

from dataclasses import dataclass

from postlude.facts.topic import Topic

NOTES = ("drpo", "rl-notebook", "rl-doctrine", "rl-for-llms")
"""The notes, in the order of their numbers: error 2.5 is one of the third."""
KIND = "corrected error"


@dataclass(frozen=True)
class Erratum:
    """What a note says, what is right, and what postlude does."""

    number: str
    """As in docs/specification.md, section 14: the note and its error."""
    says: str
    right: str
    here: str
    place: str | None = None
    """Where postlude does it: `file.py:symbol` of the package."""
    tested: tuple[str, ...] = ()
    """`tests/file.py:test_name`, or `golden:case` of tests/golden/golden.json. Empty for what is a matter of words."""
    see: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        return NOTES[int(self.number[0])]

    def topic(self, count: int) -> Topic:
        """Its page; `count`: which one it is of all."""
        tests = "; ".join(self.tested)
        return Topic(
            f"error {self.number}",
            f"{self.says[:1].upper()}{self.says[1:]}",
            KIND,
            f"Number {count} of the corrected errors of the notes ({self.note}). The note says: {self.says}.\n\n"
            f"Right is: {self.right}.",
            use=f"postlude: {self.here}." + (f" Tested by {tests}." if tests else ""),
            source=f"docs/specification.md, section 14 ({self.number}); {self.note}",
            place=self.place,
            see=self.see,
            words=(f"error {count}", f"erratum {self.number}", f"corrected error {self.number}"),
        )
