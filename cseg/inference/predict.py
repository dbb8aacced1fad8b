"""Class maps of whole images from a network: one pass, or a sliding window.

Shapes: B batch, K classes, H and W height and width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cseg.images.transforms import IGNORE, resize_short_side, to_unit
from cseg.model.network import Segmenter


@dataclass(frozen=True)
class ProtocolSettings:
    """How a network is applied to an image of any size.

    Attributes:
        short_side: the image is resized to this shorter side first; None keeps its size.
        window: height and width of a sliding window with half overlap; None for the whole image.
    """

    short_side: int | None
    window: tuple[int, int] | None

    @property
    def name(self) -> str:
        """The protocol as it stands in a result row."""
        scale = "full size" if self.short_side is None else f"short side {self.short_side}"
        if self.window is None:
            return f"whole image, {scale}, background counted"
        return f"window {self.window[0]}x{self.window[1]}, {scale}, background counted"


def protocol_settings(values: Mapping[str, Any]) -> ProtocolSettings:
    """The protocol of an arm's resolved config (`cseg.experiment.arm_settings`)."""
    window = values["evaluate"]["window"]
    return ProtocolSettings(values["image"]["short_side"], tuple(window) if window else None)


@torch.inference_mode()
def predict(
    network: Segmenter,
    image_3HW: Tensor,
    size: tuple[int, int],
    protocol: ProtocolSettings,
    device: torch.device,
) -> Tensor:
    """The class of each pixel, uint8 on the CPU, at resolution `size`.

    Args:
        network: in evaluation mode, on `device`.
        image_3HW: uint8, RGB.
        size: height and width of the answer, usually those of the label map.
        protocol: see `ProtocolSettings`.
        device: where the network is.
    """
    scores = _scores(network, image_3HW, size, protocol, device)
    return scores[0].argmax(dim=0).to(torch.uint8).cpu()


@torch.inference_mode()
def predict_confident(
    network: Segmenter,
    image_3HW: Tensor,
    protocol: ProtocolSettings,
    device: torch.device,
    threshold: float,
) -> Tensor:
    """The class of each pixel of the image, uint8 on the CPU; 255 below a probability.

    Args:
        network: in evaluation mode, on `device`.
        image_3HW: uint8, RGB.
        protocol: see `ProtocolSettings`.
        device: where the network is.
        threshold: the class's probability must be at least this.
    """
    scores = _scores(network, image_3HW, tuple(image_3HW.shape[-2:]), protocol, device)
    shares = scores[0].softmax(dim=0) if protocol.window is None else scores[0]
    best, classes = shares.max(dim=0)
    return classes.masked_fill(best < threshold, IGNORE).to(torch.uint8).cpu()


def _scores(
    network: Segmenter,
    image_3HW: Tensor,
    size: tuple[int, ...],
    protocol: ProtocolSettings,
    device: torch.device,
) -> Tensor:
    """Scores (1, K, *size): logits of a whole image, mean probabilities of a sliding window."""
    resized = resize_short_side(image_3HW, protocol.short_side)
    image = to_unit(resized.to(device))[None].contiguous(memory_format=torch.channels_last)
    scores = network(image) if protocol.window is None else _slide(network, image, protocol.window)
    if tuple(scores.shape[-2:]) != tuple(size):
        scores = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
    return scores


def _slide(network: Segmenter, image_1CHW: Tensor, window: tuple[int, int]) -> Tensor:
    """Mean class probabilities over windows with half overlap."""
    height, width = image_1CHW.shape[-2:]
    total: Tensor | None = None
    weight = torch.zeros(1, 1, height, width, device=image_1CHW.device)
    for top in _starts(height, window[0]):
        for left in _starts(width, window[1]):
            rows = slice(top, min(top + window[0], height))
            columns = slice(left, min(left + window[1], width))
            part = network(image_1CHW[..., rows, columns]).softmax(dim=1)
            if total is None:
                total = part.new_zeros(1, part.shape[1], height, width)
            total[..., rows, columns] += part
            weight[..., rows, columns] += 1
    assert total is not None  # an image has at least one window
    return total / weight


def _starts(length: int, window: int) -> list[int]:
    """Where windows start so that they cover `length` with at least half overlap."""
    last = max(0, length - window)
    return sorted({*range(0, last, max(1, window // 2)), last})
