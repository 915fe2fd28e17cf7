"""Environments: matrices with factors and sums around them, and systems of cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from postlude.maths import lists
from postlude.maths.grammar import Node
from postlude.maths.problems import Unsupported
from postlude.maths.terms import Read, expression, of
from postlude.maths.tokens import Token, change, split
from postlude.maths.values import Case, Expression, Listing, Matrix, Value, Words

_MATRICES = frozenset({"matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "array", "smallmatrix"})
_LINES = frozenset({"cases", "dcases", "rcases", "aligned", "align", "align*", "gathered", "split", "equation*"})
_CONDITION = ("if", "for", "when", "where")
_TIMES = (r"\cdot", r"\times", "*")
_ELSE = ("otherwise", "else")
MAX_SIDE = 8
"""Rows or columns of matrices that are multiplied."""


def collapsed(tokens: list[Token]) -> list[Token]:
    """The tokens with each environment as one token, so that its commas and relations are not those around it."""
    stack: list[tuple[str, list[Token], bool]] = [("", [], False)]
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.text not in (r"\begin", r"\end"):
            stack[-1][1].append(token)
            place += 1
            continue
        name, after = _name(tokens, place + 1)
        if token.text == r"\begin":
            stack.append((name, [], token.spaced))
        else:
            opened, inside, spaced = stack.pop()
            if not stack or opened != name:
                raise Unsupported("an environment that is not closed")
            stack[-1][1].append(Token("block", name, spaced, tuple(inside)))
        place = after
    if len(stack) > 1:
        raise Unsupported("an environment that is not closed")
    return stack[0][1]


def _name(tokens: list[Token], place: int) -> tuple[str, int]:
    texts = [t.text for t in tokens[place : place + 12]]
    if texts[:1] != ["{"] or "}" not in texts:
        raise Unsupported("an environment without a name")
    end = texts.index("}")
    return "".join(texts[1:end]), place + end + 1


def read(tokens: list[Token], inner: Read) -> Value | None:
    """The value of tokens with blocks among them; None where there are none."""
    blocks = [t for t in tokens if t.kind == "block"]
    if not blocks:
        return None
    if len(tokens) == 1 and blocks[0].text in _LINES:
        return _system(blocks[0], inner)
    value = _sum(tokens)
    if not isinstance(value, Matrix):
        raise Unsupported("something around a matrix")
    return value


# -------------------------------------------------------------------------------------------------------- systems


def _system(block: Token, inner: Read) -> Value:
    """Lines: equations of a list, or values with the conditions under which they hold."""
    lines = [line for line in split(list(block.inside), frozenset({"\\\\", r"\cr"}))[0] if line]
    if not lines:
        raise Unsupported("a system without lines")
    cells = [split(line, frozenset("&"))[0] for line in lines]
    if "cases" not in block.text or all(len(c) == 1 for c in cells):
        items = lists.joined([inner(_stopped([t for c in row for t in c])) for row in cells])
        return Listing(items) if len(items) != 1 else items[0]
    if any(len(c) != 2 or not all(c) for c in cells):
        raise Unsupported("cases that are not each a value and a condition")
    return Listing(tuple(Case(inner(_stopped(v)), _condition(c, inner)) for v, c in cells))


def _condition(tokens: list[Token], inner: Read) -> Value:
    words = [t.text.lower() for t in tokens]
    if words[0] in _ELSE:
        return Words(_ELSE[0])
    return inner(_stopped(tokens[1:] if words[0] in _CONDITION else tokens))


def _stopped(tokens: list[Token]) -> list[Token]:
    """Without a comma or full stop at the end of a line."""
    return tokens[:-1] if tokens and tokens[-1].text in (",", ".", ";") else tokens


# -------------------------------------------------------------------------------------------------------- matrices


def _sum(tokens: list[Token]) -> Expression | Matrix:
    """Terms with signs between them."""
    terms: list[tuple[int, list[Token]]] = [(1, [])]
    depth = 0
    for token in tokens:
        depth += change(token)
        if not depth and token.text in ("+", "-"):
            sign = -1 if token.text == "-" else 1
            if terms[-1][1]:
                terms.append((sign, []))
            else:
                terms[-1] = (terms[-1][0] * sign, [])
        else:
            terms[-1][1].append(token)
    values = [_scaled(_number(sign), _product(term)) for sign, term in terms]
    total = values[0]
    for value in values[1:]:
        total = _added(total, value)
    return total


def _product(tokens: list[Token]) -> Expression | Matrix:
    """Factors side by side; a number may also divide."""
    scalars, matrices = _factors(tokens)
    if not matrices:
        return expression(tokens)
    total = matrices[0]
    for matrix in matrices[1:]:
        total = _multiplied(total, matrix)
    for scalar in scalars:
        total = _scaled(scalar, total)
    return total


def _factors(tokens: list[Token]) -> tuple[list[Expression], list[Matrix]]:
    scalars: list[list[Token]] = [[]]
    matrices: list[Matrix] = []
    place = 0
    while place < len(tokens):
        part = tokens[place : _end(tokens, place)]
        place += len(part)
        if not _has_block(part):
            scalars[-1] += part
            continue
        matrix = _matrix(part)
        while place < len(tokens) and tokens[place].text == "^":
            matrix, place = _raised(matrix, tokens, place)
        matrices.append(matrix)
        scalars.append([])
    return [_scalar(s) for s in scalars if [t for t in s if t.text not in _TIMES]], matrices


def _end(tokens: list[Token], place: int) -> int:
    """The place after a token, or after the bracket that it opens."""
    depth = 0
    for end in range(place, len(tokens)):
        depth += change(tokens[end])
        if depth <= 0:
            return end + 1
    return len(tokens)


def _has_block(tokens: list[Token]) -> bool:
    return any(t.kind == "block" for t in tokens)


def _scalar(tokens: list[Token]) -> Expression:
    start, end = tokens[0].text in _TIMES, len(tokens) - (tokens[-1].text in _TIMES)
    factors = tokens[start:end]
    return expression([Token("number", "1"), *factors] if factors[0].text == "/" else factors)


def _raised(matrix: Matrix, tokens: list[Token], place: int) -> tuple[Matrix, int]:
    """A matrix with what is written above it, ^T or ^{-1}, and the place after that."""
    after = [t.text for t in tokens[place : place + 5]]
    if after[1:] == ["{", "-", "1", "}"]:
        return _inverse(matrix), place + 5
    return _transposed(matrix, after[:4]), place + (2 if after[1:2] == ["T"] else 4)


def _inverse(matrix: Matrix) -> Matrix:
    """Of rational numbers, by elimination."""
    _check_plain(matrix)
    size = len(matrix.rows)
    rows = [[n for c in row if (n := c.value.rational) is not None] for row in matrix.rows]
    if size > MAX_SIDE or any(len(row) != size for row in rows) or len(matrix.rows[0]) != size:
        raise Unsupported("an inverse of other than a small square matrix of rational numbers")
    work = [[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(rows)]
    for column in range(size):
        pivot = next((i for i in range(column, size) if work[i][column]), None)
        if pivot is None:
            raise Unsupported("a matrix that has no inverse")
        work[column], work[pivot] = work[pivot], work[column]
        work[column] = [x / work[column][column] for x in work[column]]
        for i in range(size):
            if i != column:
                work[i] = [x - work[i][column] * y for x, y in zip(work[i], work[column], strict=True)]
    return Matrix(tuple(tuple(of(["num", str(x)]) for x in row[size:]) for row in work))


def _transposed(matrix: Matrix, after: list[str]) -> Matrix:
    if after[1:2] != ["T"] and after[1:] not in (["{", "T", "}"], ["{", r"\top", "}"]):
        raise Unsupported("a power of a matrix")
    return Matrix(tuple(zip(*matrix.rows, strict=True)), matrix.determinant)


def _matrix(part: list[Token]) -> Matrix:
    """A block, or what is in brackets."""
    if part[0].kind != "block":
        value = _sum(part[1:-1])
        if not isinstance(value, Matrix):
            raise Unsupported("something around a matrix")
        return value
    block = part[0]
    if block.text not in _MATRICES:
        raise Unsupported(f"\\begin{{{block.text}}}")
    inside = list(block.inside)
    if block.text == "array" and inside[:1] and inside[0].text == "{":
        inside = inside[_end(inside, 0) :]
    lines, _ = split(inside, frozenset({"\\\\", r"\cr"}))
    rows = [tuple(expression(c) for c in split(line, frozenset("&"))[0]) for line in lines if line]
    if not rows or len({len(r) for r in rows}) != 1:
        raise Unsupported("a matrix with rows of different lengths")
    return Matrix(tuple(rows), block.text == "vmatrix")


def _number(value: int) -> Expression:
    return of(["num", str(value)])


def _scaled(scalar: Expression, value: Expression | Matrix) -> Expression | Matrix:
    if scalar.tree == ["num", "1"]:
        return value
    if isinstance(value, Expression):
        return _times(scalar, value)
    _check_plain(value)
    return Matrix(tuple(tuple(_times(scalar, c) for c in row) for row in value.rows))


def _added(a: Expression | Matrix, b: Expression | Matrix) -> Matrix:
    if not isinstance(a, Matrix) or not isinstance(b, Matrix) or _shape(a) != _shape(b):
        raise Unsupported("a sum of a matrix and of something else")
    _check_plain(a, b)
    pairs = (zip(r, s, strict=True) for r, s in zip(a.rows, b.rows, strict=True))
    return Matrix(tuple(tuple(_plus([x, y]) for x, y in row) for row in pairs))


def _multiplied(a: Matrix, b: Matrix) -> Matrix:
    _check_plain(a, b)
    if len(a.rows[0]) != len(b.rows) or max(*_shape(a), *_shape(b)) > MAX_SIDE:
        raise Unsupported("a product of matrices that do not fit, or are large")
    columns = list(zip(*b.rows, strict=True))
    return Matrix(
        tuple(tuple(_plus([_times(x, y) for x, y in zip(r, c, strict=True)]) for c in columns) for r in a.rows)
    )


def _check_plain(*matrices: Matrix) -> None:
    if any(m.determinant for m in matrices):
        raise Unsupported("arithmetic with a determinant")


def _shape(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.rows), len(matrix.rows[0])


def _times(a: Expression, b: Expression) -> Expression:
    return of(["*", a.tree, b.tree])


def _plus(parts: Sequence[Expression]) -> Expression:
    trees: Iterable[Node] = (p.tree for p in parts)
    return parts[0] if len(parts) == 1 else of(["+", *trees])
