"""Masks of anybody's images from a fine-tuned checkpoint, and which image to label next.

Shapes: K classes, H and W height and width.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from cseg.compute.device import open_device
from cseg.compute.processes import stop_flag
from cseg.datasets.image_files import find_files
from cseg.datasets.reading import write_label
from cseg.errors import CsegError, DataError
from cseg.images.overlay import overlay
from cseg.inference.load import LoadedSegmenter, image_pixels, load_segmenter
from cseg.storage.own_files import OwnFiles, is_written
from cseg.storage.tables import write_rows

TABLE = "predictions.csv"
LINE_SECONDS = 10.0  # between lines of progress where there is no terminal
MAPS = ("overlay", "entropy", "probability")  # what may be written next to a mask


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Where to compute, and what is written for each image, next to its mask."""

    # as `open_device` takes them
    device: str = "auto"
    threads: int = 1
    # height and width of a sliding window; None as `LoadedSegmenter.predict` has it
    window: tuple[int, int] | None = None
    # of `MAPS`: the classes laid over the image, with a legend; the entropy; the predicted class's
    # probability
    more: tuple[str, ...] = ("overlay",)
    # images with more pixels are skipped; None as the run's dataset has it
    max_megapixels: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How many images there were and how many are done; whether the user stopped it before all."""

    images: int
    done: int
    problems: int
    interrupted: bool


@dataclass(frozen=True)
class Row:
    """A line of the table: an image with its prediction, or why it has none."""

    image: Path
    mask: str = ""
    mean_entropy: float = -1.0
    problem: str = ""
    shares: tuple[float, ...] = ()


def write_masks(
    checkpoint: Path, sources: Sequence[Path], out: Path, settings: MaskSettings
) -> Outcome:
    """Predict every image and write its files and `predictions.csv`.

    `{name}_mask.png` holds class ids; `predictions.csv` has a row for each image: its file, its
    mask, its mean entropy, why it was skipped, and the share of each class. It begins with the
    least certain image, which is the one to label next, and ends with those that were skipped.

    `sources` are image files, or folders whose images are all taken; what this function has written
    is left out. No file in `out` is replaced that this function did not write.

    Raises:
        CsegError: there is no image at all; a result would replace a foreign file; the checkpoint
            cannot be used.
    """
    names = output_names(sources)
    own = OwnFiles(out)
    kinds = ("mask", *settings.more)
    own.check([*(f"{name}_{kind}.png" for name in names.values() for kind in kinds), TABLE])
    loaded = load_segmenter(checkpoint)
    loaded.network.to(open_device(settings.device, settings.threads))
    if settings.max_megapixels:
        info = replace(loaded.info, max_megapixels=settings.max_megapixels)
        loaded = replace(loaded, info=info)
    rows: list[Row] = []
    with stop_flag(signal.SIGINT) as stop:
        try:
            for path in _with_progress(list(names)):
                if stop.is_set():
                    break
                rows.append(_predict_one(own, path, names[path], loaded, settings))
        finally:  # a full disk ends the loop, too
            _write_table(own, rows, loaded.info.class_names)
    problems = [row.problem for row in rows if row.problem]
    return Outcome(len(names), len(rows) - len(problems), len(problems), len(rows) < len(names))


def predict_maps(
    loaded: LoadedSegmenter, image_3HW: Tensor, window: tuple[int, int] | None
) -> tuple[dict[str, np.ndarray], float]:
    """What a network says of an image; arguments as `LoadedSegmenter.predict`.

    Returns:
        uint8 (H, W) each: mask (class ids), entropy (0 certain, 255 all classes alike) and
        probability (of the predicted class, 255 is 1); and the mean entropy, in 0..1.
    """
    parts, sums = [], []
    for classes, shares in loaded.probability_bands(image_3HW, window):
        entropy = torch.special.entr(shares).sum(dim=0) / np.log(max(2, len(shares)))
        chosen = shares.gather(0, classes[None])[0]
        sums.append(entropy.sum(dtype=torch.float64))
        bytes_ = [(part * 255).round_().clamp_(0, 255).byte() for part in (entropy, chosen)]
        parts.append(torch.stack([classes.byte(), *bytes_]).cpu())
    maps = torch.cat(parts, dim=1).numpy()
    total = sum(torch.stack(sums).cpu().tolist())
    return dict(zip(("mask", "entropy", "probability"), maps, strict=True)), total / maps[0].size


def output_names(sources: Sequence[Path]) -> dict[Path, str]:
    """Image files, and the name of each one's results: its path below its folder, without suffix.

    A file is named itself or is in a folder of `sources`. What `write_masks` has written is left
    out, and in folders what is hidden. Where two images have one name, a number is added.

    Raises:
        DataError: nothing is left, or as `find_files`.
    """
    records: dict[Path, dict[str, str]] = {}
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for source in sources:
        folder = source if source.is_dir() else source.parent
        for inner in find_files(source) if source.is_dir() else [Path(source.name)]:
            path, stem, number = folder / inner, inner.with_suffix("").as_posix(), 2
            if path in names or is_written(path, records):
                continue
            name = stem
            while name.casefold() in taken:
                name, number = f"{stem}-{number}", number + 1
            taken.add(name.casefold())
            names[path] = name
    if not names:
        raise DataError(
            f"no image to predict in {', '.join(map(str, sources))}; name image files or folders"
        )
    return names


def _with_progress(paths: Sequence[Path]) -> Iterator[Path]:
    live, spoken = sys.stderr.isatty(), time.monotonic()
    for number, path in enumerate(tqdm(paths, unit="image", disable=not live)):
        if not live and time.monotonic() - spoken >= LINE_SECONDS:
            print(f"{number} of {len(paths)} images", file=sys.stderr, flush=True)
            spoken = time.monotonic()
        yield path


def _predict_one(
    own: OwnFiles, path: Path, name: str, loaded: LoadedSegmenter, settings: MaskSettings
) -> Row:
    try:
        image_3HW = image_pixels(path, loaded.info)
        maps, mean_entropy = predict_maps(loaded, image_3HW, settings.window)
    except CsegError as error:
        return Row(path, problem=str(error))
    info = loaded.info
    for kind in ("mask", *settings.more):
        with own.write(f"{name}_{kind}.png") as temporary:
            if kind == "mask":
                write_label(temporary, maps["mask"], info.palette)
            elif kind == "overlay":
                picture = overlay(image_3HW.permute(1, 2, 0).numpy(), maps["mask"], info)
                picture.save(temporary, format="PNG")
            else:
                Image.fromarray(maps[kind]).save(temporary, format="PNG")
    counts = Image.fromarray(maps["mask"]).histogram()[: info.num_classes]
    shares = tuple(count / maps["mask"].size for count in counts)
    return Row(path, f"{name}_mask.png", mean_entropy, shares=shares)


def _write_table(own: OwnFiles, rows: Sequence[Row], class_names: Sequence[str]) -> None:
    """The least certain image first; names that are not UTF-8 have their odd bytes escaped."""
    header = ("image", "mask", "mean_entropy", "problem", *(f"share_{c}" for c in class_names))
    lines = []
    for row in sorted(rows, key=lambda row: -row.mean_entropy):
        image, mask, problem = (
            os.fsencode(text).decode("utf-8", "backslashreplace")
            for text in (str(row.image), row.mask, row.problem)
        )
        entropy = "" if row.problem else f"{row.mean_entropy:.6f}"
        lines.append((image, mask, entropy, problem, *(f"{share:.6f}" for share in row.shares)))
    with own.write(TABLE) as temporary:
        write_rows(temporary, header, lines)
