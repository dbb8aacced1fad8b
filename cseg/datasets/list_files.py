"""Lists of images as people write them, and which image a line names.

A line may be a bare name or a path from any folder above the image, relative or absolute, with
slashes or backslashes, with or without suffix, followed by a label or not. It names the image whose
path it ends, never one of another folder.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cseg.errors import readable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
CITYSCAPES_SUFFIX = "_leftImg8bit"
NEAR = 4  # folders above an image that a longer path may begin with
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(path: Path) -> list[str]:
    """Lines of a list file, stripped, without empty ones and comments (lines that begin with #).

    LF, CRLF or CR; UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        DataError: missing or not text; names the file.
    """
    with readable(f"the list {path}", "restore the file, as UTF-8 text"):
        data = path.read_bytes()
        text = data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    lines = (line.strip() for line in re.split(r"\r\n|\r|\n", text))
    return [line for line in lines if line and not line.startswith("#")]


def one_form(name: str) -> str:
    """`name` in Unicode's composed form: some systems write letters with accents in two parts."""
    return unicodedata.normalize("NFC", name)


def bare(name: str) -> str:
    """A file name without an image's suffix; other dots are part of the name."""
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


@dataclass(frozen=True)
class Known:
    """One image that a list may name: what is returned for it, its path, and its id's parts."""

    key: str
    file: str
    path: tuple[str, ...]
    id: tuple[str, ...]


class KnownImages:
    """The images of a dataset, to be found by the lines of lists.

    Of each image it takes a key (returned when a line names the image), the id and the path.
    """

    def __init__(self, images: Iterable[tuple[str, str, str | Path]]) -> None:
        self.by_name: dict[str, list[Known]] = {}
        for key, own, path in images:
            *folders, file = _parts(str(path))
            name = tuple(one_form(own).split("/"))
            known = Known(key, file, (*folders, bare(file)), name)
            for last in {known.path[-1], name[-1]}:
                self.by_name.setdefault(last, []).append(known)

    def find(self, path: str) -> list[str]:
        """Keys of the images that a path may name: one, none, or several if it is ambiguous."""
        parts = _parts(path)
        if not parts:
            return []
        *folders, file = parts
        wanted = (*folders, bare(file))
        known = self.by_name.get(wanted[-1], [])
        if not known:
            wanted = (*folders, bare(file).removesuffix(CITYSCAPES_SUFFIX))
            known = self.by_name.get(wanted[-1], [])
        for same in (
            [k for k in known if k.id == wanted and k.file == file],
            [k for k in known if k.id == wanted],
            [k for k in known if _names(wanted, k) and k.file == file],
            [k for k in known if _names(wanted, k)],
        ):
            if same:
                return sorted({k.key for k in same})
        return []

    def split(self, line: str) -> tuple[list[str], str]:
        """As `find`, for a line that may go on behind the image's path; and how it goes on."""
        for path, rest in _fields(line):
            found = self.find(path)
            if found:
                return found, rest
        return [], ""


def _names(wanted: tuple[str, ...], known: Known) -> bool:
    """Whether the parts of a path name an image: either is the end of the other.

    A path that is longer than the image's id begins in a folder near the image.
    """
    if _ends(known.path, wanted) or _ends(known.id, wanted):
        return True
    above = wanted[: len(wanted) - len(known.id)]
    return _ends(wanted, known.id) and above[-1] in known.path[-1 - NEAR : -1]


def _ends(long: Sequence[str], short: Sequence[str]) -> bool:
    return len(short) <= len(long) and tuple(long[len(long) - len(short) :]) == tuple(short)


def _parts(path: str) -> tuple[str, ...]:
    parts = one_form(path).replace("\\", "/").split("/")
    return tuple(part for part in parts if part not in ("", ".", ".."))


def _fields(line: str) -> Iterator[tuple[str, str]]:
    """Each way to divide a line into an image's path and what follows, the longest path first."""
    yield line.strip("\"'"), ""
    for gap in reversed(list(re.finditer(r"[\t,;]\s*|\s+", line))):
        yield line[: gap.start()].strip("\"' "), line[gap.end() :].strip("\"' ")
