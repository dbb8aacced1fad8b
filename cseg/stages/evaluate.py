"""Stage `evaluate`: one confusion matrix over the whole validation set, at label resolution.

Shapes: K classes, H and W height and width.
"""

import io
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cseg.compute.device import device_name, open_device
from cseg.compute.ranks import current_share
from cseg.datasets.samples import DatasetInfo, load_info
from cseg.inference import metrics
from cseg.inference.load import LoadedSegmenter, load_segmenter
from cseg.inference.predict import ProtocolSettings
from cseg.settings.keys import plain
from cseg.settings.network import GivenWeights
from cseg.settings.run import RunSettings
from cseg.stages.run import RunInputs, labelled_pairs, validation_pairs
from cseg.storage.files import atomic, fingerprint, read_json, write_checksums
from cseg.storage.provenance import provenance
from cseg.storage.tables import write_table

EPOCH = (1980, 1, 1, 0, 0, 0)  # equal predictions give equal archives


@dataclass(frozen=True, kw_only=True)
class EvaluateOutputs:
    """Files written by the stage, in the run's folder; checksums.json of the CSVs joins them."""

    metrics: Path
    per_class: Path
    per_image: Path
    confusion: Path
    predictions: Path

    @classmethod
    def of(cls, folder: Path) -> "EvaluateOutputs":
        """The files of the stage in a run's folder."""
        names = ("metrics", "per_class", "per_image", "confusion")
        tables = {name: folder / f"{name}.csv" for name in names}
        return cls(**tables, predictions=folder / "predictions.zip")


def evaluate(
    inputs: RunInputs,
    settings: RunSettings,
    *,
    arm: str,
    weights: Path,
    costs: Sequence[Path],
    out: EvaluateOutputs,
    threads: int,
) -> None:
    """Measure the network of `finetune` on the validation set; write its rows and predictions.

    Training mIoU is measured on images of the subset; `costs` are the cost files of the run.
    """
    started = time.monotonic()
    seconds = {cost.name.removesuffix("_cost.json"): read_json(cost)["seconds"] for cost in costs}
    protocol = ProtocolSettings.of(settings)
    device = open_device(settings.device, threads)
    info, facts = load_info(inputs.dataset), read_json(inputs.dataset)
    loaded = load_segmenter(weights)
    loaded.network.to(device)
    pairs, subset = labelled_pairs(inputs)
    measured = pairs[: settings.evaluate.train_images]
    train, _ = metrics.matrices_by_image(loaded.network, measured, info, protocol)
    val, pictures = metrics.matrices_by_image(
        loaded.network, validation_pairs(inputs.index), info, protocol, partial(_png, info)
    )
    if not current_share().leads:
        return
    with atomic(out.predictions) as temporary, zipfile.ZipFile(temporary, "w") as stream:
        for name, data in pictures.items():
            stream.writestr(zipfile.ZipInfo(f"{name}.png", EPOCH), data)
    confusion = sum(val.values(), np.zeros((info.num_classes,) * 2, np.int64))
    key = {"dataset": info.name, "arm": arm, "n": len(pairs), "seed": settings.seed}
    row = {
        **key,
        "miou": metrics.mean_iou(confusion),
        "pixel_accuracy": metrics.pixel_accuracy(confusion),
        "mean_accuracy": float(np.nanmean(metrics.accuracy_per_class(confusion))),
        "train_miou": metrics.mean_iou(sum(train.values(), np.zeros_like(confusion))),
        "n_train": facts["train_size"],
        **_plan_columns(settings, loaded, protocol),
        "pretrain_seconds": seconds.get("pretrain", 0.0),
        "finetune_seconds": seconds.get("finetune", 0.0),
        "evaluate_seconds": round(time.monotonic() - started, 2),
        "subset_fingerprint": subset,
        "index_fingerprint": facts["index_fingerprint"],
        "settings_fingerprint": fingerprint(plain(settings)),
        **provenance(),
        "device": device_name(device),
        "threads": threads,
        "precision": settings.precision,
    }
    tables = _tables(info, confusion, val)
    for name, columns in tables.items():
        write_table(getattr(out, name), pd.DataFrame({**key, **columns}))
    write_table(out.metrics, pd.DataFrame([row]))
    write_checksums([out.metrics, *(getattr(out, name) for name in tables)])


def _png(info: DatasetInfo, label_HW: np.ndarray) -> bytes:
    picture = Image.fromarray(label_HW, mode="P")
    picture.putpalette([channel for colour in info.palette for channel in colour])
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def _plan_columns(
    settings: RunSettings, loaded: LoadedSegmenter, protocol: ProtocolSettings
) -> dict[str, Any]:
    pretrain_steps = settings.pretrain.steps if "pretrain" in settings.trainings else 0
    finetune_steps = settings.finetune.steps
    start = loaded.network.start
    return {
        "budget": settings.budget,
        "pretrain_steps": pretrain_steps,
        "finetune_steps": finetune_steps,
        "total_steps": pretrain_steps + finetune_steps,
        "image_views": 2 * pretrain_steps * settings.pretrain.batch
        + finetune_steps * settings.finetune.views,
        "init": "weights" if isinstance(settings.init, GivenWeights) else settings.init,
        "weights": start.weights,
        "weights_sha256": start.sha256,
        "weights_data": start.data,
        "weights_licence": start.licence,
        "scope": settings.scope,
        "encoder": settings.model.encoder,
        "parameters": sum(p.numel() for p in loaded.network.parameters()),
        "protocol": protocol.name,
        "model_choice": settings.finetune.report,
    }


def _tables(
    info: DatasetInfo, confusion_KK: np.ndarray, by_image: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """The columns of each table but the metrics."""
    classes = range(info.num_classes)
    counts = np.array([[np.diag(m), m.sum(1), m.sum(0)] for m in by_image.values()])
    names = [f"{kind}_{c}" for kind in ("intersection", "truth", "predicted") for c in classes]
    truth, predicted = np.indices(confusion_KK.shape).reshape(2, -1)
    return {
        "per_class": {
            "class_id": classes,
            "class_name": info.class_names,
            "iou": metrics.iou_per_class(confusion_KK),
            "accuracy": metrics.accuracy_per_class(confusion_KK),
            "pixels": confusion_KK.sum(axis=1),
        },
        "per_image": {
            "id": list(by_image),
            **dict(zip(names, counts.reshape(len(by_image), -1).T, strict=True)),
        },
        "confusion": {"truth": truth, "predicted": predicted, "pixels": confusion_KK.ravel()},
    }
