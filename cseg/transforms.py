"""Joint geometry of an image and its labels: scale, crop, flip, pad with ignore.

Shapes: H, W height and width. Images are uint8 (3, H, W), labels uint8 (H, W).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

IGNORE = 255


@dataclass(frozen=True)
class ImageSettings:
    """How images reach the network, the same in every arm.

    Attributes:
        short_side: images and labels are resized to this shorter side, in pixels, when they are
            read; None keeps their size.
        crop: height and width of a training crop in pixels.
        scale: range of the random scale factor.
        flip: whether half of the crops are mirrored left to right.
    """

    short_side: int | None
    crop: tuple[int, int]
    scale: tuple[float, float]
    flip: bool


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
    if size == (height, width):
        return image_3HW
    return F.resize(image_3HW, list(size), InterpolationMode.BILINEAR, antialias=True)


def resize_label(label_HW: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a label map to `size`, nearest neighbour."""
    if tuple(label_HW.shape) == tuple(size):
        return label_HW
    return F.resize(label_HW[None], list(size), InterpolationMode.NEAREST_EXACT)[0]


def random_crop(
    image_3HW: Tensor, label_HW: Tensor, settings: ImageSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Scale, crop and flip an image and its labels with numbers drawn from `rng`.

    A scale factor s cuts a box of crop/s pixels at a random place and resizes it to the crop,
    which costs less than scaling the whole image. A box larger than the image is padded: grey in
    the image, ignore in the label.

    Returns:
        The crop, uint8 (3, h, w), and its labels, uint8 (h, w), with h, w = settings.crop.
    """
    factor = np.exp(rng.uniform(np.log(settings.scale[0]), np.log(settings.scale[1])))
    height, width = (max(1, round(side / factor)) for side in settings.crop)
    image_3HW, label_HW = _pad_to(image_3HW, label_HW, height, width)
    top = int(rng.integers(0, image_3HW.shape[-2] - height + 1))
    left = int(rng.integers(0, image_3HW.shape[-1] - width + 1))
    mirrored = settings.flip and rng.random() < 0.5
    image = image_3HW[:, top : top + height, left : left + width]
    label = label_HW[top : top + height, left : left + width]
    if (height, width) != tuple(settings.crop):
        image = F.resize(image, list(settings.crop), InterpolationMode.BILINEAR, antialias=True)
    label = resize_label(label, settings.crop)
    if mirrored:
        image, label = image.flip(-1), label.flip(-1)
    return image.contiguous(), label.contiguous()


def _pad_to(image: Tensor, label: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    down, right = max(0, height - image.shape[-2]), max(0, width - image.shape[-1])
    if down == 0 and right == 0:
        return image, label
    box = [right // 2, down // 2, right - right // 2, down - down // 2]
    padded_label = F.pad(label[None], box, fill=IGNORE)[0]
    return F.pad(image, box, fill=128), padded_label


def to_unit(images: Tensor) -> Tensor:
    """Images from uint8 0..255 to float32 0..1."""
    return images.to(torch.float32).div_(255.0)
