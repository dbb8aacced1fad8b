"""The same picture in training and validation, compressed again: found, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_data import shared_data

from cseg.datasets.pairs import inspect_pair
from cseg.datasets.reading import PLAIN
from cseg.datasets.samples import Sample
from cseg.datasets.whole import near_copies


def photograph(seed: int, size: tuple[int, int] = (180, 240)) -> np.ndarray:
    """Noise of every scale, in colour: uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    whole = np.zeros((*size, 3))
    for cells in (3, 12, 48, 180):
        few = rng.normal(0, 25, (cells, cells, 3)).astype(np.float32)
        layers = [
            Image.fromarray(few[..., c]).resize(size[::-1], Image.Resampling.BICUBIC)
            for c in range(3)
        ]
        whole += np.stack([np.asarray(layer) for layer in layers], axis=2)
    return (128 + whole).round().clip(0, 255).astype(np.uint8)


def field(seed: int) -> np.ndarray:
    """An empty field as a microscope shows it: shading, the same in every image, and noise."""
    y, x = np.mgrid[:180, :240]
    shade = 200 - 80 * ((x / 240 - 0.5) ** 2 + (y / 180 - 0.5) ** 2)
    noisy = shade + np.random.default_rng(seed).normal(0, 3, shade.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def named(*files: Path, splits: tuple[str, ...] = ("train", "val")) -> list[tuple[str, str]]:
    pairs = [inspect_pair(Sample(f.stem, s, f, None), PLAIN) for f, s in zip(files, splits)]
    return [(val.image.name, other.image.name) for val, other in near_copies(pairs, PLAIN)]


def save(path: Path, picture: np.ndarray, quality: int = 95) -> Path:
    Image.fromarray(picture).save(path, quality=quality)
    return path


@pytest.mark.parametrize("quality", [75, 85, 95])
@pytest.mark.parametrize("other", ["a.png", "a.jpg"])
def test_a_picture_compressed_again_is_found(tmp_path, quality, other):
    for seed in range(3):
        train = save(tmp_path / other, photograph(seed), quality=99)
        val = save(tmp_path / f"b{quality}.jpg", photograph(seed), quality=quality)
        more = save(tmp_path / "c.png", photograph(seed + 10))
        files, splits = (more, train, val), ("train", "unlabelled", "val")
        assert named(*files, splits=splits) == [(val.name, other)]


def test_frames_of_a_video_are_other_pictures(tmp_path):
    """The camera moves by two pixels, or something of 12x12 pixels moves through the scene."""
    whole = photograph(0, (200, 260))
    first = save(tmp_path / "first.png", whole[:180, :240])
    assert named(first, save(tmp_path / "moved.png", whole[:180, 2:242])) == []
    passing = whole[:180, :240].copy()
    passing[100:112, 50:62] = passing[20:32, 150:162]
    assert named(first, save(tmp_path / "passing.png", passing)) == []


def test_flat_images_and_empty_fields_are_other_pictures(tmp_path):
    fields = [save(tmp_path / f"field{seed}.png", field(seed)) for seed in (0, 1)]
    assert named(*fields) == []
    flat = [save(tmp_path / f"{v}.png", np.full((64, 64), v, np.uint8)) for v in (90, 91)]
    assert named(*flat) == []
    tiny = [save(tmp_path / f"tiny{v}.png", np.full((4, 4), v, np.uint8)) for v in (90, 91)]
    assert named(*tiny) == []


def test_images_of_two_sizes_are_not_compared(tmp_path):
    whole = photograph(0)
    small = np.asarray(Image.fromarray(whole).resize((120, 90)))
    assert named(save(tmp_path / "a.png", whole), save(tmp_path / "b.png", small)) == []


@pytest.mark.parametrize("learned", ["train", "test"])
def test_no_street_of_camvid_is_called_a_copy(learned):
    """Frames a second apart, and in the test split three of a car at a standstill."""
    home = shared_data("camvid/CamVid")
    files = sorted((home / learned).glob("*.png"))
    odd = [Sample(f.stem, "val" if i % 2 else "train", f, None) for i, f in enumerate(files)]
    val = [Sample(f.stem, "val", f, None) for f in sorted((home / "val").glob("*.png"))]
    pairs = [inspect_pair(sample, PLAIN) for sample in odd + val]
    assert near_copies(pairs, PLAIN) == []


def test_no_section_of_a_nerve_cord_is_called_a_copy():
    home = shared_data("drosophila_vnc")
    samples = [
        Sample(f.stem, "val" if int(f.stem[1:3]) % 2 else "train", f, None)
        for f in sorted((home / "images").glob("*.png"))
    ] + [Sample(f.stem, "unlabelled", f, None) for f in sorted((home / "unlabelled").glob("*.png"))]
    assert near_copies([inspect_pair(s, PLAIN) for s in samples], PLAIN) == []
