"""How many images an experiment has and how large they are, before or after its index exists."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cseg.datasets import dataset_module
from cseg.datasets.decode import open_image
from cseg.datasets.samples import SPLITS, UNLABELLED, Sample
from cseg.errors import ConfigError
from cseg.experiment import Experiment
from cseg.stages.fetch import listed_samples
from cseg.storage.files import read_json
from cseg.storage.index_and_subset import read_index

OPENED = 16  # images whose sizes stand for all, while there is no index


@dataclass(frozen=True)
class Sizes:
    """Images of the dataset: how many to train on, to evaluate on, and without label."""

    train: int
    val: int
    unlabelled: int = 0


def image_counts(experiment: Experiment) -> Sizes:
    """How many images there are: of the index, as published, or of the files that are described.

    Raises:
        DataError: the described files are not there.
    """
    facts = Path(experiment.results) / "dataset.json"
    if facts.exists():
        found = read_json(facts)
        return Sizes(found["train_size"], found["val_size"], found.get("unlabelled_size", 0))
    known = experiment.info.split_sizes
    if "train" in known and "val" in known:
        return Sizes(known["train"], known["val"])
    splits = [sample.split for sample in _described(experiment)]
    return Sizes(*(splits.count(split) for split in (*SPLITS, UNLABELLED)))


def image_size(experiment: Experiment) -> tuple[int, int]:
    """Height and width of the median image: of the index, of the options, or of the first files.

    Raises:
        ConfigError: none of them says so.
        DataError: the described files are not there, or one cannot be read.
    """
    index = Path(experiment.results) / "index.csv"
    if index.exists():
        table = read_index(index)
        return int(table["height"].median()), int(table["width"].median())
    side = experiment.options.get("size")
    if side:
        return int(side), int(side)
    samples = _described(experiment)[:OPENED]
    if samples:
        most = experiment.info.max_megapixels
        sizes = [open_image(s.image, max_megapixels=most).image.size for s in samples]
        return int(median(h for _, h in sizes)), int(median(w for w, _ in sizes))
    raise ConfigError(
        f"the size of the images of {experiment.name} is not known before {index} exists; "
        "give it: --size HEIGHT WIDTH"
    )


def _described(experiment: Experiment) -> list[Sample]:
    """The samples of a dataset that the user describes; none of a published dataset.

    Nothing is downloaded, drawn or opened, so no work folder is needed.
    """
    if not hasattr(dataset_module(experiment.dataset), "sources"):
        return []
    root, options = Path(experiment.data_dir).expanduser(), experiment.options
    return listed_samples(experiment.dataset, root, work=Path(), options=options)
