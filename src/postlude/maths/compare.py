"""Whether two values are the same answer: exactly, and the same way round from both sides.

The comparison yields True, False, or the pairs of expressions it comes down to, where those need algebra that the exact
path does not do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from postlude.maths import families, members, quantities, ratios, regions, views
from postlude.maths.conventions import Conventions
from postlude.maths.grammar import Node
from postlude.maths.moments import same_clock
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Refused, Unsupported
from postlude.maths.ratios import Ratio
from postlude.maths.synonyms import derivatives, renamed, renaming
from postlude.maths.terms import of
from postlude.maths.unit_table import KNOWN
from postlude.maths.values import (
    Assignment,
    Based,
    Case,
    Clock,
    Collection,
    Elided,
    Expression,
    Family,
    Interval,
    Labelled,
    Listing,
    Matrix,
    Option,
    Outcome,
    Pair,
    Percent,
    Phrase,
    Quantity,
    Region,
    Relation,
    Residue,
    Series,
    Value,
    Words,
)  # fmt: skip

_USUAL = Conventions()
MAX_PAIRS = 1000
"""Of values without a common form in two lists or sets."""
_BRACKETS = (("(", ")"), ("[", "]"))
"""Of a tuple."""


class Comparison:
    """`tolerance`: how far two rational numbers may be apart, as a share of the larger; 0 is exact."""

    def __init__(self, tolerance: Fraction = Fraction(0), conventions: Conventions = _USUAL) -> None:
        self.tolerance, self.conventions = tolerance, conventions
        self._base = views.BASES.get(conventions.log)

    def accepts(self, gold: Value, answer: Value) -> Outcome:
        """Whether an answer is that of a gold: the same value, or an equation that says what a sum or product is.

        a + b = 5 answers 5; but a gold a + b = 5, which could be a line, is not answered by 5.
        """
        by_value = self.conventions.equations == "value" and isinstance(gold, Expression | Quantity | Percent)
        said = views.as_said(answer) if by_value else None
        return self.same(gold, said or answer)

    def same(self, a: Value, b: Value) -> Outcome:
        """Raises Refused where to find out takes too long."""
        if isinstance(a, Expression) and isinstance(b, Expression):
            return self.numbers(a, b)
        if isinstance(a, Family) or isinstance(b, Family):
            return self.alike(a, b) if type(a) is type(b) else self.unlike(a, b) or self.unlike(b, a)
        a, b = self.opened(a), self.opened(b)
        if isinstance(b, Labelled) and not isinstance(a, Labelled):
            a, b = b, a
        if isinstance(a, Labelled):
            return self.labelled(a, b)
        if type(a) is type(b):
            return self.alike(a, b)
        return self.unlike(a, b) or self.unlike(b, a)

    def opened(self, value: Value) -> Value:
        """A set of one number is also that number."""
        braced = isinstance(value, Collection)
        if isinstance(value, Listing | Collection) and members.single(value):
            return value if braced and self.conventions.braces == "required" else value.items[0]
        return value

    # -------------------------------------------------------------------------------------------- of one kind

    def alike(self, a: Value, b: Value) -> Outcome:
        if isinstance(a, Expression) and isinstance(b, Expression):
            return self.numbers(a, b)
        if isinstance(a, Percent) and isinstance(b, Percent):
            return self.numbers(a.number, b.number)
        if isinstance(a, Quantity) and isinstance(b, Quantity):
            return self.quantities(a, b)
        if isinstance(a, Listing | Collection) and isinstance(b, Listing | Collection):
            return self.lists(a, b)
        if isinstance(a, Series) and isinstance(b, Series):
            return self.series(a, b)
        if isinstance(a, Assignment) and isinstance(b, Assignment):
            return self.assignments(a, b)
        if isinstance(a, Region) and isinstance(b, Region):
            return self.regions(a, b)
        if isinstance(a, Matrix) and isinstance(b, Matrix):
            return self.matrices(a, b)
        if isinstance(a, Relation) and isinstance(b, Relation):
            return self.relations(a, b)
        if isinstance(a, Family) and isinstance(b, Family):
            return families.same(a, b, self.unordered)
        if isinstance(a, Elided) and isinstance(b, Elided):
            return len(a.items) == len(b.items) and _all(map(self.same, a.items, b.items))
        if isinstance(a, Case) and isinstance(b, Case):
            return _all([self.same(a.condition, b.condition), self.same(a.value, b.value)])
        if isinstance(a, Residue) and isinstance(b, Residue):
            return self.residues(a, b)
        if isinstance(a, Option) and isinstance(b, Option):
            return a.letter == b.letter and self.same(a.said, b.said)
        if isinstance(a, Phrase) and isinstance(b, Phrase):
            return len(a.parts) == len(b.parts) and _all(map(self.same, a.parts, b.parts))
        if isinstance(a, Clock) and isinstance(b, Clock):
            return same_clock(a, b)
        return a == b

    def numbers(self, a: Expression, b: Expression) -> Outcome:
        if self._base:
            a, b = views.with_base(a, self._base), views.with_base(b, self._base)
        found = ratios.same(a.value, b.value, Budget())
        if not found and (names := self.renaming(a.value, b.value)):
            return self.numbers(of(renamed(a.tree, names)), of(renamed(b.tree, names)))
        if found is False and self.tolerance:
            x, y = a.value.rational, b.value.rational
            if x is None or y is None:
                return ((a.tree, b.tree),)
            return abs(x - y) <= self.tolerance * max(abs(x), abs(y))
        return ((a.tree, b.tree),) if found is None else found

    def renaming(self, a: Ratio, b: Ratio) -> Mapping[str, str]:
        return renaming(a, b, self.conventions.constants == "either case")

    def quantities(self, a: Quantity, b: Quantity) -> Outcome:
        if a.unit.powers == b.unit.powers:
            return self.numbers(views.in_base_units(a), views.in_base_units(b))
        if {*a.unit.powers.items(), *b.unit.powers.items()} == {("angle", 1), ("radian", 1)}:
            return self.numbers(views.in_radians(a), views.in_radians(b))
        if self.conventions.units == "required":
            return False
        if a.unit == KNOWN["°"] or b.unit == KNOWN["°"]:  # a degree may be one of temperature
            other = b.unit if a.unit == KNOWN["°"] else a.unit
            return self.numbers(a.number, b.number) if other in (KNOWN["°C"], KNOWN["°F"]) else False
        exponents, others = ([*x.unit.powers.values()] for x in (a, b))
        if {*a.unit.powers, *b.unit.powers} == {"unit", "length"} and exponents == others:
            return self.numbers(a.number, b.number)  # 5 square units are 5 square inches, as 5 are
        return False

    def lists(self, a: Listing | Collection, b: Listing | Collection) -> Outcome:
        """In any order, each as often as it is written; in two sets in braces, and of tuples, repeats do not count.

        Values of several names only with those names.
        """
        if len(members.names(a) | members.names(b)) > 1 and members.names(a) != members.names(b):
            return False
        if self.conventions.braces == "required" and type(a) is not type(b):
            return False
        if any(isinstance(i, Collection) for i in (*a.items, *b.items)) and Collection in (type(a), type(b)):
            return self.sets_in_sets(a.items, b.items)
        points = all(isinstance(i, Series | Assignment) for i in (*a.items, *b.items))
        sets = isinstance(a, Collection) and isinstance(b, Collection)
        once = points or sets or self.conventions.repeats == "ignored"
        one, other = (self.different(a.items), self.different(b.items)) if once else (a.items, b.items)
        ordered = self.conventions.order == "written" and members.is_row(a) and members.is_row(b)
        return self.rows(one, other) if ordered else self.unordered(one, other)

    def sets_in_sets(self, a: Sequence[Value], b: Sequence[Value]) -> Outcome:
        """A set within a set is never the number in it: {{1}, 2} is not {1, 2}."""
        of_sets, of_others = (
            [self.different([i for i in items if isinstance(i, Collection) is inner]) for items in (a, b)]
            for inner in (True, False)
        )
        return _all([self.unordered(*of_sets), self.unordered(*of_others)])

    def different(self, items: Sequence[Value]) -> list[Value]:
        """Each value once."""
        once = list({members.key(i): i for i in items}.values())
        if len(once) ** 2 > 2 * MAX_PAIRS:
            return once
        return [x for i, x in enumerate(once) if not any(self.same(x, y) is True for y in once[:i])]

    def unordered(self, a: Sequence[Value], b: Sequence[Value]) -> Outcome:
        """Every value of one has a partner in the other. Two that need algebra may be left, not more."""
        if len(a) != len(b):
            return False
        left, right = members.unmatched(a, b), members.unmatched(b, a)
        if len(left) * len(right) > MAX_PAIRS:
            raise Refused("more values than can be compared with each other")
        lost: list[Value] = []
        for x in left:
            partner = next((i for i, y in enumerate(right) if self.same(x, y) is True), None)
            lost.append(x) if partner is None else right.pop(partner)
        if len(lost) == 1:
            return self.same(lost[0], right[0])
        return not lost

    def assignments(self, a: Assignment, b: Assignment) -> Outcome:
        """Values of the same names."""
        there = dict(zip(b.names, b.values, strict=True))
        if {*a.names} != there.keys():
            return False
        return _all(self.same(x, there[n]) for n, x in zip(a.names, a.values, strict=True))

    def series(self, a: Series, b: Series) -> Outcome:
        if len(a.items) != len(b.items):
            return False
        if (a.opening, a.closing) != (b.opening, b.closing) and len(a.items) == 2:
            alike = self.conventions.brackets == "alike" and not views.is_interval(a) and not views.is_interval(b)
            if not alike:
                return False
        if (a.opening in "([") != (b.opening in "([") or (a.closing in ")]") != (b.closing in ")]"):
            return False
        return _all(self.same(x, y) for x, y in zip(a.items, b.items, strict=True))

    def regions(self, a: Region, b: Region) -> Outcome:
        """Sets in their one form, or, where the order of their ends is not known, piece by piece as written."""
        if a.name and b.name and a.name != b.name:
            return False
        try:
            one, other = regions.normal(a).intervals, regions.normal(b).intervals
        except Unsupported:
            one, other = a.intervals, b.intervals
        if len(one) != len(other):
            return False
        rest = list(other)
        outcomes: list[Outcome] = []
        for piece in one:
            found = [(self.intervals(piece, o), o) for o in rest]
            best = next((f for f in found if f[0] is True), next((f for f in found if f[0] is not False), None))
            if best is None:
                return False
            outcomes.append(best[0])
            rest.remove(best[1])
        return _all(outcomes)

    def intervals(self, a: Interval, b: Interval) -> Outcome:
        if (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed):
            return False
        return _all([self.numbers(a.low, b.low), self.numbers(a.high, b.high)])

    def residues(self, a: Residue, b: Residue) -> Outcome:
        """Of one modulus, and apart by a multiple of it."""
        if self.numbers(a.modulus, b.modulus) is not True:
            return False
        step = a.modulus.value.rational
        apart = ratios.subtract(a.value.value, b.value.value, Budget()).rational
        if apart is None or not step:
            return self.numbers(a.value, b.value)
        return (apart / step).denominator == 1

    def matrices(self, a: Matrix, b: Matrix) -> Outcome:
        if a.determinant != b.determinant or len(a.rows) != len(b.rows) or len(a.rows[0]) != len(b.rows[0]):
            return False
        cells = zip((c for r in a.rows for c in r), (c for r in b.rows for c in r), strict=True)
        return _all(self.numbers(x, y) for x, y in cells)

    def relations(self, a: Relation, b: Relation) -> Outcome:
        """Sides that are equal, or differences of the sides that are in proportion."""
        if a.mark != b.mark:
            return False
        budget = Budget()
        x = ratios.subtract(a.left.value, a.right.value, budget)
        y = ratios.subtract(b.left.value, b.right.value, budget)
        share = ratios.proportion(x, y, budget)
        if share is None and (names := self.renaming(x, y)):
            return self.relations(views.respelt(a, names), views.respelt(b, names))
        if share is not None:
            return share > 0 or a.mark == "="
        if a.mark == "=" and ratios.proportion(ratios.cleared(x), ratios.cleared(y), budget) is not None:
            return True
        straight = _all([self.numbers(a.left, b.left), self.numbers(a.right, b.right)])
        crossed = _all([self.numbers(a.left, b.right), self.numbers(a.right, b.left)]) if a.mark == "=" else False
        return straight if straight is not False else crossed

    # ------------------------------------------------------------------------------------------ of two kinds

    def labelled(self, a: Labelled, b: Value) -> Outcome:
        """A name that only one side gives is left out; an equation may be the same one turned round."""
        if isinstance(b, Labelled):
            if a.name == b.name:
                return self.same(a.value, b.value)
            respelt = views.as_called(a, b)
            if respelt is not None:
                return self.same(respelt, b.value)
            if {*derivatives({a.name}, {b.name}).values()} & {a.name, b.name}:  # y' and dy/dx
                return self.same(a.value, b.value)
            x, y = views.as_equation(a), views.as_equation(b)
            return self.relations(x, y) if x and y else False
        if isinstance(b, Relation):
            found = views.as_equation(a)
            solved = found is not None and not found.right.value.symbols  # then 2x = 10 is still to be solved
            if solved and self.conventions.unsolved == "distinct":
                return False
            return self.relations(found, b) if found else False
        return self.same(a.value, b) if self.conventions.labels == "optional" else False

    def unlike(self, a: Value, b: Value) -> Outcome:
        if isinstance(a, Percent):
            return self.percent(a, b)
        if isinstance(a, Quantity) and isinstance(b, Expression):
            return self.bare(a, b)
        if isinstance(a, Series):
            return self.pair(a, b)
        if isinstance(a, Option):
            return self.option(a, b)
        if isinstance(a, Assignment):
            return self.unnamed(a, b)
        if isinstance(a, Words):
            return self.words(a, b)
        if isinstance(a, Region):
            return self.region(a, b)
        if isinstance(a, Family):
            return self.family(a, b)
        if isinstance(a, Residue):
            return self.residue(a, b)
        if isinstance(a, Listing | Collection):
            if isinstance(b, Listing | Collection):
                return self.lists(a, b)
            if isinstance(a, Collection) and self.conventions.braces == "required":
                return False
            if isinstance(b, Quantity):
                whole = quantities.total(a.items)
                return self.quantities(whole, b) if whole else False
            return self.same(a.items[0], b) if members.single(a) else False
        return False

    def option(self, a: Option, b: Value) -> Outcome:
        """C. 12 as C, or as 12."""
        enough = self.conventions.options
        chosen = enough != "both" and isinstance(b, Expression) and b.tree == ["sym", a.letter]
        return chosen or (self.same(a.said, b) if enough == "either" else False)

    def percent(self, a: Percent, b: Value) -> Outcome:
        """50% is 0.5, and 50 where the sign was left out; a number up to 1 is never such a percentage."""
        rule = self.conventions.percent
        if not isinstance(b, Expression) or rule == "required":
            return False
        if rule == "points":
            return self.numbers(a.number, b)
        value = b.value.rational
        if rule == "either" and value is not None and abs(value) > 1 and self.numbers(a.number, b) is True:
            return True
        return self.numbers(of(["/", a.number.tree, ["num", "100"]]), b)

    def bare(self, a: Quantity, b: Expression) -> Outcome:
        """A unit that only one side gives is left out; a degree is also pi/180."""
        if a.unit.powers == {"angle": 1} and ("π" in b.value.atoms or b.value.opaque):
            return self.numbers(views.in_radians(a), b)
        return self.conventions.units == "optional" and not a.unit.changes and self.numbers(a.number, b)

    def pair(self, a: Series, b: Value) -> Outcome:
        if isinstance(b, Region):
            try:
                return self.regions(regions.of_value(a), b)
            except Unsupported:
                return False
        if isinstance(b, Listing):
            bare = self.conventions.tuples == "bare" and (a.opening, a.closing) in _BRACKETS
            return self.rows(a.items, b.items) if bare else False
        if isinstance(b, Matrix) and not b.determinant:
            rows = views.as_rows(a)
            if rows:
                return len(rows) == len(b.rows) and _all(map(self.rows, rows, b.rows))
            if self.conventions.vectors == "distinct":
                return False
            cells = [row[0] for row in b.rows] if len(b.rows[0]) == 1 else list(b.rows[0]) if len(b.rows) == 1 else []
            if len(cells) == len(a.items) and (a.opening, a.closing) in _BRACKETS:
                return self.rows(a.items, cells)
        return False

    def rows(self, a: Sequence[Value], b: Sequence[Value]) -> Outcome:
        return len(a) == len(b) and _all(map(self.same, a, b))

    def region(self, a: Region, b: Value) -> Outcome:
        """Points and intervals of a list or set, the empty set, and an inequality that is still to be solved."""
        if isinstance(b, Relation):
            solved = views.as_solved(b) if self.conventions.unsolved == "equal" else None
            return self.regions(a, solved) if solved else False
        if isinstance(b, Listing) and not any(map(views.is_interval, b.items)):
            return False
        try:
            pieces = b.items if isinstance(b, Listing) else (b,)
            found = [regions.of_value(i) for i in pieces if not isinstance(i, Expression)]
            other = regions.union(found)
            if regions.overlapping(other):
                return False  # several answers, and not the pieces of one
        except Unsupported:
            return False
        return len(pieces) > 0 and not any(isinstance(i, Expression) for i in pieces) and self.regions(a, other)

    def family(self, a: Family, b: Value) -> Outcome:
        """Over the same set, where only one says what its letter runs through and the other can be nothing else."""
        if isinstance(b, Labelled | Listing | Collection | Expression | Series):
            other = families.with_domain(b, a)
            return families.same(a, other, self.unordered) if other else False
        return False

    def residue(self, a: Residue, b: Value) -> Outcome:
        """3 (mod 7) as 3, the number from 0 to 6."""
        if not isinstance(b, Expression):
            return False
        value, modulus = b.value.rational, a.modulus.value.rational
        if value is None or modulus is None or not 0 <= value < modulus:
            return False
        return self.numbers(a.value, b)

    def unnamed(self, a: Assignment, b: Value) -> Outcome:
        """x = 1, y = 2 as the tuple (1, 2), or as a list in the order in which it is written."""
        if self.conventions.labels == "required":
            return False
        if isinstance(b, Listing) and len(b.items) == len(a.values) and not members.names(b):
            return _all(self.same(x, y) for x, y in zip(a.values, b.items, strict=True))
        if isinstance(b, Series | Matrix) and a.ordered is not None:
            return self.same(Series(a.ordered, "(", ")"), b)
        return False

    def words(self, a: Words, b: Value) -> Outcome:
        """abc, which could be a word, is a b c; its letters are small, whatever they were."""
        product: Node = ["*", *(["sym", c] for c in a.text)]
        letters = 2 < len(a.text) < 6 and a.text.isalpha()
        if not letters or not isinstance(b, Expression):
            return False
        small = of(renamed(b.tree, {s: s.lower() for s in b.value.symbols}))
        return self.numbers(of(product), small) is True


def _all(outcomes: Iterable[Outcome]) -> Outcome:
    """The conjunction; stops at the first False."""
    pairs: tuple[Pair, ...] = ()
    for outcome in outcomes:
        if outcome is False:
            return False
        pairs += outcome if isinstance(outcome, tuple) else ()
    return pairs or True


__all__ = ["Based", "Comparison", "Outcome", "Pair"]
