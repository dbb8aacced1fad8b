"""One run of the experiment: what its stages read, the images they may see, and what they leave."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cseg.compute.device import device_name, peak_memory
from cseg.compute.ranks import current_share
from cseg.datasets.samples import UNLABELLED, DatasetInfo
from cseg.errors import DataError, readable
from cseg.model import checkpoint
from cseg.model.network import Segmenter, build_segmenter
from cseg.model.weights import Start
from cseg.settings.keys import build
from cseg.settings.run import RunSettings, Stage
from cseg.storage.files import fingerprint, write_json
from cseg.storage.index_and_subset import read_index_rows, read_subset
from cseg.storage.tables import read_rows, write_rows
from cseg.training.loop import Training
from cseg.training.prepared_cache import Place, read_places
from cseg.training.resume import Curve
from cseg.training.sampling import Pair, StepBatches

OTHER_SEEDS = 2**31  # above every seed of a config: order and crops of the unlabelled images


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """Files that the stages of a run read."""

    index: Path  # images and labels, from `index`
    dataset: Path  # classes and sizes, from `index`
    subset: Path  # the labelled ids, from `subset`
    # the prepared cache, from `prepare`, if images are read from it
    pixels: Path | None = None
    places: Path | None = None
    # the list of pseudo labels, from `pseudolabel`, if the arm trains on them
    pseudo: Path | None = None
    # weights that fine-tuning starts from: of `pretrain`, or of the teacher's `finetune`
    pretrained: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingOutputs:
    """Files that a training stage writes."""

    weights: Path  # the network; tensors by name
    curve: Path  # step, loss, lr, the objective's measures, and val_miou if it is measured
    cost: Path  # seconds, images_per_second, peak_memory_mib, device

    @classmethod
    def of(cls, folder: Path, stage: Stage) -> "TrainingOutputs":
        """The files of a stage in a run's folder."""
        return cls(
            weights=folder / f"{stage}.pt",
            curve=folder / f"{stage}.csv",
            cost=folder / f"{stage}_cost.json",
        )


def labelled_pairs(inputs: RunInputs) -> tuple[list[Pair], str]:
    """The labelled pairs of a subset, in its order, and the subset's fingerprint.

    Raises:
        DataError: an empty subset, or an id that the index does not hold.
    """
    ids, mark = read_subset(inputs.subset)
    rows = {row["id"]: row for row in read_index_rows(inputs.index) if row["split"] == "train"}
    unknown = [name for name in ids if name not in rows]
    if unknown:
        raise DataError(
            f"subset {inputs.subset} names {unknown[0]}, which {inputs.index} does not hold; "
            "delete the subset and run again"
        )
    pairs = pairs_of(rows[name] for name in ids)
    places = _places(inputs)
    if places:
        if any(pair.id not in places for pair in pairs):
            raise DataError(f"{inputs.places} is of another index; delete it and run again")
        pairs = [replace(pair, place=places[pair.id]) for pair in pairs]
    return pairs, mark


def _places(inputs: RunInputs) -> dict[str, Place]:
    """Where images lie decoded, by id; nothing without a prepared cache."""
    if inputs.pixels is None or inputs.places is None:
        return {}
    return read_places(inputs.places, inputs.pixels)


def training_pairs(inputs: RunInputs, settings: RunSettings) -> tuple[list[Pair], str]:
    """What an arm trains on, and its fingerprint: the labelled pairs, then the pseudo-labelled.

    Raises:
        DataError: as `labelled_pairs`; or the list of pseudo labels is damaged or of another index.
    """
    pairs, mark = labelled_pairs(inputs)
    if inputs.pseudo is None or settings.pseudolabel is None:
        return pairs, mark
    with readable(f"the list of pseudo labels {inputs.pseudo}", "delete it and run again"):
        rows = read_rows(inputs.pseudo, ("id", "label", "fingerprint"))
    listed = {row["id"]: row["label"] for row in rows}
    marks = [mark, *dict.fromkeys(row["fingerprint"] for row in rows)]
    images = {pair.id: pair for pair in unlabelled_pairs(inputs)}
    unknown = [name for name in listed if name not in images]
    if unknown:
        raise DataError(
            f"{inputs.pseudo} labels {unknown[0]}, which is no unlabelled image of "
            f"{inputs.index}; delete it and run again"
        )
    repeat = settings.pseudolabel.repeat_labelled
    pairs = pairs * repeat + [
        replace(images[name], label=Path(path), label_sha256=None, pseudo=True)
        for name, path in listed.items()
    ]
    return pairs, fingerprint([*marks, repeat])


def unlabelled_pairs(inputs: RunInputs) -> list[Pair]:
    """The training pairs outside a subset, then the images without label, in index order.

    The labels of the former are hidden; those of the latter are None.
    """
    rows, labelled = read_index_rows(inputs.index), set(read_subset(inputs.subset)[0])
    hidden = [row for row in rows if row["split"] == "train" and row["id"] not in labelled]
    return pairs_of([*hidden, *(row for row in rows if row["split"] == UNLABELLED)])


def consistency_pairs(inputs: RunInputs, settings: RunSettings) -> tuple[list[Pair], str]:
    """The unlabelled images of consistency, their labels hidden, and their fingerprint.

    Raises:
        DataError: there are none.
    """
    if not settings.finetune.consistency.weight:
        return [], ""
    places = _places(inputs)
    pairs = [
        replace(pair, hidden=True, place=places.get(pair.id)) for pair in unlabelled_pairs(inputs)
    ]
    if not pairs:
        raise DataError(
            f"subset {inputs.subset} labels every image of {inputs.index}, so none is left for "
            "finetune.consistency; lower label_counts, set the weight 0, or add unlabelled images"
        )
    return pairs, fingerprint([[pair.id, pair.image_sha256] for pair in pairs])


def validation_pairs(index_csv: str | Path) -> list[Pair]:
    """The validation pairs, in the order of the index."""
    return pairs_of(row for row in read_index_rows(index_csv) if row["split"] == "val")


def pairs_of(rows: Iterable[Mapping[str, str]]) -> list[Pair]:
    """Rows of an index as pairs."""
    return [
        Pair(
            row["id"],
            Path(row["image"]),
            Path(row["label"]) if row["label"] else None,
            image_sha256=row["image_sha256"],
            label_sha256=row["label_sha256"] or None,
        )
        for row in rows
    ]


def start_network(
    settings: RunSettings, classes: int, *, pretrained: Path | None, keep_projector: bool = False
) -> Segmenter:
    """The network fine-tuning starts from, with its projection head only if it is wanted."""
    torch.manual_seed(settings.seed)
    network = build_segmenter(settings.model, classes, "random" if pretrained else settings.init)
    if pretrained:
        content = checkpoint.load(pretrained, "pretrain", "finetune")
        network.start = build(Start, content["start"], f"{pretrained}: start")
        # a teacher's end has a classifier and no projection head
        new = "classifier." if content["kind"] == "pretrain" else "projector."
        fresh = {k: v for k, v in network.state_dict().items() if k.startswith(new)}
        network.load_state_dict({**content["network"], **fresh})
    if not keep_projector:
        network.drop_projector()
    return network


def step_batches(
    pairs: Sequence[Pair], info: DatasetInfo, training: Training, unlabelled: Sequence[Pair] = ()
) -> StepBatches:
    """The batches of a training, with `unlabelled` images if there are any."""
    loop, image, seed = training.loop, training.settings.image, training.seed
    labelled = StepBatches(
        pairs, info, image, loop.batch, seed, loop.steps, loop.cache_mib, current_share()
    )
    if not unlabelled:
        return labelled
    batch = loop.batch * training.settings.finetune.consistency.ratio
    others = replace(labelled, pairs=unlabelled, batch=batch, seed=seed + OTHER_SEEDS)
    return replace(labelled, unlabelled=others)


def write_training(
    network: nn.Module, curve: Curve, *, training: Training, out: TrainingOutputs, **facts: object
) -> None:
    """Write a trained network, its curve and its cost, each atomically; drop the training state.

    `facts` are plain values saved in the checkpoint, whose kind is the stage.
    """
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    checkpoint.save(out.weights, training.stage, {"network": state, **facts})
    header, rows = ("step", "loss", "lr", *curve.measures), list[tuple[object, ...]](curve.rows)
    if curve.validation:
        header += ("val_miou",)
        rows = [(*row, curve.validation.get(int(row[0]), "")) for row in curve.rows]
    write_rows(out.curve, header, rows)
    images = training.loop.steps * training.loop.batch
    cost = {
        "seconds": round(curve.seconds, 2),
        "images_per_second": round(images / max(curve.seconds, 1e-9), 2),
        "peak_memory_mib": round(peak_memory(training.device), 1),
        "device": device_name(training.device),
    }
    write_json(out.cost, cost)
    print(
        f"{training.stage}: {cost['seconds']} s, {cost['images_per_second']} images/s, peak memory "
        f"{cost['peak_memory_mib']} MiB on {cost['device']}",
        file=sys.stderr,
    )
    training.state.unlink(missing_ok=True)
