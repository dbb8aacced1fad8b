"""Which files are images, which are their labels, and what is left over."""

import bisect
import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
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
    # what a label's name has behind the image's id; empty for a COCO file, and if labels have the
    # names of their images and several formats
    suffix: str
    labelled: tuple[Path, ...]  # images that have a label
    unlabelled: tuple[Path, ...]  # images without one
    label_of: Mapping[str, Path]  # label files, below their folder, by the id of their image
    orphans: tuple[str, ...]  # labels without an image
    others: tuple[str, ...]  # files among the labels that are none, by their ending
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
    places = [inside] if pictures != images else [inside, _folders(images.absolute().parent)]
    near = (place[name] for place in places for name in LABEL_FOLDERS if name in place)
    drawn = next(near, None)
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
    same = images.resolve() == labels.resolve()
    pictures = find_files(images) if same else _apart(find_files(images), images, labels)
    if not pictures:
        raise DataError(
            f"{images} holds no image ({', '.join(SUFFIXES)}); give the folder of your images"
        )
    suffix, drawn = "", list[Path]()
    if labels.is_file():
        known = KnownImages((image_id(path), image_id(path), images / path) for path in pictures)
        owned = [(Path(name), (*known.find(name), "")[0]) for name in read_coco(labels)]
    else:
        drawn = find_files(labels, (*SUFFIXES, OUTLINES))
        drawn = drawn if same else _apart(drawn, labels, images)
        names = [one_form(path.as_posix()) for path in drawn]
        suffix = label_suffix([image_id(path) for path in pictures], names, same)
        if same and suffix:
            pictures = [path for path in pictures if not _ends(path, suffix)]
        owned = [(path, image_id(path, suffix)) for path in drawn if suffix and _ends(path, suffix)]
    ids = {image_id(path) for path in pictures}
    if suffix and not same and not bare(suffix) and _one_each(drawn, ids):
        owned, suffix = [(path, image_id(path)) for path in drawn if not _ends(path, OUTLINES)], ""
    with_label, used = {own for _, own in owned} & ids, {path for path, _ in owned}
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
        label_of={own: path for path, own in owned},
        orphans=tuple(path.as_posix() for path, own in owned if own not in ids),
        others=() if same else tuple(p.as_posix() for p in drawn if p not in used),
        more=next((around[name] for name in UNLABELLED_FOLDERS if name in around), None),
    )


def _apart(files: Sequence[Path], place: Path, other: Path) -> list[Path]:
    """The files below a folder, without those of another folder, if it is in there."""
    place, other = place.absolute(), other.absolute()
    inside = other.is_relative_to(place)
    return [file for file in files if not (inside and (place / file).is_relative_to(other))]


def _ends(path: Path, suffix: str) -> bool:
    """Whether a label has the ending, in small letters or in large ones, as `folder` takes it."""
    return one_form(path.as_posix()).lower().endswith(suffix.lower())


def _one_each(drawn: Sequence[Path], ids: Set[str]) -> bool:
    """Whether several formats have labels, but no image has a label in two."""
    formats = {path.suffix.lower() for path in drawn if image_id(path) in ids}
    labels = Counter(image_id(path, path.suffix) for path in drawn)
    return len(formats) > 1 and all(labels[own] <= 1 for own in ids)


def label_suffix(ids: Sequence[str], labels: Sequence[str], same_folder: bool) -> str:
    """What most labels have behind the id of their image; empty where none begins with an id.

    Small and large letters are the same. `labels` are paths below their folder. If that is also the
    folder of the images (`same_folder`), the image `a.png` is not taken for its own label.
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
    alike: Counter[str] = Counter()
    for ending, count in endings.items():
        alike[ending.lower()] += count
    return max(endings, key=lambda e: (alike[e.lower()], -len(e), endings[e]), default="")
