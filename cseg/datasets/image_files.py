"""Image files below a folder, and lists that name them, as people and published work write them.

A line of a list may be a bare name or a path from any folder above the image, relative or absolute,
with slashes or backslashes, with or without suffix, followed by a label or not:
    2007_000032                                              U2PL and CPS on VOC
    JPEGImages/2007_000032.jpg SegmentationClass/2007_...    ST++: image and label
    leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png  U2PL and ST++ on Cityscapes
    /images/train/jena_000078_000019.png<TAB>/segmentation/  CPS on Cityscapes
It names the image whose path it ends, never one of another folder.
"""

import codecs
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cseg.errors import DataError, readable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
IMAGE = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))(?:[\s,;]|$)", re.IGNORECASE)
JUNK = ("__MACOSX",)  # and whatever begins with a dot
CITYSCAPES_SUFFIX = "_leftImg8bit"
NEAR = 4  # folders above an image that a longer path may begin with
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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


def read_lines(path: str | Path) -> list[str]:
    """Lines of a list file, stripped, without empty ones and comments (lines that begin with #).

    LF, CRLF or CR; UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        DataError: missing or not text; names the file.
    """
    with readable(f"the list {path}", "restore the file, as UTF-8 text"):
        data = Path(path).read_bytes()
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


def image_id(file: Path, ending: str = "") -> str:
    """The id of an image, from its path below its folder, or from its label's, with `ending`."""
    name = one_form(file.as_posix())
    return name[: -len(ending)] if ending else bare(name)


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


def match_ids(lines: Iterable[str], images: Mapping[str, str]) -> list[str | None]:
    """Map the lines of a list onto a dataset's ids.

    `images` are all of the dataset's, also those that the list should not name: id -> path. A line
    that names no image, or more than one, gives None.
    """
    known = KnownImages((name, name, path) for name, path in images.items())
    matches = (known.split(line)[0] for line in lines)
    return [ids[0] if len(ids) == 1 else None for ids in matches]


def image_name(line: str) -> str:
    """The name of the image that a line of a published list names, without folder and suffix."""
    image = IMAGE.match(line)
    path = image.group(1) if image else line.split("\t")[0]
    return bare(re.split(r"[/\\]", path.strip("\"' "))[-1]).removesuffix(CITYSCAPES_SUFFIX)
