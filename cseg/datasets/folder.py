"""Your own images and labels, described in YAML (docs/datasets.md has an example).

The description is a file of its own, or stands in the config itself. Labels are image files, or
outlines that are drawn once into the work folder.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cseg.datasets.description import DEFAULTS as DEFAULTS
from cseg.datasets.description import INLINE, UNSTATED, Description, read_description
from cseg.datasets.image_files import find_files
from cseg.datasets.list_files import SUFFIXES, KnownImages, bare, one_form, read_lines
from cseg.datasets.samples import SPLITS, UNLABELLED, DatasetInfo, Sample
from cseg.errors import DataError
from cseg.storage.files import keyed_order

if TYPE_CHECKING:
    from cseg.datasets.polygons import Drawing

OUTLINES = ".json"
DRAWN = "labels"  # below the work folder


class Folders(NamedTuple):
    """Where a described dataset is: its images, its label folder or COCO files."""

    images: Path
    labels: Path
    coco: tuple[Path, ...]


def info(options: Mapping[str, Any]) -> DatasetInfo:
    """Facts from `description`, read and checked as `read_description` does."""
    return read_description(options).info


def unlabelled(options: Mapping[str, Any]) -> bool:
    """Whether the description names images without labels."""
    return bool(read_description(options).unlabelled)


def fetch(root: Path, work_dir: Path, options: Mapping[str, Any]) -> None:
    """Check that images and labels are there, and draw outlines; nothing is downloaded.

    Raises:
        DataError: a folder is missing, or an outline cannot be drawn; names it.
    """
    from cseg.datasets.polygons import draw  # planning needs no numpy
    from cseg.datasets.reading import write_label

    described = read_description(options)
    drawings = _drawings(
        _listed(root, described, options.get("relax_counts", False)), _places(root, described)
    )
    if drawings and described.background is None:
        raise DataError(
            f"{described.place} does not say which class pixels without an outline have; add "
            "background: the name of a class, or ignore"
        )
    for sample, drawing in drawings:
        ids = draw(drawing, described.label_names, described.background or 0)
        write_label(_drawn(work_dir, sample), ids, described.info.palette)


def sources(root: Path, options: Mapping[str, Any]) -> list[Path]:
    """List the files by which the dataset is described: the YAML file, lists and COCO files."""
    described = read_description(options)
    files = [_below(root, name) for name in (*described.lists.values(), described.unlabelled)]
    files += _places(root, described).coco
    own = [] if described.place == INLINE else [Path(described.place).expanduser()]
    return [*own, *(path for path in files if not path.is_dir())]


def outlines(root: Path, options: Mapping[str, Any]) -> list[Path]:
    """List labelme's files, a file for each image, from which labels are drawn."""
    described = read_description(options)
    places, suffix = _places(root, described), described.label_suffix or OUTLINES
    if places.coco or not suffix.lower().endswith(OUTLINES) or not places.labels.is_dir():
        return []
    return [places.labels / file for file in find_files(places.labels, (suffix.lower(),))]


def samples(root: Path, work_dir: Path, options: Mapping[str, Any]) -> list[Sample]:
    """List the pairs that the lists name, or all images, divided by `val_share`.

    Images without label come last.

    Raises:
        DataError: a list is missing, or names images that are not there; gives all of them.
    """
    described = read_description(options)
    drawn = bool(_places(root, described).coco)
    return [
        replace(sample, label=_drawn(work_dir, sample))
        if sample.label and (drawn or sample.label.suffix.lower() == OUTLINES)
        else sample
        for sample in _listed(root, described, options.get("relax_counts", False))
    ]


def _existing_places(root: Path, described: Description) -> Folders:
    """The places of a dataset; a DataError says which is not there."""
    if not root.is_dir():
        needed = [described.images, *described.labels, *described.lists.values()]
        work = described.info.citation
        raise DataError(
            f"data_dir {root} does not exist; correct data_dir in the config, or put "
            f"{', '.join(dict.fromkeys(filter(None, [*needed, described.unlabelled])))} there"
            + ("" if work == UNSTATED else f", from: {work}")
        )
    places = _places(root, described)
    for key, folder in (("images", places.images), ("labels", places.labels)):
        if not folder.is_dir():
            raise DataError(
                f"the folder {folder} does not exist; correct data_dir, or the key {key} in "
                f"{described.place}"
            )
    for path in places.coco:
        if not path.is_file():
            raise DataError(
                f"the file {path} does not exist; correct the key labels in {described.place}"
            )
    return places


def _places(root: Path, described: Description) -> Folders:
    images = _below(root, described.images)
    coco = tuple(_below(root, name) for name in described.labels if name.endswith(OUTLINES))
    return Folders(images, images if coco else _below(root, described.labels[0]), coco)


def _below(root: Path, name: str) -> Path:
    return root / Path(name).expanduser()


def _drawn(work_dir: Path, sample: Sample) -> Path:
    return work_dir / DRAWN / f"{sample.id}.png"


def _listed(root: Path, described: Description, relax: bool = False) -> list[Sample]:
    """The samples, with label files as the user has them."""
    places = _existing_places(root, described)
    files = _image_files(root, described, places)
    label_of = _Labels(described, places)
    known = KnownImages((file.as_posix(), _id(file), places.images / file) for file in files)
    found: list[Sample] = []
    for split, entries in _divided(root, described, files, known, relax).items():
        for file, named in entries:
            label = _named_label(root, places, named) if named else label_of.find(file)
            found.append(Sample(_id(file), split, places.images / file, label))
    return found + _unlabelled(root, described, known, places, relax)


def _image_files(root: Path, described: Description, places: Folders) -> list[Path]:
    """Images, as paths below their folder; labels and unlabelled images may be in it, too."""
    others = [places.labels] if places.labels != places.images else []
    if described.unlabelled:
        others.append(_below(root, described.unlabelled))
    suffix = described.label_suffix
    return [
        file
        for file in find_files(places.images)
        if not any(other in (places.images / file).parents for other in others)
        and not (suffix and places.labels == places.images and file.name.endswith(suffix))
    ]


def _id(file: Path) -> str:
    return one_form(bare(file.as_posix()))


def _divided(
    root: Path, described: Description, files: Sequence[Path], known: KnownImages, relax: bool
) -> dict[str, list[tuple[Path, str]]]:
    """Images by split, each with the label that its list names, if it names one."""
    if described.lists:
        return {
            split: _from_list(_below(root, described.lists[split]), known, described, relax)
            for split in SPLITS
        }
    ids: dict[str, Path] = {}
    for file in files:
        other = ids.setdefault(_id(file), file)
        if other != file:
            raise DataError(
                f"two images have the name {_id(file)}: {other} and {file} in {described.images}; "
                "rename or remove one"
            )
    count = math.ceil(described.val_share * len(ids))
    val = set(keyed_order(ids, described.split_seed)[:count])
    return {
        "train": [(file, "") for name, file in ids.items() if name not in val],
        "val": [(file, "") for name, file in ids.items() if name in val],
    }


def _from_list(
    path: Path, known: KnownImages, described: Description, relax: bool
) -> list[tuple[Path, str]]:
    found, absent = [], []
    for line in read_lines(path):
        files, rest = known.split(line)
        if len(files) > 1:
            raise DataError(
                f"the list {path} has the line {line}, which may mean {' or '.join(files[:3])}; "
                "write the whole path below the folder of images, with suffix"
            )
        if files:
            found.append((Path(files[0]), rest))
        else:
            absent.append(line)
    if absent and not relax:
        shown = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
        raise DataError(
            f"the list {path} names {len(absent)} images that are not in {described.images}: "
            f"{shown}; restore them or take them off the list"
        )
    return found


def _named_label(root: Path, places: Folders, named: str) -> Path:
    """The label that a list's line names behind its image, below any of the folders."""
    tries = [folder / named.lstrip("/") for folder in (places.labels, root)]
    return next((path for path in (Path(named), *tries) if path.is_file()), tries[0])


class _Labels:
    """Label files of a folder, to be found by their image."""

    def __init__(self, described: Description, places: Folders) -> None:
        self.folder, self.suffix = places.labels, described.label_suffix
        kinds = (self.suffix.lower(),) if self.suffix else (*SUFFIXES, OUTLINES)
        self.coco = bool(places.coco)
        self.images = places.images
        self.by_name: dict[str, list[Path]] = {}
        for file in [] if self.coco else find_files(self.folder, kinds):
            name = one_form(file.as_posix())
            ends = len(self.suffix) if self.suffix else len(file.suffix)
            self.by_name.setdefault(name[: len(name) - ends], []).append(file)

    def find(self, image: Path) -> Path:
        """The label file of an image; one that does not exist if there is none."""
        if self.coco:
            return self.folder / image
        own = self.images / image
        found = [f for f in self.by_name.get(_id(image), []) if self.folder / f != own]
        if len(found) > 1:
            raise DataError(
                f"the image {own} has the labels {found[0]} and {found[1]} in {self.folder}; set "
                "label_suffix in the description to say which counts, or remove one"
            )
        return self.folder / (found[0] if found else f"{_id(image)}{self.suffix or '.png'}")


def _unlabelled(
    root: Path, described: Description, known: KnownImages, places: Folders, relax: bool
) -> list[Sample]:
    """Images of which nobody has to have labels: of a folder, or listed."""
    if not described.unlabelled:
        return []
    place = _below(root, described.unlabelled)
    if place.is_dir():
        return [
            Sample(f"{place.name}/{_id(file)}", UNLABELLED, place / file, None)
            for file in find_files(place)
        ]
    listed = _from_list(place, known, described, relax)
    return [Sample(_id(file), UNLABELLED, places.images / file, None) for file, _ in listed]


def _drawings(listed: Sequence[Sample], places: Folders) -> "list[tuple[Sample, Drawing]]":
    """The outlines of the samples that have outlines."""
    from cseg.datasets.polygons import read_coco, read_labelme

    labelled = [sample for sample in listed if sample.label]
    if not places.coco:
        return [
            (sample, read_labelme(sample.label))
            for sample in labelled
            if sample.label and sample.label.suffix.lower() == OUTLINES and sample.label.exists()
        ]
    known = KnownImages((sample.id, sample.id, sample.image) for sample in labelled)
    by_id = {
        name: drawing
        for path in places.coco
        for file, drawing in read_coco(path).items()
        for name in known.find(file)
    }
    absent = [str(sample.image) for sample in labelled if sample.id not in by_id]
    if absent:
        names = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise DataError(
            f"{', '.join(map(str, places.coco))} does not describe {len(absent)} images: {names}; "
            "add them there, or take them off the list"
        )
    return [(sample, by_id[sample.id]) for sample in labelled]
