"""How a packed row is cut into parts: which rows each part takes, and their numbers in it. Plain index arithmetic.

Sizes: T rows, S sequences, G groups of the whole; K rows of all parts together, where a prompt stands once in each part
that has some of its group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postlude.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a packed row belong."""

    group: Indices
    """[T]"""
    sequence: Indices
    """[T] -1: of a prompt."""
    predictor: Indices
    """[T] row that predicts this one, of the same sequence or of its prompt; -1: none."""
    sequence_group: Indices
    """[S]"""
    n_groups: int


@dataclass(frozen=True)
class Pieces:
    """What each part takes of the whole."""

    index: Indices
    """Places in the whole, of the first part, then of the second, and so on; in order within each."""
    sizes: list[int]
    """How many each part takes."""


@dataclass(frozen=True)
class Cut:
    """Parts of a packed row, and the numbers in them."""

    rows: Pieces
    sequences: Pieces
    groups: Pieces
    layout: Layout
    """Of the parts, one after the other, in their own numbers."""
    number: Indices
    """[S] of each sequence in its part."""


def cut(whole: Layout, part: Indices, parts: int) -> Cut:
    """By the part of each sequence [S], -1 for one that is in none. Rows are gone through once, however many parts."""
    chosen, sequences = _sorted_by(part, parts)
    number = np.zeros_like(part)
    number[chosen] = _count_from_0(sequences)
    # a member is a group in a part
    width = max(1, whole.n_groups)
    members, member = np.unique(part[chosen] * width + whole.sequence_group[chosen], return_inverse=True)
    member_part, member_group = np.divmod(members, width)
    groups = np.bincount(member_part, minlength=parts)
    group_number = _count_from_0(groups)
    member_of = np.zeros_like(part)
    member_of[chosen] = member

    rows = _Rows.of(whole, part, member_of, member_group)
    row_part = member_part[rows.member]
    order = np.argsort(row_part * whole.group.size + rows.row, kind="stable")
    sizes = np.bincount(row_part, minlength=parts)
    row_number = np.empty_like(order)
    row_number[order] = _count_from_0(sizes)
    row, row_member = rows.row[order], rows.member[order]
    sequence, predictor = whole.sequence[row], whole.predictor[row]
    known = np.flatnonzero(predictor >= 0)
    predictor[known] = row_number[rows.of_member(predictor[known], row_member[known])]
    layout = Layout(
        group=group_number[row_member],
        sequence=np.where(sequence < 0, sequence, number[sequence]),
        predictor=predictor,
        sequence_group=group_number[member],
        n_groups=len(members),
    )
    return Cut(
        Pieces(row, sizes.tolist()),
        Pieces(chosen, sequences.tolist()),
        Pieces(member_group, groups.tolist()),
        layout,
        number,
    )


def pairs_inside(pairs: Indices, part: Indices, parts: int) -> Pieces:
    """Which pairs of sequences [M, 2] each part takes: those of which it has both."""
    ends = part[pairs]
    index, sizes = _sorted_by(np.where(ends[:, 0] == ends[:, 1], ends[:, 0], -1), parts)
    return Pieces(index, sizes.tolist())


@dataclass(frozen=True)
class _Rows:
    """Rows of all parts in no order: prompts, once for each member, then answers."""

    row: Indices
    """[K] in the whole."""
    member: Indices
    """[K]"""
    place: Indices
    """[T] of an answer's row: where it stands here; of a prompt's: how many of its group's prompt stand before it."""
    first: Indices
    """[members] where a member's prompt begins here."""
    shared: NDArray[np.bool_]
    """[T] whether a row is of a prompt."""

    @classmethod
    def of(cls, whole: Layout, part: Indices, member_of: Indices, member_group: Indices) -> _Rows:
        shared = whole.sequence < 0
        prompts, lengths = _sorted_by(np.where(shared, whole.group, -1), whole.n_groups)
        start = np.cumsum(lengths) - lengths
        answers = np.flatnonzero(~shared & (part[whole.sequence] >= 0)) if part.size else prompts[:0]
        sizes = lengths[member_group]
        first = np.cumsum(sizes) - sizes
        copies = prompts[np.repeat(start[member_group], sizes) + _count_from_0(sizes)]
        place = np.zeros_like(whole.sequence)
        place[prompts] = _count_from_0(lengths)
        place[answers] = copies.size + np.arange(answers.size)
        member = np.concatenate([np.repeat(np.arange(member_group.size), sizes), member_of[whole.sequence[answers]]])
        return cls(np.concatenate([copies, answers]), member, place, first, shared)

    def of_member(self, row: Indices, member: Indices) -> Indices:
        """Where rows of the whole stand here, as parts of these members."""
        return self.place[row] + np.where(self.shared[row], self.first[member], 0)


def _sorted_by(key: Indices, keys: int) -> tuple[Indices, Indices]:
    """(places by their key, in order within one; how many have each key); those with key -1 are left out."""
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key + 1, minlength=keys + 1)
    return order[counts[0] :], counts[1:]


def _count_from_0(sizes: Indices) -> Indices:
    """0, 1, 2 ... anew for each size."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
