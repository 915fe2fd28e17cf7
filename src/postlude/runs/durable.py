"""How a run's folder is written to: a file or a line whole or not at all, nothing outside the folder, and nothing lost.

A whole file is written beside its place and renamed. Lines are appended; where a write fails, what it left is cut off
again. What fails is tried again a few times, with a line to whoever watches, and ends as a sentence. `flush` puts what
was written on the disk, so that it outlives a power failure.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from postlude.errors import ConfigError, Problem, TrainingError

WAITS = (0.1, 1.0, 5.0, 20.0)
"""Seconds between the tries of a write that fails."""
_LEFT = re.compile(
    r"\.(?:[a-z0-9-]+\.[a-z]+|model|best|step-\d{6,}\.jsonl)\.\d+\.new"
    r"|\.{1,2}gathered\.safetensors(?:\.new)?|\.seen-[0-9a-f]{8}"
)
"""Names of files that were being written; of weights on their way from ranks to the sampler, and of what ranks are
shown so that they say whether they see the folder."""
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@dataclass
class Disk:
    """A folder that one process writes to. Raises TrainingError where a write fails for good."""

    root: Path
    tell: Callable[[str], None] = lambda text: None
    """Hears of each write that is tried again."""
    patient: bool = True
    """Whether that is done: no more, once a write has failed for good."""
    _sizes: dict[str, int] = field(default_factory=dict[str, int])
    """Bytes of each file that was appended to, as this process left it."""

    def append(self, name: str, text: str, flushed: bool = False) -> None:
        """Add whole lines to a file, made where there is none; `flushed`: they are on the disk when this returns.
        Raises TrainingError where it is not as it was left."""
        place, content = inside(self.root, name), text.encode()
        before = place.stat().st_size if place.exists() else 0
        if before != self._sizes.get(name, before):
            raise TrainingError(
                f"{self.root / name} was changed or removed by somebody else while the run was writing it: it has "
                f"{before} bytes, and the run left {self._sizes[name]}. Nothing more is written; go on from the newest "
                f"checkpoint with: postlude train {self.root} --resume",
                code="cannot-write",
            )
        self.insist(name, lambda: _append(place, content, before, flushed))
        self._sizes[name] = before + len(content)

    def replace(self, name: str, content: str | bytes) -> None:
        """Put a file in the place of what is there, at once; it is on the disk when this returns."""
        self._sizes.pop(name, None)
        self.insist(name, lambda: replace(inside(self.root, name, follow=False), content))

    def cut(self, name: str, size: int) -> None:
        """Take back what stands behind so many bytes of a file; one that is shorter, or not there, is left alone."""
        self._sizes.pop(name, None)
        self.insist(name, lambda: _cut(inside(self.root, name), size))

    def link(self, name: str, target: str) -> None:
        """Let a symbolic link lead to something in the folder, in the place of what it led to."""
        self.insist(name, lambda: _link(inside(self.root, name, follow=False), target))

    def remove(self, name: str) -> None:
        """Take a file or a folder away, where it is there."""
        self._sizes.pop(name, None)
        self.insist(name, lambda: remove(inside(self.root, name, follow=False)))

    def insist(self, name: str, write: Callable[[], None]) -> None:
        """Do something to a file of the folder, several times where that fails."""
        for wait in (*(WAITS if self.patient else ()), None):
            try:
                return write()
            except OSError as error:
                why = error.strerror or str(error)
                if wait is None:
                    self.patient = False
                    raise TrainingError(
                        f"cannot write to {self.root / name}: {why}. What is there already is whole; once that is "
                        f"mended, go on with: postlude train {self.root} --resume",
                        code="cannot-write",
                    ) from error
                self.tell(f"{name} cannot be written ({why}): tried again in {wait:g} s")
                time.sleep(wait)


def inside(root: Path, name: str, follow: bool = True) -> Path:
    """The place of a file in a folder, links followed; raises ConfigError where they lead out of it. Without `follow`
    the file itself may be a link: one that is replaced, not written through."""
    place = root / name
    real = Path(os.path.realpath(place)) if follow else Path(os.path.realpath(place.parent), place.name)
    if not real.is_relative_to(os.path.realpath(root)):
        raise ConfigError(leads_out(root, name), code="cannot-write")
    return real


def leads_out(root: Path, name: str) -> str:
    """What is said of a link that leads out of a folder."""
    return (
        f"output: {str(root / name)!r} is a link that leads out of the run's folder, to "
        f"{os.path.realpath(root / name)!r}: nothing is written through it. Put a file or folder in its place."
    )


def problems_of_files(root: Path, names: Iterable[str]) -> list[Problem]:
    """One for each of these files and folders that is a link out of the folder, or neither file nor folder."""
    top = os.path.realpath(root)
    problems: list[Problem] = []
    for name in names:
        place = root / name
        if not Path(os.path.realpath(place)).is_relative_to(top):
            problems.append(Problem("cannot-write", leads_out(root, name)))
        elif place.exists() and not place.is_file() and not place.is_dir():
            text = f"output: {str(place)!r} is neither a file nor a folder. Move it away."
            problems.append(Problem("cannot-write", text))
    return problems


def _append(place: Path, content: bytes, before: int, flushed: bool) -> None:
    """Write behind the first `before` bytes; what an earlier try left there is cut off."""
    file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    try:
        if os.fstat(file).st_size > before:
            os.ftruncate(file, before)
        try:
            _write(file, content)
            if flushed:
                os.fsync(file)
        except OSError:
            with suppress(OSError):  # the next try does it, or a resumed run
                os.ftruncate(file, before)
            raise
    finally:
        os.close(file)
    if flushed and not before:  # the file itself may be new
        flush(place.parent)


def _write(file: int, content: bytes) -> None:
    """All of it: what the system takes at a time may be less."""
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def replace(place: Path, content: str | bytes, flushed: bool = True) -> None:
    """A whole file under its name at once, for readers and (`flushed`) after a power failure too. Raises OSError."""
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")  # several processes may write at once
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            _write(file, content.encode() if isinstance(content, str) else content)
            if flushed:
                os.fsync(file)
        finally:
            os.close(file)
        os.replace(fresh, place)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if flushed:
        flush(place.parent)


def _cut(place: Path, size: int) -> None:
    if place.is_file() and place.stat().st_size > size:
        os.truncate(place, size)
        flush(place)


def _link(place: Path, target: str) -> None:
    if place.is_symlink() and os.readlink(place) == target:
        return
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    os.symlink(target, fresh)
    os.replace(fresh, place)
    flush(place.parent)


def remove(place: Path) -> None:
    """Take a file or a folder away, where it is there. Raises OSError."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def flush(place: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; a file system that cannot say so is believed."""
    file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


@contextmanager
def os_errors() -> Generator[None]:
    """What libraries in Rust raise where the disk refuses becomes an OSError: only their text holds its number."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # safetensors has a class of its own, tokenizers none
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def flush_tree(folder: Path) -> None:
    """`flush` of a folder and all that is in it."""
    for place, _, names in os.walk(folder):
        for name in names:
            flush(Path(place, name))
        flush(Path(place))


def clear_left(folder: Path) -> None:
    """Take away what a process that is gone was writing. Raises OSError."""
    for place in folder.iterdir():
        if _LEFT.fullmatch(place.name):
            place.unlink()


def problems_of_output(path: str) -> list[Problem]:
    """Why no run can be written there, found before anything is loaded."""
    folder = Path(path).expanduser()
    try:
        there = next(p for p in (folder, *folder.parents) if p.exists())
        (folder / "timings.jsonl").exists()
    except (OSError, ValueError) as error:
        return [Problem("cannot-write", f"output: cannot write to {path[:80]!r}: {error.args[-1]}.")]
    if not there.is_dir():
        return [Problem("cannot-write", f"output: cannot write to {path!r}: {str(there)!r} is a file.")]
    if not os.access(there, os.W_OK):
        return [Problem("cannot-write", f"output: cannot write to {path!r}: {str(there)!r} may not be written to.")]
    if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
        return [
            Problem(
                "cannot-write",
                f"output: {path!r} is the folder of a model. A run in it would be taken for that model by its name; "
                "give a folder of its own.",
            )
        ]
    return []
