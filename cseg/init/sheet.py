"""A contact sheet: images with their labels laid over, so that a person sees what is wrong."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cseg.datasets.pairs import Pair
from cseg.datasets.reading import read_image, read_label
from cseg.datasets.samples import DatasetInfo
from cseg.images.overlay import blend, with_legend

CELL = 300  # longer side of a picture, pixels
COLUMNS = 4
GAP, TEXT = 6, 12


def choose_pairs(pixels: Sequence[Sequence[int]], most: int) -> list[int]:
    """Which images to show: in turn, those with most of the classes that are shown least.

    `pixels` holds the pixels of each class, image by image.
    """
    shares = np.array(pixels, np.float64)
    shares /= shares.sum(axis=1, keepdims=True).clip(min=1)
    shown = np.zeros(shares.shape[1])
    chosen: list[int] = []
    for _ in range(min(most, len(shares))):
        worth = (shares / (shown + 0.01)).clip(max=20).sum(axis=1)
        worth[chosen] = -1
        best = int(worth.argmax())
        chosen.append(best)
        shown += shares[best]
    return sorted(chosen)


def contact_sheet(pairs: Iterable[Pair], info: DatasetInfo) -> Image.Image:
    """Each image, and next to it the image with its label laid over; below, the legend."""
    pictures, counts = [], np.zeros(256, np.int64)
    for pair in pairs:
        if pair.label:
            classes_HW = read_label(pair.label, info)
            counts += np.array(Image.fromarray(classes_HW).histogram())
            pictures.append(_picture(pair.id, read_image(pair.image, info), classes_HW, info))
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    columns = max(1, min(COLUMNS, len(pictures), 4 * CELL * 2 // width))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return with_legend(sheet, info, counts.tolist())


def _picture(
    title: str, image_HW3: np.ndarray, classes_HW: np.ndarray, info: DatasetInfo
) -> Image.Image:
    font = ImageFont.load_default(TEXT)
    image = Image.fromarray(image_HW3)
    factor = CELL / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    classes = Image.fromarray(classes_HW).resize(size, Image.Resampling.NEAREST)
    image = image.resize(size, Image.Resampling.BICUBIC)
    both = Image.new("RGB", (2 * size[0] + 2, size[1] + TEXT + 6), "white")
    both.paste(image, (0, TEXT + 6))
    both.paste(blend(np.array(image), np.array(classes), info), (size[0] + 2, TEXT + 6))
    while len(title) > 4 and font.getlength(title) > both.width:
        title = "…" + title[2:]
    ImageDraw.Draw(both).text((1, 1), title, fill="black", font=font)
    return both
