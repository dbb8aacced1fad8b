"""Saving and loading of networks and training states: atomic, typed, never unpickled code."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from cseg.errors import TrainingError
from cseg.storage.files import atomic

FORMAT = 3  # 1: encoders under other names; 2: a memory stated in batches


def save(path: str | Path, kind: str, content: dict[str, Any]) -> None:
    """Write `content` (tensors and plain values) atomically, marked with its `kind`.

    Equal contents give equal bytes.

    Raises:
        CsegError: the folder cannot be written or the disk is full; what was there before stays.
    """
    with atomic(path) as temporary, temporary.open("wb") as stream:
        try:
            torch.save({"cseg_format": FORMAT, "kind": kind, **content}, stream)
        except RuntimeError as error:  # torch's archive writer hides what the disk said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load(path: str | Path, *kinds: str) -> dict[str, Any]:
    """Read what `save` wrote, on the CPU; it must be of one of `kinds`.

    Raises:
        TrainingError: the file is missing, damaged, not cseg's, or of another kind.
    """
    remedy = "delete it and run again to make it anew"
    try:
        with zipfile.ZipFile(path) as archive:  # whose checksums torch does not look at
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} has another checksum")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        others = ", ".join(sorted(other.name for other in Path(path).parent.glob("*.pt")))
        remedy = f"name one of {others}" if others else "run the stage before it"
        raise TrainingError(f"checkpoint {path} does not exist; {remedy}") from error
    except Exception as error:  # torch raises many types for damaged or foreign files
        reason = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        raise TrainingError(
            f"checkpoint {path} is damaged or not a checkpoint of cseg ({reason[:120]}); {remedy}"
        ) from error
    if isinstance(content, dict) and content.get("cseg_format") in (1, 2):
        raise TrainingError(
            f"checkpoint {path} is of an older cseg, whose settings had other names; {remedy}"
        )
    if not isinstance(content, dict) or content.get("cseg_format") != FORMAT:
        raise TrainingError(f"checkpoint {path} was not written by this version of cseg; {remedy}")
    if content.get("kind") not in kinds:
        raise TrainingError(
            f"checkpoint {path} holds a {content.get('kind')}, not a {' or '.join(kinds)}; give "
            "the right file"
        )
    return content
