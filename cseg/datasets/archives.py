"""Unpack tar and zip archives, which may be hostile: nothing lands outside the target folder."""

import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from cseg.errors import DataError, reason
from cseg.storage.files import NO_SPACE, has_name, take

DAMAGE = (  # what the standard library raises on damaged, encrypted or unwritable archives
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError,
)  # fmt: skip


class Member(NamedTuple):
    """One entry of an archive: whether folder or file (else a link or device), size in bytes."""

    name: str
    is_folder: bool
    is_file: bool
    size: int
    open: Callable[[], Any]  # its content, as a binary stream, of a file


def extract(archive: str | Path, target: str | Path, inside: str = "") -> None:
    """Unpack the folder `inside` of a tar (any compression) or zip archive as `target`.

    Everything is unpacked beside `target` and renamed at the end, so that `target` is whole or
    absent; what a killed unpacking left there is removed. Only folders and plain files are made,
    with default permissions. The archive's kind is told by its content; `inside` "" takes all of
    it, and `target` must not exist.

    Raises:
        DataError: damaged archive, a name that is absolute or climbs out (anywhere in the
            archive), a link or device (below `inside`), nothing below `inside`, no space.
    """
    archive, target = Path(archive), Path(target)
    if target.exists():
        raise DataError(f"{target} is already there; move it away to unpack {archive} anew")
    prefix = PurePosixPath(inside).parts
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch, handle = _scratch(target)
    except OSError as error:
        raise DataError(
            f"cannot unpack {archive} to {target}: {error.strerror}; free space or choose a "
            "writable data_dir"
        ) from error
    try:
        with _opened(archive) as members:
            chosen = []
            for member in members:
                parts = _safe_parts(member.name, archive)
                if parts[: len(prefix)] == prefix:
                    chosen.append((member, parts[len(prefix) :]))
            _check_members(archive, inside, [m for m, _ in chosen], scratch)
            for member, parts in chosen:
                _write(member, scratch.joinpath(*parts))
        scratch.chmod(0o755)
        scratch.rename(target)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise DataError(
                f"cannot unpack {archive} to {target}: {error.strerror}; free space or choose "
                "another data_dir, then run again"
            ) from error
        raise DataError(
            f"cannot unpack {archive}: {reason(error)}; if it is damaged, delete it and run again"
        ) from error
    finally:
        if has_name(handle, scratch):
            shutil.rmtree(scratch, ignore_errors=True)
        os.close(handle)


def _scratch(target: Path) -> tuple[Path, int]:
    """An empty folder beside `target`, and its handle, whose lock says that it is in use."""
    usual = target.with_name(f".{target.name}.unpacking")
    usual.mkdir(exist_ok=True)
    handle = os.open(usual, os.O_RDONLY)
    with suppress(OSError):  # no locks on this filesystem
        if take(handle, usual):
            for left in usual.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            return usual, handle
    os.close(handle)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    return scratch, os.open(scratch, os.O_RDONLY)


def _safe_parts(name: str, archive: Path) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(
            f"{archive} holds {name!r}, which leads outside its folder; "
            "do not use it: get the archive from its official source"
        )
    return path.parts


def _check_members(archive: Path, inside: str, members: list[Member], folder: Path) -> None:
    for member in members:
        if not (member.is_folder or member.is_file):
            raise DataError(
                f"{archive} holds {member.name!r}, which is a link or device; "
                "do not use it: get the archive from its official source"
            )
    if not any(member.is_file for member in members):
        raise DataError(f"{archive} holds no folder {inside!r}; it is another archive: replace it")
    needed = sum(member.size for member in members)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{archive} unpacks to {needed / 2**30:.1f} GiB but {folder.parent} has "
            f"{free / 2**30:.1f} GiB free; make room or choose another data_dir"
        )


def _write(member: Member, path: Path) -> None:
    if member.is_folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


@contextmanager
def _opened(archive: Path) -> Iterator[list[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield [_zip_member(packed, entry) for entry in packed.infolist()]
        return
    with tarfile.open(archive) as tar:
        yield [
            Member(e.name, e.isdir(), e.isreg(), e.size, partial(tar.extractfile, e))
            for e in tar.getmembers()
        ]


def _zip_member(packed: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archiver stored no Unix mode
    is_file = not entry.is_dir() and kind in (0, stat.S_IFREG)
    content = partial(packed.open, entry)
    return Member(entry.filename, entry.is_dir(), is_file, entry.file_size, content)
