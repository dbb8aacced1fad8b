"""Your own images and labels, described in YAML (docs/datasets.md has an example).

The description is a file of its own, or stands in the config itself. Labels are image files, or
outlines that are drawn once into the work folder.
"""

import math
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cseg.datasets.description import (
    INLINE,
    OUTLINES,
    UNSTATED,
    Options,
    as_list,
    read_description,
)
from cseg.datasets.image_files import SUFFIXES, KnownImages, find_files, image_id, read_lines
from cseg.datasets.samples import SPLITS, UNLABELLED, DatasetInfo, Sample
from cseg.errors import DataError, listed
from cseg.storage.files import keyed_order

if TYPE_CHECKING:
    from cseg.datasets.polygons import Drawing

DRAWN = "labels"  # below the work folder


def info(options: Options) -> DatasetInfo:
    """Facts from `description`, read and checked as `read_description` does."""
    return read_description(options).info


def unlabelled(options: Options) -> bool:
    """Whether the description names images without labels."""
    return bool(read_description(options).keys.unlabelled)


def fetch(root: Path, work_dir: Path, options: Options) -> None:
    """Check that images and labels are there, and draw outlines; nothing is downloaded.

    Raises:
        DataError: a folder is missing, or an outline cannot be drawn; names it.
    """
    from cseg.datasets.polygons import draw  # planning needs no numpy
    from cseg.datasets.reading import write_label

    own = _Folder(root, options)
    described, drawings = own.described, own.drawings()
    if drawings and described.background is None:
        raise DataError(
            f"{described.place} does not say which class pixels without an outline have; add "
            "background: the name of a class, or ignore"
        )
    for sample, drawing in drawings:
        ids = draw(drawing, described.label_names, described.background or 0)
        write_label(_drawn(work_dir, sample), ids, described.info.palette)


def sources(root: Path, options: Options) -> list[Path]:
    """List the files by which the dataset is described: the YAML file, lists and COCO files."""
    own = _Folder(root, options)
    keys, place = own.keys, own.described.place
    lists = [own.below(name) for name in (keys.train, keys.val, keys.unlabelled)]
    file = [] if place == INLINE else [Path(place).expanduser()]
    return [*file, *(path for path in (*lists, *own.coco) if not path.is_dir())]


def outlines(root: Path, options: Options) -> list[Path]:
    """List labelme's files, a file for each image, from which labels are drawn."""
    own = _Folder(root, options)
    suffix = (own.keys.label_suffix or OUTLINES).lower()
    if own.coco or not suffix.endswith(OUTLINES) or not own.labels.is_dir():
        return []
    return [own.labels / file for file in find_files(own.labels, (suffix,))]


def samples(root: Path, work_dir: Path, options: Options) -> list[Sample]:
    """List what the lists name, or all images, divided by `val_share`; those without label last.

    Raises:
        DataError: a list is missing, or names images that are not there; gives all of them.
    """
    own = _Folder(root, options)
    return [
        replace(sample, label=_drawn(work_dir, sample)) if own.is_outlined(sample) else sample
        for sample in own.listed()
    ]


def _drawn(work_dir: Path, sample: Sample) -> Path:
    return work_dir / DRAWN / f"{sample.id}.png"


class _Folder:
    """A described dataset below `root`; the images' folder also holds what COCO files describe."""

    def __init__(self, root: Path, options: Options) -> None:
        self.root, self.options, self.described = root, options, read_description(options)
        self.keys = self.described.keys
        self.images = self.below(self.keys.images)
        self.names = list(map(str, as_list(self.keys.labels)))
        self.coco = [self.below(name) for name in self.names if name.endswith(OUTLINES)]
        self.labels = self.images if self.coco else self.below(self.names[0])

    def below(self, name: str) -> Path:
        """A path of the description."""
        return self.root / Path(name).expanduser()

    def is_outlined(self, sample: Sample) -> bool:
        """Whether the sample's label has to be drawn."""
        return sample.label is not None and (
            bool(self.coco) or sample.label.suffix.lower() == OUTLINES
        )

    def check(self) -> None:
        """Raise a DataError that says which folder or file is not there."""
        keys, place = self.keys, self.described.place
        if not self.root.is_dir():
            needed = [keys.images, *self.names, keys.train, keys.val, keys.unlabelled]
            raise DataError(
                f"data_dir {self.root} does not exist; correct data_dir in the config, or put "
                f"{', '.join(dict.fromkeys(filter(None, needed)))} there"
                + ("" if keys.citation == UNSTATED else f", from: {keys.citation}")
            )
        folders = [("images", self.images), ("labels", self.labels)]
        for key, path in [*folders, *(("labels", file) for file in self.coco)]:
            kind = "file" if path in self.coco else "folder"
            if not (path.is_file() if kind == "file" else path.is_dir()):
                raise DataError(
                    f"the {kind} {path} does not exist; correct data_dir, or the key {key} in "
                    f"{place}"
                )

    @cached_property
    def files(self) -> list[Path]:
        """Images, as paths below their folder; labels and unlabelled images may be in it, too."""
        apart, suffix = self.labels != self.images, self.keys.label_suffix
        others = [self.labels] if apart else []
        if self.keys.unlabelled:
            others.append(self.below(self.keys.unlabelled))
        return [
            file
            for file in find_files(self.images)
            if not any(other in (self.images / file).parents for other in others)
            and not (suffix and not apart and file.name.endswith(suffix))
        ]

    @cached_property
    def image_paths(self) -> frozenset[Path]:
        """The images, as paths from the working directory."""
        return frozenset(self.images / file for file in self.files)

    @cached_property
    def known(self) -> KnownImages:
        """The images as lists may name them."""
        return KnownImages(
            (file.as_posix(), image_id(file), self.images / file) for file in self.files
        )

    @cached_property
    def labels_by_id(self) -> dict[str, list[Path]]:
        """Label files, as paths below their folder, by the id of the image they may belong to."""
        suffix, found = self.keys.label_suffix, dict[str, list[Path]]()
        for file in find_files(self.labels, (suffix.lower(),) if suffix else (*SUFFIXES, OUTLINES)):
            found.setdefault(image_id(file, suffix or file.suffix), []).append(file)
        return found

    def listed(self) -> list[Sample]:
        """The samples, with label files as the user has them; those without label come last."""
        self.check()
        return [
            Sample(image_id(file), split, self.images / file, self.label_of(file, named))
            for split, entries in self.divided().items()
            for file, named in entries
        ] + self.unlabelled()

    def divided(self) -> dict[str, list[tuple[Path, str]]]:
        """Images by split, each with the label that its list names, if it names one."""
        if self.keys.val_share is None:
            return {s: self.from_list(getattr(self.keys, s)) for s in SPLITS}
        ids: dict[str, Path] = {}
        for file in self.files:
            other = ids.setdefault(image_id(file), file)
            if other != file:
                raise DataError(
                    f"two images have the name {image_id(file)}: {other} and {file} in "
                    f"{self.keys.images}; rename or remove one"
                )
        count = math.ceil(self.keys.val_share * len(ids))
        val = set(keyed_order(ids, self.keys.split_seed)[:count])
        return {
            split: [(file, "") for name, file in ids.items() if (name in val) == (split == "val")]
            for split in SPLITS
        }

    def from_list(self, name: str) -> list[tuple[Path, str]]:
        """The images that the lines of a list name, and what follows them there."""
        path, found, absent = self.below(name), [], []
        for line in read_lines(path):
            files, rest = self.known.split(line)
            if len(files) > 1:
                raise DataError(
                    f"the list {path} has the line {line}, which may mean "
                    f"{' or '.join(files[:3])}; write the whole path below the folder of images, "
                    "with suffix"
                )
            if files:
                found.append((Path(files[0]), rest))
            else:
                absent.append(line)
        if absent and not self.options.relax_counts:
            raise DataError(
                f"the list {path} names {len(absent)} images that are not in "
                f"{self.keys.images}: {listed(absent, 10)}; restore them or take them off the "
                "list"
            )
        return found

    def label_of(self, image: Path, named: str) -> Path:
        """The label file of an image, or one that does not exist; `named` is what its list says."""
        if named:
            places = [folder / named.lstrip("/") for folder in (self.labels, self.root)]
            whole = [Path(named)] if Path(named).is_absolute() else self.from_above(named)
            return next((path for path in (*whole, *places) if path.is_file()), places[0])
        own = self.images / image
        if self.coco:
            return own
        files = [f for f in self.labels_by_id.get(image_id(image), []) if self.labels / f != own]
        if len(files) > 1:
            raise DataError(
                f"the image {own} has the labels {files[0]} and {files[1]} in {self.labels}; set "
                "label_suffix in the description to say which counts, or remove one"
            )
        usual = f"{image_id(image)}{self.keys.label_suffix or '.png'}"
        return self.labels / (files[0] if files else usual)

    @cached_property
    def anchors(self) -> list[tuple[Path, Path]]:
        """Data_dir and the folder of labels, each with its whole path and, of a link, its aim's."""
        folders = (self.root, self.labels)
        return [
            (folder, whole)
            for folder in folders
            for whole in (Path(os.path.normpath(folder.absolute())), folder.resolve())
        ]

    def from_above(self, named: str) -> list[Path]:
        """The paths below data_dir or labels that a path from a folder above them may mean."""
        return [
            folder / path.relative_to(whole)
            for folder, whole in self.anchors
            for path in (above / named for above in whole.parents)
            if path.is_relative_to(whole)
        ]

    def unlabelled(self) -> list[Sample]:
        """Images of which nobody has to have labels: of a folder, or listed."""
        name = self.keys.unlabelled
        if not name:
            return []
        place = self.below(name)
        if place.is_dir():
            return [
                Sample(f"{place.name}/{image_id(file)}", UNLABELLED, place / file, None)
                for file in find_files(place)
            ]
        listed = self.from_list(name)
        return [Sample(image_id(file), UNLABELLED, self.images / file, None) for file, _ in listed]

    def drawings(self) -> "list[tuple[Sample, Drawing]]":
        """The outlines of the samples that have outlines."""
        from cseg.datasets.polygons import read_coco, read_labelme

        outlined = [sample for sample in self.listed() if self.is_outlined(sample)]
        if not self.coco:
            return [(s, read_labelme(s.label)) for s in outlined if s.label and s.label.exists()]
        found: dict[Path, Drawing] = {}
        for path in self.coco:
            for name, drawing in read_coco(path).items():
                image = self.outlined_image(path, name)
                other = found.setdefault(image, drawing) if image else drawing
                if other is not drawing:
                    files = path if other.file == path else f"{other.file} and in {path}"
                    raise DataError(
                        f"the image {image} is described twice, in {files}; gather its outlines "
                        "in one entry of one file"
                    )
        absent = [sample.image for sample in outlined if sample.image not in found]
        if absent:
            raise DataError(
                f"{listed(self.coco)} does not describe {len(absent)} images: "
                f"{listed(absent)}; add them there, or take them off the list"
            )
        return [(sample, found[sample.image]) for sample in outlined]

    def outlined_image(self, coco: Path, name: str) -> Path | None:
        """The image that a COCO file names: beside that file, or as a list would name it."""
        beside = coco.parent / name
        if beside in self.image_paths:
            return beside
        files = self.known.find(name)
        if len(files) > 1:
            raise DataError(
                f"{coco} has the file_name {name}, which may mean {' or '.join(files[:3])}; write "
                "the image's path below the folder of images there, or give that part of the "
                "folder as images"
            )
        return self.images / files[0] if files else None
