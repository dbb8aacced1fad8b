"""Networks back from checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cseg.datasets.samples import DatasetInfo, info_from_json
from cseg.model.network import ModelSettings, Segmenter, build_segmenter
from cseg.settings import from_mapping
from cseg.training import checkpoint


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
    network.projector = nn.Identity()
    network.load_state_dict(content["network"])
    return LoadedSegmenter(network.eval(), info, content["settings"], content["title"])
