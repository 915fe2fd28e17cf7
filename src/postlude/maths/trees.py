"""Expression trees with something else in the place of names."""

from __future__ import annotations

from collections.abc import Mapping

from postlude.maths.reader import Node


def replaced(tree: Node, names: Mapping[str, Node]) -> Node:
    """The tree with each of the names as what it stands for; unknown functions keep theirs."""
    if tree[0] == "sym":
        return names.get(tree[1], tree)
    return [replaced(part, names) if isinstance(part, list) else part for part in tree]
