"""Paints the scenes of the dataset shapes, as its module describes them."""

from collections.abc import Sequence

import numpy as np

SUPERSAMPLE = 2


def paint(size: int, key: tuple[int, ...], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paint one scene: the image, uint8 (size, size, 3), and its labels, uint8 (size, size).

    `names` are the classes, the background first; `key` seeds all random numbers.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    side = size * SUPERSAMPLE
    centres = (np.arange(side) + 0.5) / side
    y, x = np.meshgrid(centres, centres, indexing="ij")
    image = _backdrop(rng, y, x)
    label = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(2, 5))):
        kind = int(rng.integers(1, len(names)))
        inside, colour = _object(rng, names[kind], y, x, pixel=1.0 / size)
        image[inside] = colour[inside]
        label[inside] = kind
    image *= _light(rng, y, x)
    image = image.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean(axis=(1, 3))
    noise = rng.random((4, size, size, 3)).sum(axis=0) - 2.0  # near normal, std 0.577
    image += noise * rng.uniform(0.01, 0.05)
    middle = slice(SUPERSAMPLE // 2, None, SUPERSAMPLE)
    return np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8), label[middle, middle]


def _backdrop(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Two colours blended by a slow wave."""
    first, second = rng.random((2, 3))
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(2, 9) + phase) / 2 + 0.5
    return first + (second - first) * wave[..., None]


def _light(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A linear fall-off of brightness in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.6)
    return (1.0 - slope * (0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)))[..., None]


def _object(
    rng: np.random.Generator, name: str, y: np.ndarray, x: np.ndarray, pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mask (H, W) and the colour (H, W, 3) of one object of the class `name`."""
    centre = rng.uniform(0.12, 0.88, 2)
    radius = rng.uniform(0.2, 0.36)
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = x - centre[0], y - centre[1]
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    first = rng.random(3)
    second = rng.random(3)
    while np.abs(second - first).sum() < 0.9:  # too much alike
        second = rng.random(3)
    colour = np.broadcast_to(first, (*x.shape, 3)).copy()
    if name in ("disc", "star"):
        return _outline(name, u, v, radius), colour
    outline = ("disc", "triangle", "star", "square")[int(rng.integers(0, 4))]
    period = rng.uniform(6.0, 9.0) * pixel
    colour[_texture(name, u, v, period)] = second
    return _outline(outline, u, v, radius), colour


def _outline(name: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """The inside of an outline centred at the origin of (u, v)."""
    distance = np.hypot(u, v)
    if name == "disc":
        return distance < radius * 0.85
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) < radius * 0.75
    theta = np.arctan2(v, u)
    if name == "triangle":
        sector = np.mod(theta, 2 * np.pi / 3) - np.pi / 3
        return distance * np.cos(sector) < radius * 0.58
    ripple = np.abs(np.mod(theta * 5 / (2 * np.pi), 1.0) * 2 - 1)  # five points
    return distance < radius * (0.42 + 0.75 * ripple**1.5)


def _texture(name: str, u: np.ndarray, v: np.ndarray, period: float) -> np.ndarray:
    """Where the second colour of a texture lies."""
    if name == "stripes":
        return np.mod(u / period, 1.0) < 0.5
    if name == "checks":
        return (np.mod(u / period, 1.0) < 0.5) ^ (np.mod(v / period, 1.0) < 0.5)
    if name == "dots":
        return np.hypot(np.mod(u / period, 1.0) - 0.5, np.mod(v / period, 1.0) - 0.5) < 0.28
    return np.mod(np.hypot(u, v) / period, 1.0) < 0.5
