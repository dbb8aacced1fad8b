"""Class maps of whole images from a network: one pass, or a sliding window.

Shapes: B batch, K classes, H and W height and width of the answer, h and w of the network's map.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cseg.errors import ConfigError, TrainingError
from cseg.images.transforms import resize_short_side, to_unit
from cseg.model.network import Segmenter
from cseg.settings.run import RunSettings

MOST = 2**26  # numbers in one map of scores that is resized in one piece


@dataclass(frozen=True)
class ProtocolSettings:
    """How a network is applied to an image of any size."""

    short_side: int | None  # the image is resized to this shorter side first; None keeps its size
    window: tuple[int, int] | None  # height and width of a sliding window; None for the whole image
    # pixels that neighbouring windows share at least; None for half a window
    overlap: int | None = None

    @classmethod
    def of(cls, settings: RunSettings) -> "ProtocolSettings":
        """The protocol of a run."""
        return cls(settings.image.short_side, settings.evaluate.window)

    @property
    def name(self) -> str:
        """The protocol as it stands in a result row."""
        scale = "full size" if self.short_side is None else f"short side {self.short_side}"
        part = f"window {self.window[0]}x{self.window[1]}" if self.window else "whole image"
        return f"{part}, {scale}, background counted"


def predict(
    network: Segmenter, image_3HW: Tensor, size: tuple[int, int], protocol: ProtocolSettings
) -> Tensor:
    """The class of each pixel, uint8 on the CPU, at resolution `size`.

    `size` is usually that of the label map; takes what `score_bands` takes, and raises as it does.
    """
    bands = score_bands(network, image_3HW, size, protocol)
    return torch.cat([scores.argmax(dim=0).to(torch.uint8).cpu() for scores in bands])


def predict_sure(
    network: Segmenter, image_3HW: Tensor, protocol: ProtocolSettings
) -> tuple[Tensor, Tensor]:
    """The class of each pixel of the image, uint8 on the CPU, and its probability, float32.

    Takes what `score_bands` takes, and raises as it does.
    """
    size = (image_3HW.shape[-2], image_3HW.shape[-1])
    bands = []
    for scores in score_bands(network, image_3HW, size, protocol):
        best, classes = probabilities(scores, protocol).max(dim=0)
        bands.append((classes.to(torch.uint8).cpu(), best.float().cpu()))
    found, sure = zip(*bands, strict=True)
    return torch.cat(found), torch.cat(sure)


def probabilities(scores_KHW: Tensor, protocol: ProtocolSettings) -> Tensor:
    """Class probabilities (K, H, W) of what `score_bands` yields."""
    return scores_KHW.softmax(dim=0) if protocol.window is None else scores_KHW


@torch.inference_mode()
def score_bands(
    network: Segmenter, image_3HW: Tensor, size: tuple[int, int], protocol: ProtocolSettings
) -> Iterator[Tensor]:
    """Scores (K, rows, W) of bands of rows, from top to bottom; together they are K, H, W = `size`.

    They are logits for a whole image, and mean probabilities for a sliding window. A large image
    comes in several bands, so that memory grows with its width and not with its area.

    The network is in evaluation mode; the image is uint8, RGB, on any device.

    Raises:
        TrainingError: the device has not enough memory for the image.
    """
    resized, device = resize_short_side(image_3HW, protocol.short_side), network.mean.device
    try:
        if protocol.window is None:
            maps = iter([network(_input(resized.to(device)))[0]])
        else:
            maps = _slide(network, resized, protocol.window, protocol.overlap)
        if tuple(resized.shape[-2:]) == tuple(size):
            yield from maps
        else:
            yield from _resized(torch.cat(list(maps), dim=1), size)
    except RuntimeError as error:  # torch's for a GPU, and the CPU's allocator's
        if "memory" not in str(error):
            raise
        raise TrainingError(
            f"an image of {resized.shape[-2]}x{resized.shape[-1]} pixels needs more memory than "
            f"{device} has free; give a smaller window (evaluate.window, or --window of predict)"
        ) from error


def _input(image_3HW: Tensor) -> Tensor:
    return to_unit(image_3HW)[None].contiguous(memory_format=torch.channels_last)


def _slide(
    network: Segmenter, image_3HW: Tensor, window: tuple[int, int], overlap: int | None
) -> Iterator[Tensor]:
    """Mean class probabilities (K, rows, w) over overlapping windows, in bands of rows."""
    if min(window) < 1:
        raise ConfigError(f"a window of {window[0]}x{window[1]} is empty; give at least 1 and 1")
    height, width = image_3HW.shape[-2:]
    tops, lefts = (_starts(*sides, overlap) for sides in zip((height, width), window, strict=True))
    total = weight = torch.zeros(0, 0, 0)
    for top, after in zip(tops, [*tops[1:], height], strict=True):
        bottom = min(top + window[0], height)
        strip = image_3HW[:, top:bottom].to(network.mean.device)
        for left in lefts:
            columns = slice(left, min(left + window[1], width))
            part = network(_input(strip[..., columns])).softmax(dim=1)[0]
            if not total.numel():
                total = part.new_zeros(part.shape[0], 0, width)
                weight = part.new_zeros(1, 0, width)
            missing = bottom - top - total.shape[1]  # rows that no window above has reached
            if missing:
                total, weight = (F.pad(kept, (0, 0, 0, missing)) for kept in (total, weight))
            total[..., columns] += part
            weight[..., columns] += 1
        done = after - top
        yield total[:, :done] / weight[:, :done]
        total, weight = total[:, done:], weight[:, done:]


def _starts(length: int, window: int, overlap: int | None) -> list[int]:
    """Where windows start so that they cover `length` and share at least `overlap`, or half."""
    last, half = max(0, length - window), window - window // 2
    shared = half if overlap is None else min(overlap, half)
    return sorted({*range(0, last, max(1, window - shared)), last})


def _resized(scores_Khw: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """The scores at another size, bilinear, in bands of rows of at most `MOST` numbers."""
    classes, low, _ = scores_Khw.shape
    height, width = size
    rows = max(1, MOST // (classes * width))
    if rows >= height:
        yield F.interpolate(scores_Khw[None], size, mode="bilinear", align_corners=False)[0]
        return
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        lines = torch.arange(top, bottom, dtype=torch.float64, device=scores_Khw.device)
        centres = ((lines + 0.5) * low / height - 0.5).clamp(0, low - 1)
        above = centres.floor().long()
        share = (centres - above).to(scores_Khw.dtype)[:, None]
        below = (above + 1).clamp(max=low - 1)
        band = scores_Khw[:, above] * (1 - share) + scores_Khw[:, below] * share
        at = (len(lines), width)
        yield F.interpolate(band[None], at, mode="bilinear", align_corners=False)[0]
