"""A fine-tuned network as an ONNX file, for runtimes without PyTorch.

Shapes: B batch, K classes, H and W height and width; the file names B, H, W batch, height, width,
and all three are free.
"""

import json
import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from cseg.errors import ConfigError, install_command
from cseg.inference.load import load_segmenter
from cseg.inference.predict import ProtocolSettings
from cseg.model.network import Segmenter
from cseg.storage.files import atomic


class Exported(nn.Module):
    """The network behind the resizing that images went through in training."""

    def __init__(self, network: Segmenter, short_side: int | None) -> None:
        super().__init__()
        self.network, self.short_side = network, short_side

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Class logits (B, K, H, W) of RGB images in 0..1, at their resolution."""
        if self.short_side is None:
            return self.network(images_B3HW)
        height, width = images_B3HW.shape[-2:]
        shorter = torch.sym_min(height, width)
        size: list[int] = [self.short_side * height // shorter, self.short_side * width // shorter]  # type: ignore[list-item]
        small = F.interpolate(images_B3HW, size, mode="bilinear", antialias=True)
        steps = (small * 255).round() / 255  # images are resized as uint8 elsewhere
        logits = self.network(steps)
        return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)


def export(checkpoint: str | Path, out: str | Path) -> None:
    """Write `out`: input `images`, float32 (B, 3, H, W), RGB in 0..1; output `logits` (B, K, H, W).

    Resizing as in training and normalisation are inside, so that images of any size can be given.
    The class of a pixel is the argmax over K. The file's metadata say run, classes, palette,
    short_side (pixels, to which the file resizes; empty: it does not) and window (height and width
    of the sliding window that the run was evaluated with, which the file does not hold; empty:
    none).

    Raises:
        ConfigError: the extra onnx is not installed, or there is a file `out` already.
        TrainingError: the checkpoint cannot be used.
    """
    if Path(out).exists():
        raise ConfigError(f"{out} exists already; move it or give another name with --out")
    loaded = load_segmenter(checkpoint)
    protocol = ProtocolSettings.of(loaded.settings)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = torch.rand(2, 3, 68, 52)  # no side a multiple of the stride: none is taken for fixed
    free = {0: Dim("batch"), 2: Dim("height", min=2), 3: Dim("width", min=2)}
    network = Exported(loaded.network, protocol.short_side).eval()
    try:
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=(free,), verbose=False,
            input_names=["images"], output_names=["logits"],
        )  # fmt: skip
    except ImportError as error:
        raise ConfigError(
            f"export needs {error.name}, which is not installed; run {install_command('onnx')}"
        ) from error
    assert program is not None
    program.model.metadata_props.update(
        run=loaded.title,
        class_names=json.dumps(loaded.info.class_names),
        palette=json.dumps(loaded.info.palette),
        short_side=_text(protocol.short_side),
        window=_text(protocol.window),
    )
    with atomic(out) as temporary:
        program.save(temporary, external_data=False)


def _text(value: object) -> str:
    return "" if value is None else json.dumps(value)
