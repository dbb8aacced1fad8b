"""PASCAL VOC 2012 segmentation, with `train` (1,464 images) or SBD's `train_aug` (10,582).

Layout: `VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}` as in the
trainval archive, and `benchmark_RELEASE/dataset/{cls,train.txt,val.txt}` as in SBD's.
train_aug = (SBD train + SBD val + VOC train) - VOC val. An image that both annotate keeps VOC's
label, which is drawn more finely and marks object boundaries 255; SBD's labels have no boundary.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cseg.datasets.archives import extract
from cseg.datasets.download import download, home_for
from cseg.datasets.image_files import read_lines
from cseg.datasets.samples import (
    IGNORE,
    SPLITS,
    DatasetInfo,
    Sample,
    SharedOptions,
    default_colours,
    require_folder,
)
from cseg.errors import ConfigError, DataError, readable
from cseg.pipeline import HOME

if TYPE_CHECKING:
    import numpy as np

# Addresses and md5 as torchvision 0.29 has them in datasets/voc.py and datasets/sbd.py.
VOC_URL = "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
VOC_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
SBD_URL = (
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
    "benchmark.tgz"
)
SBD_MD5 = "82b4d87ceb2ed10f6038a1cba92111cb"
VOC_FOLDER, SBD_FOLDER = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
HOLDS = {VOC_FOLDER: "ImageSets/Segmentation", SBD_FOLDER: "cls"}  # by which they are found
SBD_LABELS = "sbd_labels"
TRAIN_SIZES = {"train": 1464, "train_aug": 10582}
SBD_CITATION = {
    "train": "",
    "train_aug": "; Hariharan, Arbelaez, Bourdev, Maji, Malik: Semantic Contours from Inverse "
    "Detectors, ICCV 2011",
}
CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options(SharedOptions):
    """The options of VOC 2012."""

    download: bool = True
    lists: str = ""
    sbd_url: str = SBD_URL
    train_set: Literal["train", "train_aug"] = "train"
    voc_url: str = VOC_URL

    def __post_init__(self) -> None:
        if self.lists and self.train_set != "train":
            raise ConfigError(
                "dataset_options: voc2012: lists replaces VOC's train.txt and val.txt, and "
                "train_aug adds SBD's; keep one of the two"
            )


def info(options: Options) -> DatasetInfo:
    """Facts of VOC 2012; `train_set` is train or train_aug."""
    return DatasetInfo(
        name="voc2012",
        class_names=CLASSES,
        palette=default_colours(len(CLASSES)),
        label_map={i: i for i in range(len(CLASSES))} | {IGNORE: IGNORE},
        split_sizes={"train": TRAIN_SIZES[options.train_set], "val": 1449},
        licence="research use; images are subject to Flickr's terms of use",
        citation="Everingham, Eslami, Van Gool, Williams, Winn, Zisserman: The PASCAL Visual "
        "Object Classes Challenge: A Retrospective, IJCV 2015" + SBD_CITATION[options.train_set],
        labels_by="stored",
    )


def fetch(root: Path, work_dir: Path, options: Options) -> None:
    """Find VOC (and SBD, for train_aug) in `root` or download them; turn SBD's .mat into PNG.

    Raises:
        DataError: not there and not to be downloaded, or an archive or .mat file is damaged.
    """
    from tqdm import tqdm  # planning needs neither

    from cseg.datasets.reading import write_label

    require_folder(root)
    archives = [(VOC_FOLDER, options.voc_url, VOC_MD5)]
    if options.train_set == "train_aug":
        archives.append((SBD_FOLDER, options.sbd_url, SBD_MD5))
    for folder, url, md5 in archives:
        if _find(root, work_dir, folder) is not None:
            continue
        if not options.download:
            raise DataError(
                f"no {folder} in data_dir {root}; correct data_dir, "
                "or set dataset_options: voc2012: download: true"
            )
        home = home_for(root, work_dir)
        archive = home / url.rsplit("/", 1)[-1]
        download(url, archive, md5=md5)
        extract(archive, home / folder, inside=folder)
    if options.train_set == "train":
        return
    voc, sbd = _home(root, work_dir)
    present = {path.stem for p in (root, work_dir) for path in (p / SBD_LABELS).glob("*")}
    missing = [name for name in _sbd_ids(voc, sbd) if name not in present]
    target = home_for(root, work_dir) / SBD_LABELS
    for name in tqdm(missing, desc=SBD_LABELS, disable=None):
        label = read_sbd_label(sbd / "cls" / f"{name}.mat")
        write_label(target / f"{name}.png", label, default_colours(len(CLASSES)))


def samples(root: Path, work_dir: Path, options: Options) -> list[Sample]:
    """List VOC's train ids, then (train_aug) SBD's sorted by id, then VOC's val ids.

    The option `lists` names a folder whose train.txt and val.txt replace VOC's.

    Raises:
        DataError: a list is missing.
    """
    if options.train_set == "train_aug":
        voc, sbd = _home(root, work_dir)
        extra = _sbd_ids(voc, sbd)
    else:
        voc, extra = _find(root, work_dir, VOC_FOLDER) or root, []
    lists = _lists(voc, options)
    found: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for split, pairs in found.items():
        for name in read_lines(lists / f"{split}.txt"):
            label = voc / "SegmentationClass" / f"{name}.png"
            pairs.append(Sample(name, split, voc / "JPEGImages" / f"{name}.jpg", label))
    for name in extra:
        places = [folder / SBD_LABELS / f"{name}.png" for folder in (root, work_dir)]
        label = next((path for path in places if path.exists()), places[0])
        found["train"].append(Sample(name, "train", voc / "JPEGImages" / f"{name}.jpg", label))
    return [*found["train"], *found["val"]]


def read_sbd_label(path: Path) -> "np.ndarray":
    """Read the class map of an SBD .mat file, uint8 HxW.

    Raises:
        DataError: missing, damaged or without a class map; names the file.
    """
    import numpy as np
    from scipy.io import loadmat  # half a second to import, and only train_aug needs it

    # damaged files raise whatever loadmat stumbles over
    with readable(f"SBD's label {path}", "restore the file from SBD's archive", Exception):
        label = loadmat(path, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"]
        return np.asarray(label, dtype=np.uint8)


def sources(root: Path, options: Options) -> list[Path]:
    """The list files that the option `lists` names; VOC's own are not the user's to edit."""
    return [_lists(root, options) / f"{s}.txt" for s in SPLITS] if options.lists else []


def _lists(voc: Path, options: Options) -> Path:
    """The folder of train.txt and val.txt: as the config says it, or as shipped, or VOC's own."""
    if not options.lists:
        return voc / "ImageSets" / "Segmentation"
    named = Path(options.lists).expanduser()
    return named if named.is_dir() else HOME / named


def _sbd_ids(voc: Path, sbd: Path) -> list[str]:
    """List the ids that SBD adds to VOC's train list, sorted."""

    def listed(folder: Path) -> set[str]:
        return {name for split in SPLITS for name in read_lines(folder / f"{split}.txt")}

    return sorted(listed(sbd) - listed(voc / "ImageSets" / "Segmentation"))


def _home(root: Path, work_dir: Path) -> tuple[Path, Path]:
    voc, sbd = (_find(root, work_dir, folder) for folder in HOLDS)
    if voc is None or sbd is None:
        missing = VOC_FOLDER if voc is None else SBD_FOLDER
        raise DataError(f"no {missing} in data_dir {root}; run fetch first")
    return voc, sbd


def _find(root: Path, work_dir: Path, folder: str) -> Path | None:
    places = (root / folder, root / "VOC2012", root, work_dir / folder)
    return next((place for place in places if (place / HOLDS[folder]).is_dir()), None)
