"""Folders shared with a user's own files: only what was written here before is ever replaced.

`written.sha256` in such a folder lists each file written, with its checksum, as `sha256sum -c`
reads it. A file that is not listed, or has changed since, is its owner's.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cseg.errors import CsegError, listed
from cseg.storage.files import atomic, sha256_file

RECORD = "written.sha256"
ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}  # as sha256sum writes odd names
PLAIN = {written: odd for odd, written in ESCAPES.items()}


def read_record(folder: Path) -> dict[str, str]:
    """The checksums of the files that were written to `folder`, by path below it."""
    try:
        lines = (folder / RECORD).read_bytes().split(b"\n")
    except OSError:
        return {}
    found = {}
    for line in lines:
        mark, _, name = line.partition(b"  ")
        if name:
            if mark[:1] == b"\\":
                name = re.sub(rb"\\.", lambda odd: PLAIN.get(odd[0], odd[0]), name)
            found[os.fsdecode(name)] = mark[-64:].decode()
    return found


def is_written(path: Path, records: dict[Path, dict[str, str]]) -> bool:
    """Whether the record of some folder above `path` names it.

    `records` holds what has been read already, by folder, and grows.
    """
    path = path.absolute()
    for folder in path.parents:
        if folder not in records:
            records[folder] = read_record(folder)
        if path.name == RECORD or path.relative_to(folder).as_posix() in records[folder]:
            return True
    return False


class OwnFiles:
    """The files that were written to one folder; others there are never replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sums = folder, read_record(folder)

    def check(self, names: Iterable[str]) -> None:
        """Ask that no file of `names` below the folder is somebody else's.

        Raises:
            CsegError: one or more are; names three and counts the others.
        """
        foreign = [name for name in names if self._is_foreign(name)]
        if foreign:
            raise CsegError(
                f"{self.folder} holds files that cseg did not write, or that have changed since: "
                f"{listed(foreign)}; move them, or choose another folder for the results"
            )

    def _is_foreign(self, name: str) -> bool:
        path, known = self.folder / name, self.sums.get(name)
        if not os.path.lexists(path):
            return False
        return known is None or not path.is_file() or sha256_file(path) != known

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """As `atomic` and `check`, for the file `name` below the folder, which it then lists."""
        with atomic(self.folder / name) as temporary:
            yield temporary
            self.check([name])
            self.sums[name] = sha256_file(temporary)
            with (self.folder / RECORD).open("ab") as stream:  # first: a listed file may be absent
                stream.write(_line(self.sums[name], name))


def _line(sha256: str, name: str) -> bytes:
    plain = escaped = os.fsencode(name)
    for odd, written in ESCAPES.items():
        escaped = escaped.replace(odd, written)
    return (b"\\" if escaped != plain else b"") + sha256.encode() + b"  " + escaped + b"\n"
