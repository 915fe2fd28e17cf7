"""The Python files that code of the user's is made of: its own, and those it imports that lie beside it or below."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

IMPORTERS = {"import_module", "__import__"}
"""Functions that import what a text names."""


def modules_of(file: Path, name: str = "") -> dict[str, Path]:
    """Path from the folder that imports begin in -> file, of a file and of every module below that folder that it
    imports, directly or through another, also within functions.

    `name` is that of a module, `package.module`, whose folder is that of its package; without it the folder is the
    file's own. Of what is installed only the package itself is looked at.
    """
    written = file.expanduser()
    file = written.resolve()
    depth = name.count(".") + (file.name == "__init__.py") if name else 0
    root = file.parents[depth]
    package = name.partition(".")[0] if _is_installed(root) else ""
    waiting, seen = [file], dict[str, Path]()
    while waiting:
        one = waiting.pop()
        path = one.relative_to(root)
        if path.as_posix() in seen or (package and path.parts[0] not in (package, f"{package}.py")):
            continue
        seen[path.as_posix()] = one
        waiting += _imported(one, root)
    if not name:  # where it is a link, what it is called is what the recipe says
        seen = {written.name if one == file else path: one for path, one in seen.items()}
    return dict(sorted(seen.items()))


def shadowed(modules: Mapping[str, Path]) -> dict[str, Path]:
    """Name of each module or package beside a file of code that is imported from elsewhere -> the file it comes from.

    `modules`: what `modules_of` a file gave. A folder that comes earlier on the path, or a module that is loaded
    already, has the name. Asked while the folder of the file is on the path; imports nothing.
    """
    tops = {path.partition("/")[0].removesuffix(".py"): (path, file) for path, file in modules.items()}
    elsewhere: dict[str, Path] = {}
    for top, (path, file) in tops.items():
        root = file.parents[path.count("/")]
        origin = _origin(top)
        if origin and root not in (origin.parent, origin.parent.parent if origin.name == "__init__.py" else None):
            elsewhere[top] = origin
    return elsewhere


def modules_elsewhere(modules: Mapping[str, Path], top: str, origin: Path) -> dict[str, Path]:
    """What the files of `modules` import of `top`, where that comes from `origin`: as `modules_of` gives it."""
    root = origin.parent.parent if origin.name == "__init__.py" else origin.parent
    files = {file for one in modules.values() for file in _imported(one, root)}
    result: dict[str, Path] = {}
    for file in sorted(files):
        parts = file.relative_to(root).with_suffix("").parts
        if parts[0] == top:
            result |= modules_of(file, ".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return result


def _origin(top: str) -> Path | None:
    """The file that `import top` takes; None of a namespace, of what is built in, and of what nobody finds."""
    loaded = sys.modules.get(top)
    try:
        spec = loaded.__spec__ if loaded else find_spec(top)
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec and spec.has_location else None
    return Path(origin).resolve() if origin else None


def _is_installed(folder: Path) -> bool:
    paths = sysconfig.get_paths()
    return str(folder) in {str(Path(paths[key]).resolve()) for key in ("purelib", "platlib", "stdlib")}


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """The files below `root` that a file imports; of a package its `__init__.py`."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # of a module that a function would import, and does not
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else root
            if base == root or root in base.parents:
                for alias in node.names:
                    yield from _files(base, f"{node.module}.{alias.name}" if node.module else alias.name)
        elif isinstance(node, ast.Call) and _last_name(node.func) in IMPORTERS and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield from _files(root, first.value)


def _last_name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _files(base: Path, name: str) -> Iterator[Path]:
    """The files in `base` that importing `a.b.c` runs: the packages on the way, and the module."""
    place = base
    for part in name.split("."):
        if not part:  # a relative name in a text, whose package is not known here
            return
        place = place / part
        yield from (file for file in (place / "__init__.py", place.with_name(f"{part}.py")) if file.is_file())
