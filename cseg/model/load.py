"""Networks back from checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cseg.datasets.samples import DatasetInfo, info_from_json
from cseg.errors import DataError, reason
from cseg.model import checkpoint
from cseg.model.network import ModelSettings, Segmenter, build_segmenter
from cseg.settings import from_mapping
from cseg.storage.checksums import check_unchanged


@dataclass(frozen=True)
class LoadedSegmenter:
    """A fine-tuned network and what it was made for.

    Attributes:
        network: in evaluation mode, on the CPU; images RGB in 0..1 to class logits.
        info: classes and palette.
        settings: the arm's resolved config.
        title: dataset, arm, n and seed.
    """

    network: Segmenter
    info: DatasetInfo
    settings: dict[str, Any]
    title: str


def load_segmenter(path: str | Path) -> LoadedSegmenter:
    """Load what `finetune` wrote.

    Raises:
        TrainingError: the file is missing, damaged or no fine-tuned checkpoint.
    """
    content = checkpoint.load(path, "finetune")
    info = info_from_json(content["dataset"])
    model = from_mapping(ModelSettings, content["settings"]["model"], "model")
    network = build_segmenter(model, info.num_classes, "random")
    network.drop_projector()
    network.load_state_dict(content["network"])
    return LoadedSegmenter(network.eval(), info, content["settings"], content["title"])


def describe(path: str | Path) -> dict[str, str]:
    """Facts of a fine-tuned checkpoint, by name, for people.

    mIoU stands in the `metrics.csv` beside the checkpoint, where evaluation has written it.

    Raises:
        TrainingError: the file is missing, damaged or no fine-tuned checkpoint.
    """
    content = checkpoint.load(path, "finetune")
    info, settings = info_from_json(content["dataset"]), content["settings"]
    metrics = Path(path).with_name("metrics.csv")
    measured = _measured(metrics) if metrics.exists() else "not evaluated yet"
    return {
        "run": content["title"],
        "dataset": info.name,
        "classes": ", ".join(info.class_names),
        "labelled images": str(content["n"]),
        "init": settings["init"],
        "pretraining": settings["scope"],
        "encoder": settings["model"]["encoder"],
        "validation mIoU": measured,
        "subset fingerprint": content["subset_fingerprint"],
        **{key.replace("_", " "): value for key, value in content["provenance"].items()},
    }


def _measured(metrics: Path) -> str:
    check_unchanged(metrics)
    try:
        return f"{pd.read_csv(metrics)['miou'].iloc[0]:.4f}"
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"cannot read {metrics}: {reason(error)}; evaluate the run again"
        ) from error
