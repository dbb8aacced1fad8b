"""Checksums of a folder's result files, by which a damaged or edited one is found."""

from collections.abc import Iterable
from pathlib import Path

from cseg.errors import DataError
from cseg.storage.files import read_json, sha256_file, write_json

NAME = "checksums.json"


def write_checksums(paths: Iterable[Path]) -> Path:
    """Write the sha256 of files of one folder to `checksums.json` there."""
    files = list(paths)
    out = files[0].with_name(NAME)
    write_json(out, {path.name: sha256_file(path) for path in files})
    return out


def check_unchanged(path: Path) -> None:
    """Compare a file with the `checksums.json` beside it, where there is one that names the file.

    Raises:
        DataError: the file is not the one that was written; names it.
    """
    sums = path.with_name(NAME)
    wanted = read_json(sums).get(path.name) if sums.is_file() else None
    if wanted and sha256_file(path) != wanted:
        raise DataError(
            f"{path} has changed since it was written; delete it and run again, or delete {sums} "
            "if the change is meant"
        )
