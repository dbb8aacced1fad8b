"""A fine-tuned network as an ONNX file, for runtimes without PyTorch.

Shapes: B batch, K classes, H and W height and width; all three of B, H, W are free in the file.
"""

import json
import logging
from pathlib import Path

import torch
from torch.export import Dim

from cseg.errors import ConfigError
from cseg.inference.load import load_segmenter
from cseg.storage.files import atomic


def export(checkpoint: str | Path, out: str | Path) -> None:
    """Write `out`: input `images`, float32 (B, 3, H, W), RGB in 0..1; output `logits` (B, K, H, W).

    Normalisation is inside. The class of a pixel is the argmax over K. The file's metadata say
    run, classes, palette, and the short side that images had in training (empty: any).

    Raises:
        ConfigError: the extra onnx is not installed.
        TrainingError: the checkpoint cannot be used.
    """
    loaded = load_segmenter(checkpoint)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = torch.rand(2, 3, 68, 52)  # no side a multiple of the stride: none is taken for fixed
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    try:
        program = torch.onnx.export(
            loaded.network, (example,), dynamo=True, dynamic_shapes=(free,), verbose=False,
            input_names=["images"], output_names=["logits"],
        )  # fmt: skip
    except ImportError as error:
        raise ConfigError(
            f"export needs {error.name}, which is not installed; run `pip install 'cseg[onnx]'`"
        ) from error
    assert program is not None
    short_side = loaded.settings["image"]["short_side"]
    program.model.metadata_props.update(
        run=loaded.title,
        class_names=json.dumps(loaded.info.class_names),
        palette=json.dumps(loaded.info.palette),
        short_side="" if short_side is None else str(short_side),
    )
    with atomic(out) as temporary:
        program.save(temporary, external_data=False)
