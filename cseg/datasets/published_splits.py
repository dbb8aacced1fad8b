"""Read the label lists that published work comes with, and find their images in a dataset.

Formats, told apart line by line (one image each, LF or CRLF):
    2007_000032                                              U2PL and CPS on VOC
    JPEGImages/2007_000032.jpg SegmentationClass/2007_...    ST++: image and label
    leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png  U2PL and ST++ on Cityscapes
    /images/train/jena_000078_000019.png<TAB>/segmentation/  CPS on Cityscapes
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from cseg.datasets.samples import read_lines

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
CITYSCAPES_SUFFIX = "_leftImg8bit"


def read_published(path: str | Path) -> list[tuple[str, str]]:
    """Read a list in any of the formats.

    Returns:
        For each line, in order: the line, and the name of its image without folder and suffix.

    Raises:
        DataError: the file is missing or not text; names it.
    """
    return [(line, _name(line)) for line in read_lines(Path(path))]


def match_ids(lines: Iterable[tuple[str, str]], ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Map the lines of a list onto a dataset's ids.

    A line means the id that equals it, else the id whose last part equals the line's name.

    Args:
        lines: from `read_published`.
        ids: the dataset's ids.

    Returns:
        The ids in list order (repeated where the list repeats them), and the lines that match
        nothing or more than one id.
    """
    known = set(ids)
    by_name: dict[str, list[str]] = {}
    for name in known:
        by_name.setdefault(PurePosixPath(name).name, []).append(name)
    found, lost = [], []
    for line, name in lines:
        candidates = [line] if line in known else by_name.get(name, [])
        if len(candidates) == 1:
            found.append(candidates[0])
        else:
            lost.append(line)
    return found, lost


def _name(line: str) -> str:
    first = line.split("\t")[0].split()[0]
    name = PurePosixPath(first).name
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return name.removesuffix(CITYSCAPES_SUFFIX)
