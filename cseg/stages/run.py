"""One run of the experiment: its settings, and the labelled images it may see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from cseg.compute.device import DeviceSettings
from cseg.compute.ranks import current_share
from cseg.datasets.samples import UNLABELLED, DatasetInfo, load_info
from cseg.errors import DataError
from cseg.images.transforms import ImageSettings
from cseg.model import checkpoint
from cseg.model.network import ModelSettings, Segmenter, build_segmenter
from cseg.settings import from_mapping
from cseg.storage.files import fingerprint, read_json
from cseg.storage.lists import read_index, read_subset
from cseg.storage.provenance import source_fingerprint
from cseg.training.loop import LoopSettings
from cseg.training.prepared_cache import read_places
from cseg.training.sampling import Pair, StepBatches

T = TypeVar("T")


@dataclass(frozen=True)
class RunSettings:
    """What pretraining and fine-tuning of one arm share.

    Attributes:
        init: start of the encoder: random or imagenet.
        seed: of the run; subset, initial weights, order, geometry and distortion follow from it.
        image: see `ImageSettings`.
        model: see `ModelSettings`.
        compute: see `DeviceSettings`.
    """

    init: str
    seed: int
    image: ImageSettings
    model: ModelSettings
    compute: DeviceSettings


@dataclass(frozen=True)
class Cache:
    """The two files of the stage prepare."""

    pixels: Path
    places: Path


def run_settings(values: Mapping[str, Any], threads: int) -> RunSettings:
    """Typed settings from an arm's resolved config (`cseg.experiment.arm_settings`)."""
    return RunSettings(
        init=values["init"],
        seed=values["seed"],
        image=from_mapping(ImageSettings, values["image"], "image"),
        model=from_mapping(ModelSettings, values["model"], "model"),
        compute=DeviceSettings(values["device"], threads, values["deterministic"]),
    )


def labelled_pairs(
    index_csv: str | Path, subset_csv: str | Path, cache: Cache | None = None
) -> tuple[list[Pair], str]:
    """The labelled pairs of a subset, in its order, and the subset's fingerprint.

    With `cache`, the pairs are read from there.

    Raises:
        DataError: an empty subset, or an id that the index does not hold.
    """
    ids, mark = read_subset(subset_csv)
    index = read_index(index_csv)
    rows = index[index["split"] == "train"].set_index("id")
    unknown = [name for name in ids if name not in rows.index]
    if unknown:
        raise DataError(
            f"subset {subset_csv} names {unknown[0]}, which {index_csv} does not hold; "
            "delete the subset and run again"
        )
    pairs = pairs_of(rows.loc[ids].reset_index())
    if cache is not None:
        places = read_places(cache.places, cache.pixels)
        if any(pair.id not in places for pair in pairs):
            raise DataError(f"{cache.places} is of another index; delete it and run again")
        pairs = [replace(pair, place=places[pair.id]) for pair in pairs]
    return pairs, mark


def training_pairs(
    index_csv: str | Path,
    subset_csv: str | Path,
    cache: Cache | None,
    pseudo_csv: str | Path | None,
    settings: Mapping[str, Any],
) -> tuple[list[Pair], str]:
    """What an arm trains on, and its fingerprint: the labelled pairs, then the pseudo-labelled.

    Beside pseudo labels, the labelled pairs stand `pseudolabel.repeat_labelled` times in the list.

    Raises:
        DataError: as `labelled_pairs`; or the list of pseudo labels is damaged or of another index.
    """
    pairs, mark = labelled_pairs(index_csv, subset_csv, cache)
    if pseudo_csv is None:
        return pairs, mark
    try:
        table = pd.read_csv(pseudo_csv, dtype=str, keep_default_na=False)
        listed = dict(zip(table["id"], table["label"], strict=True))
        marks = [mark, *table["fingerprint"].unique()]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the list of pseudo labels {pseudo_csv} is damaged; delete it and run again"
        ) from error
    images = {pair.id: pair for pair in unlabelled_pairs(index_csv, subset_csv)}
    unknown = [name for name in listed if name not in images]
    if unknown:
        raise DataError(
            f"{pseudo_csv} labels {unknown[0]}, which is no unlabelled image of {index_csv}; "
            "delete it and run again"
        )
    repeat = settings["pseudolabel"]["repeat_labelled"]
    pairs = pairs * repeat + [
        replace(images[name], label=Path(path), label_sha256=None, pseudo=True)
        for name, path in listed.items()
    ]
    return pairs, fingerprint([*marks, repeat])


def unlabelled_pairs(index_csv: str | Path, subset_csv: str | Path) -> list[Pair]:
    """The training pairs outside a subset, then the images without label, in index order.

    The labels of the former are hidden; those of the latter are None.
    """
    index = read_index(index_csv)
    labelled = set(read_subset(subset_csv)[0])
    hidden = pairs_of(index[(index["split"] == "train") & ~index["id"].isin(labelled)])
    return hidden + pairs_of(index[index["split"] == UNLABELLED])


def validation_pairs(index_csv: str | Path) -> list[Pair]:
    """The validation pairs, in the order of the index."""
    index = read_index(index_csv)
    return pairs_of(index[index["split"] == "val"])


def pairs_of(rows: pd.DataFrame) -> list[Pair]:
    """Rows of an index as pairs."""
    wanted = rows[["id", "image", "label", "image_sha256", "label_sha256"]]
    return [
        Pair(
            name,
            Path(image),
            Path(label) if label else None,
            image_sha256=of_image,
            label_sha256=of_label or None,
        )
        for name, image, label, of_image, of_label in wanted.itertuples(index=False)
    ]


def read_dataset(dataset_json: str | Path) -> tuple[DatasetInfo, dict[str, Any]]:
    """What a dataset is, and the other facts of `dataset.json` (sizes, index fingerprint)."""
    return load_info(dataset_json), read_json(dataset_json)


def start_network(
    run: RunSettings, classes: int, pretrained: Path | None, keep_projector: bool = False
) -> Segmenter:
    """The network fine-tuning starts from, with its projection head only where it is wanted."""
    torch.manual_seed(run.seed)
    network = build_segmenter(run.model, classes, "random" if pretrained else run.init)
    if pretrained:
        state = checkpoint.load(pretrained, "pretrain")["network"]
        fresh = {k: v for k, v in network.state_dict().items() if k.startswith("classifier.")}
        network.load_state_dict({**state, **fresh})
    if not keep_projector:
        network.drop_projector()
    return network


def run_key(stage: str, run: RunSettings, loop: LoopSettings, *more: object) -> str:
    """Fingerprint of all that shapes a stage's result; a saved state of another key is refused."""
    return fingerprint([stage, asdict(run), asdict(loop), source_fingerprint(), *map(str, more)])


def stream_seed(seed: int, stage: str) -> int:
    """The seed of a stage's random numbers, different for each stage of a run."""
    return 2 * seed + ("pretrain", "finetune").index(stage)


def split_settings(stage: str, kind: type[T], values: Mapping[str, Any]) -> tuple[T, LoopSettings]:
    """Split the config's block of a stage: what only it has (`kind`), and its optimisation loop."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    own = {key: value for key, value in values[stage].items() if key in names}
    loop = {key: value for key, value in values[stage].items() if key not in names}
    loop |= {"seed": stream_seed(values["seed"], stage), "precision": values["precision"]}
    return from_mapping(kind, own, stage), from_mapping(LoopSettings, loop, stage)


def step_batches(
    pairs: Sequence[Pair], info: DatasetInfo, run: RunSettings, loop: LoopSettings
) -> Callable[[int], StepBatches]:
    """The batches of a stage from a given step on."""

    def batches(first: int) -> StepBatches:
        return StepBatches(
            pairs, info, run.image, loop.batch, loop.seed, first, loop.steps,
            loop.cache_mib, current_share(),
        )  # fmt: skip

    return batches
