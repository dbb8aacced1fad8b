"""Joint geometry of an image and its labels: scale, crop, flip, pad with ignore.

Shapes: H, W height and width. Images are uint8 (3, H, W), labels uint8 (H, W).
"""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cseg.datasets.samples import IGNORE
from cseg.settings.network import ImageSettings

GREY = 128  # around an image smaller than its crop


def resized_shape(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width when the shorter side becomes `short_side`; the longer one rounds down."""
    if short_side is None:
        return height, width
    shorter = min(height, width)
    return short_side * height // shorter, short_side * width // shorter


def resize_short_side(image_3HW: Tensor, short_side: int | None) -> Tensor:
    """Resize an image, bilinear with antialiasing, so that its shorter side is `short_side`."""
    height, width = image_3HW.shape[-2:]
    size = resized_shape(height, width, short_side)
    return F.resize(image_3HW, list(size), InterpolationMode.BILINEAR, antialias=True)


def resize_label(label_HW: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a label map to `size`, nearest neighbour."""
    return F.resize(label_HW[None], list(size), InterpolationMode.NEAREST_EXACT)[0]


def random_crop(
    image_3HW: Tensor, label_HW: Tensor, settings: ImageSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Scale, crop and flip an image and its labels with numbers drawn from `rng`.

    A scale factor s cuts a box of crop/s pixels at a random place and resizes it to the crop,
    which costs less than scaling the whole image. Where the box is larger than the image, the
    image is resized alone and put into the middle: grey around it, ignore in the label.

    Returns:
        The crop, uint8 (3, h, w), and its labels, uint8 (h, w), with h, w = settings.crop.
    """
    factor = np.exp(rng.uniform(np.log(settings.scale[0]), np.log(settings.scale[1])))
    spans = [
        _span(length, side, factor, rng)
        for length, side in zip(label_HW.shape, settings.crop, strict=True)
    ]
    mirrored = settings.flip and rng.random() < 0.5
    source, target = (tuple(slice(*ends) for ends in span) for span in zip(*spans, strict=True))
    image, label = image_3HW[:, *source], label_HW[source]
    size = tuple(part.stop - part.start for part in target)
    image = F.resize(image, list(size), InterpolationMode.BILINEAR, antialias=True)
    label = resize_label(label, size)
    if size != tuple(settings.crop):
        rows, columns = target
        after = (settings.crop[1] - columns.stop, settings.crop[0] - rows.stop)
        border = [columns.start, rows.start, *after]
        image = F.pad(image, border, fill=GREY)
        label = F.pad(label[None], border, fill=IGNORE)[0]
    if mirrored:
        image, label = image.flip(-1), label.flip(-1)
    return image.contiguous(), label.contiguous()


def _span(
    length: int, side: int, factor: float, rng: np.random.Generator
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a crop of `side` pixels begins and ends in the image, and its content in the crop."""
    box = max(1, round(side / factor))
    if box <= length:
        start = int(rng.integers(0, length - box + 1))
        return (start, start + box), (0, side)
    content = max(1, round(length * side / box))
    start = (side - content) // 2
    return (0, length), (start, start + content)


def to_unit(images: Tensor) -> Tensor:
    """Images from uint8 0..255 to float32 0..1."""
    return images.to(torch.float32).div_(255.0)
