"""Masks of anybody's images from a fine-tuned checkpoint: palette PNGs, overlays, class shares.

Shapes: K classes, H and W height and width.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from cseg.compute.device import DeviceSettings, open_device
from cseg.datasets.samples import DatasetInfo, read_image, write_label
from cseg.errors import DataError
from cseg.inference.predict import ProtocolSettings, predict
from cseg.model.load import LoadedSegmenter, load_segmenter
from cseg.storage.files import atomic
from cseg.storage.tables import write_table

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
OPACITY = 0.5


def write_masks(
    checkpoint: Path,
    sources: Sequence[Path],
    out: Path,
    compute: DeviceSettings,
    window: tuple[int, int] | None,
) -> list[str]:
    """Predict every image and write `{name}_mask.png`, `{name}_overlay.png` and `shares.csv`.

    Args:
        checkpoint: finetune.pt of a run.
        sources: image files, or folders whose images are all taken.
        out: folder of the results.
        compute: where to compute.
        window: height and width of a sliding window; None predicts whole images.

    Returns:
        One sentence for every image that could not be read; it is skipped.

    Raises:
        DataError: there is no image at all.
        TrainingError: the checkpoint cannot be used.
    """
    loaded = load_segmenter(checkpoint)
    device = open_device(compute)
    loaded.network.to(device)
    protocol = ProtocolSettings(loaded.settings["image"]["short_side"], window)
    paths = _list_images(sources)
    names = _unique_names(paths)
    rows, skipped = [], []
    for path in tqdm(paths, unit="image", disable=not sys.stderr.isatty()):
        try:
            image_HW3 = read_image(path)
        except DataError as error:
            skipped.append(str(error))
            print(f"skipped: {error}", file=sys.stderr)
            continue
        mask_HW = _mask(loaded, image_HW3, protocol, device)
        write_label(out / f"{names[path]}_mask.png", mask_HW, loaded.info.palette)
        _write_overlay(out / f"{names[path]}_overlay.png", image_HW3, mask_HW, loaded.info)
        share = np.bincount(mask_HW.ravel(), minlength=loaded.info.num_classes) / mask_HW.size
        rows.append([str(path), *share.round(6)])
    write_table(out / "shares.csv", pd.DataFrame(rows, columns=["image", *loaded.info.class_names]))
    print(f"{len(rows)} of {len(paths)} images: {out}", file=sys.stderr)
    return skipped


def _list_images(sources: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
            paths += found
        else:
            paths.append(source)
    if not paths:
        raise DataError(f"no image in {', '.join(map(str, sources))}; name image files or folders")
    return paths


def _unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """File names without suffix; where two are alike, a number is added."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 2
        while name in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


def _mask(
    loaded: LoadedSegmenter, image_HW3: np.ndarray, protocol: ProtocolSettings, device: torch.device
) -> np.ndarray:
    image = torch.from_numpy(image_HW3).permute(2, 0, 1)
    return predict(loaded.network, image, image_HW3.shape[:2], protocol, device).numpy()


def _write_overlay(
    path: Path, image_HW3: np.ndarray, mask_HW: np.ndarray, info: DatasetInfo
) -> None:
    colours = np.array(info.palette, np.float64)[mask_HW]
    mixed = image_HW3 * (1 - OPACITY) + colours * OPACITY
    with atomic(path) as temporary:
        Image.fromarray(mixed.round().astype(np.uint8)).save(temporary, format="PNG")
