"""Which files are images, which are their labels, and what is left over."""

import bisect
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cseg.datasets.folder import OUTLINES
from cseg.datasets.image_files import SUFFIXES, KnownImages, bare, find_files, image_id, one_form
from cseg.datasets.polygons import read_coco
from cseg.errors import DataError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "jpegimages")
LABEL_FOLDERS = (
    "labels", "label", "masks", "mask", "annotations", "annotation", "gt", "ground_truth",
    "segmentationclass", "targets",
)  # fmt: skip
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
SAMPLE = 400  # images from which the ending of the labels' names is learned


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of a data set; paths of images are below their folder."""

    images: Path  # folder of the images
    labels: Path  # folder of the labels, which may be the same one, or a COCO file
    suffix: str  # what a label's name has behind the image's id; empty for a COCO file
    labelled: tuple[Path, ...]  # images that have a label
    unlabelled: tuple[Path, ...]  # images without one
    orphans: tuple[str, ...]  # labels without an image
    more: Path | None  # a folder of further images without labels, if there is one


def find_folders(images: Path, labels: Path | None) -> tuple[Path, Path]:
    """The folders of images and labels; where labels are not named, by their usual names.

    Raises:
        DataError: a folder is missing.
    """
    if not images.is_dir():
        raise DataError(f"the folder {images} does not exist; give the folder of your images")
    if labels is not None:
        if not labels.exists():
            raise DataError(f"{labels} does not exist; give the labels' folder, or a COCO file")
        return images, labels
    inside = _folders(images)
    pictures = next((inside[name] for name in IMAGE_FOLDERS if name in inside), images)
    around = inside if pictures != images else _folders(images.absolute().parent)
    drawn = next((around[name] for name in LABEL_FOLDERS if name in around), None)
    if drawn is None or drawn.absolute() == pictures.absolute():
        drawn = pictures
    coco = [path for path in sorted(drawn.glob(f"*{OUTLINES}")) if _is_coco(path)]
    return pictures, coco[0] if len(coco) == 1 else drawn


def _folders(place: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(place.iterdir()) if path.is_dir()}


def _is_coco(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def pair_files(images: Path, labels: Path) -> Files:
    """Find out which image has a label, by their names.

    Raises:
        DataError: there is no image, or none has a label; says what names would fit.
    """
    pictures = find_files(images)
    if not pictures:
        raise DataError(
            f"{images} holds no image ({', '.join(SUFFIXES)}); give the folder of your images"
        )
    suffix = ""
    if labels.is_file():
        known = KnownImages((image_id(path), image_id(path), images / path) for path in pictures)
        named = [(name, (*known.find(name), "")[0]) for name in read_coco(labels)]
    else:
        drawn = [one_form(p.as_posix()) for p in find_files(labels, (*SUFFIXES, OUTLINES))]
        same = images.resolve() == labels.resolve()
        suffix = label_suffix([image_id(path) for path in pictures], drawn, same)
        if same and suffix:
            pictures = [path for path in pictures if not path.name.endswith(suffix)]
        named = [(name, name.removesuffix(suffix)) for name in drawn if name.endswith(suffix)]
    ids = {image_id(path) for path in pictures}
    with_label = {own for _, own in named} & ids if suffix or labels.is_file() else set()
    if not with_label:
        raise DataError(
            f"no label in {labels} has the name of an image in {images}; name labels as their "
            f"images, such as {image_id(pictures[0])}.png, or give their place with --labels"
        )
    around = _folders(images.absolute().parent)
    return Files(
        images=images,
        labels=labels,
        suffix=suffix,
        labelled=tuple(path for path in pictures if image_id(path) in with_label),
        unlabelled=tuple(path for path in pictures if image_id(path) not in with_label),
        orphans=tuple(name for name, own in named if own not in ids),
        more=next((around[name] for name in UNLABELLED_FOLDERS if name in around), None),
    )


def label_suffix(ids: Sequence[str], labels: Sequence[str], same_folder: bool) -> str:
    """What most labels have behind the id of their image; empty where none begins with an id.

    `labels` are paths below their folder. If that is also the folder of the images (`same_folder`),
    the image `a.png` is not taken for its own label.
    """
    ordered = sorted(labels)
    endings: Counter[str] = Counter()
    for own in ids[:: max(1, len(ids) // SAMPLE)]:
        place = bisect.bisect_left(ordered, own)
        while place < len(ordered) and ordered[place].startswith(own):
            ending = ordered[place][len(own) :]
            if "/" not in ending and (bare(ending) or not same_folder):
                endings[ending] += 1
            place += 1
    return max(endings, key=lambda ending: (endings[ending], -len(ending)), default="")
