"""Colour distortion of a whole batch on its device, with parameters of its own for each image.

After SimCLR (Chen et al. 2020, arXiv 2002.05709, appendix A): brightness, contrast, saturation and
hue jitter in random order with probability 0.8, then greyscale with probability 0.2. Every step is
linear in a pixel's colour x and the image's mean colour m (hue turns the chroma plane of YIQ), so
they fold into one product per image, x' = A x + C m, clamped once at the end.

Shapes: B batch, H and W height and width.
"""

import numpy as np
import torch
from torch import Tensor

from cseg.compute.device import to_device
from cseg.compute.ranks import ALONE, Share

LUMA = np.array([0.299, 0.587, 0.114])
RGB_TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
JITTER = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}  # at strength 1
JITTER_PROBABILITY = 0.8
GREY_PROBABILITY = 0.2


def distort(
    images_B3HW: Tensor, strength: float, rng: np.random.Generator, share: Share = ALONE
) -> Tensor:
    """Distort the colours of each image, float RGB in 0..1; shape and type stay.

    `strength` scales the jitter; 1 is SimCLR's, 0 returns the images as they are. Parameters are
    drawn on the host, so that they are the same on every device, and for the whole batch of which
    the images are this rank's `share`.
    """
    if strength == 0:
        return images_B3HW
    pixel, mean = colour_maps(len(images_B3HW) * share.ranks, strength, rng)
    mine = np.stack([share.part(pixel), share.part(mean)]).astype(np.float32)
    with torch.autocast(images_B3HW.device.type, enabled=False):  # bfloat16 has 256 shades
        maps = to_device(mine, images_B3HW.device).to(images_B3HW.dtype)
        offset = maps[1] @ images_B3HW.mean(dim=(2, 3))[:, :, None]
        out = torch.baddbmm(offset, maps[0], images_B3HW.flatten(2))
    return out.view(images_B3HW.shape).clamp_(0, 1)


def colour_maps(
    count: int, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw, for each of `count` images, the maps A and C of x' = A x + C m; both (count, 3, 3)."""
    jittered = rng.random(count) < JITTER_PROBABILITY
    amounts = rng.uniform(-1, 1, (len(JITTER), count)) * jittered * strength
    brightness, contrast, saturation, hue = (
        amount * width for amount, width in zip(amounts, JITTER.values(), strict=True)
    )
    eye, luma = np.eye(3), np.tile(LUMA, (3, 1))  # luma: any colour to its grey
    gain_b, gain_c, gain_s = (
        np.maximum(0, 1 + amount)[:, None, None] for amount in (brightness, contrast, saturation)
    )
    zero = np.zeros((count, 3, 3))
    on_pixel = np.stack(
        [gain_b * eye, gain_c * eye, gain_s * eye + (1 - gain_s) * luma, _hue_rotation(hue)]
    )
    on_mean = np.stack([zero, (1 - gain_c) * luma, zero, zero])
    order = rng.permuted(np.tile(np.arange(len(JITTER)), (count, 1)), axis=1)
    pixel, mean = np.tile(eye, (count, 1, 1)), zero
    images = np.arange(count)
    for step in order.T:
        here, from_mean = on_pixel[step, images], on_mean[step, images]
        mean = here @ mean + from_mean @ (pixel + mean)  # the mean so far is (A + C) m
        pixel = here @ pixel
    grey = np.where((rng.random(count) < GREY_PROBABILITY)[:, None, None], luma, eye)
    return grey @ pixel, grey @ mean


def _hue_rotation(turns: np.ndarray) -> np.ndarray:
    """Rotation of the chroma plane by `turns` of a full circle, as maps on RGB (count, 3, 3)."""
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    rotation = np.zeros((len(turns), 3, 3))
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1], rotation[:, 1, 2] = cos, -sin
    rotation[:, 2, 1], rotation[:, 2, 2] = sin, cos
    return np.linalg.inv(RGB_TO_YIQ) @ rotation @ RGB_TO_YIQ
