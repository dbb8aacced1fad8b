"""Files that appear whole or not at all, their checksums, and fingerprints of values."""

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cseg.errors import CsegError, DataError, reason

CHECKSUMS = "checksums.json"  # of a folder's result files
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk is full, or one's share of it


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that replaces it when the block ends without error.

    The sibling is on disk (fsync) before the rename, and removed when the block fails. Its name is
    always the same, so that the next writer of `path` uses up what a killed one left; where a
    living writer has it, or the filesystem knows no locks, a name of its own is made.

    Raises:
        CsegError: the folder cannot be written or the disk is full; names the path.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _temporary(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(handle, 0o666 & ~mask)  # made private; results are for sharing
        os.fsync(handle)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if has_name(handle, temporary):
            temporary.unlink()
        os.close(handle)


def _temporary(path: Path) -> tuple[Path, int]:
    """An empty sibling of `path`, and its open file, whose lock says that it is in use."""
    usual = path.with_name(f".{path.name}.tmp{path.suffix}")
    with suppress(PermissionError):  # it may be of another user
        handle = os.open(usual, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if take(handle, usual):
                os.truncate(handle, 0)
                return usual, handle
        except OSError:  # no locks on this filesystem: nobody writes there
            usual.unlink(missing_ok=True)
        os.close(handle)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp" + path.suffix
    )
    return Path(name), handle


def take(handle: int, path: Path) -> bool:
    """Lock an open file or folder; whether it is this process's now, under the name `path`.

    The lock ends when the handle is closed, or with the process, however that ends.

    Raises:
        OSError: the filesystem knows no such locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # a living process has it
        return False
    return has_name(handle, path)


def has_name(handle: int, path: Path) -> bool:
    """Whether `path` is the name of this open file, and not of another one or none."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _cannot_write(path: Path, error: OSError) -> CsegError:
    return CsegError(
        f"cannot write {path}: {error.strerror or error}; free space or choose a folder "
        "that can be written, then run again"
    )


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically; key order is kept."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        CsegError: the file is missing or not JSON; names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CsegError(
            f"cannot read {path}: {reason(error)}; delete it and run again to make it anew"
        ) from error


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_checksums(paths: Sequence[Path]) -> Path:
    """Write the sha256 of files of one folder to `checksums.json` there."""
    out = paths[0].with_name(CHECKSUMS)
    write_json(out, {path.name: sha256_file(path) for path in paths})
    return out


def check_unchanged(path: Path) -> None:
    """Compare a file with the `checksums.json` beside it, where there is one that names the file.

    Raises:
        DataError: the file is not the one that was written; names it.
    """
    sums = path.with_name(CHECKSUMS)
    wanted = read_json(sums).get(path.name) if sums.is_file() else None
    if wanted and sha256_file(path) != wanted:
        raise DataError(
            f"{path} has changed since it was written; delete it and run again, or delete {sums} "
            "if the change is meant"
        )


def keyed_order(names: Iterable[str], key: object) -> list[str]:
    """The names by the sha256 of "{key}/{name}" (UTF-8): shuffled, the same on every machine."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{key}/{name}".encode()).digest())


def fingerprint(value: Any) -> str:
    """First 16 hex digits of the sha256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
