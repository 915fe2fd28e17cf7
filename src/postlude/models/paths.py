"""Folders and hub ids: `OWNER/NAME` may be either."""

from __future__ import annotations

from pathlib import Path


def is_nowhere(path: str) -> bool:
    """Whether a path names nothing here and cannot be a hub id either, so that no network need be asked.

    `runs/grpo-1` has the form of a hub id; where it starts with `runs/`, or with a folder that is here, it is a path.
    """
    place = Path(path).expanduser()
    if place.exists():
        return False
    first = Path(path).parts[:1]
    local = place.is_absolute() or path.startswith((".", "~", "runs/")) or (len(first) == 1 and Path(*first).is_dir())
    return local or path.count("/") != 1 or path.endswith("/")


def folder_of(path: str) -> Path:
    """The folder of a model that is on this machine: its own, or that of a hub id in Hugging Face's cache."""
    place = Path(path).expanduser()
    if place.is_dir():
        return place.absolute()
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(path, local_files_only=True))
