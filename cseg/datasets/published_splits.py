"""Read the label lists that published work comes with, and find their images in a dataset.

Formats, told apart line by line (one image each, LF or CRLF):
    2007_000032                                              U2PL and CPS on VOC
    JPEGImages/2007_000032.jpg SegmentationClass/2007_...    ST++: image and label
    leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png  U2PL and ST++ on Cityscapes
    /images/train/jena_000078_000019.png<TAB>/segmentation/  CPS on Cityscapes
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cseg.datasets.list_files import CITYSCAPES_SUFFIX, SUFFIXES, KnownImages, bare, read_lines

IMAGE = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, SUFFIXES))}))(?:[\s,;]|$)", re.IGNORECASE)


def read_published(path: str | Path) -> list[tuple[str, str]]:
    """Read a list in any of the formats: its lines, and their images' names without folder, suffix.

    Raises:
        DataError: the file is missing or not text; names it.
    """
    return [(line, _name(line)) for line in read_lines(Path(path))]


def match_ids(
    lines: Iterable[tuple[str, str]], images: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """Map the lines of a list onto a dataset's ids.

    `images` are all of the dataset's, also those that the list should not name: id -> path. Each
    line comes with the id of its image, or None where it names no image or more than one.
    """
    known = KnownImages((name, name, path) for name, path in images.items())
    matches = ((line, known.split(line)[0]) for line, _ in lines)
    return [(line, ids[0] if len(ids) == 1 else None) for line, ids in matches]


def _name(line: str) -> str:
    image = IMAGE.match(line)
    path = image.group(1) if image else line.split("\t")[0]
    return bare(re.split(r"[/\\]", path.strip("\"' "))[-1]).removesuffix(CITYSCAPES_SUFFIX)
