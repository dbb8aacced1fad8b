"""Find the image files below a folder, each once, and their names without surprises."""

import os
from collections.abc import Iterable
from pathlib import Path

from cseg.datasets.list_files import SUFFIXES, one_form
from cseg.errors import DataError

JUNK = ("__MACOSX",)  # and whatever begins with a dot


def find_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Files with one of `suffixes`, as paths below `folder`, sorted by name.

    Hidden files and folders (`._a.png`, `.ipynb_checkpoints`) are left out; linked folders are
    entered.

    Raises:
        DataError: a folder that two ways lead to, a name that is not UTF-8 or holds control
            characters, two names that only differ in Unicode form; names both.
    """
    found, seen = [], {folder.resolve(): folder}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        for name in folders:
            inner = Path(place, name)
            other = seen.setdefault(inner.resolve(), inner)
            if other != inner:
                raise DataError(
                    f"the folders {shown(inner)} and {shown(other)} are one, by a link; remove the "
                    "link, so that no image is taken twice"
                )
        found += [
            Path(place, name).relative_to(folder)
            for name in names
            if name.lower().endswith(suffixes) and not _is_junk(name)
        ]
    found.sort(key=lambda path: path.as_posix())
    _check_names(folder, found)
    return found


def _check_names(folder: Path, files: Iterable[Path]) -> None:
    """Refuse names that no list or table can hold."""
    forms: dict[str, Path] = {}
    for path in files:
        name = path.as_posix()
        if not _is_plain(name):
            raise DataError(
                f"the name {shown(path)} in {shown(folder)} holds control characters or is not "
                "UTF-8; rename it"
            )
        other = forms.setdefault(one_form(name), path)
        if other != path:
            raise DataError(
                f"two files in {folder} have names that differ in Unicode form only, {name!a} and "
                f"{other.as_posix()!a}; rename or remove one"
            )


def shown(path: Path) -> str:
    """A path as it can be printed, whatever its bytes."""
    return ascii(path.as_posix())[1:-1] if not _is_plain(path.as_posix()) else path.as_posix()


def _is_plain(name: str) -> bool:
    # what is not UTF-8 has surrogates, which cannot be encoded again
    return not any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name)


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in JUNK
