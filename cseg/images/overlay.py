"""Pictures for people: class maps laid over their images, with a legend; contact sheets of them.

Shapes: H and W height and width of an image.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cseg.datasets.pairs import Pair
from cseg.datasets.reading import colour_table, read_image, read_label
from cseg.datasets.samples import IGNORE, DatasetInfo

OPACITY = 0.5
LARGEST = 2048  # longer side of an overlay, pixels; larger images are shown smaller
TEXT = 13  # height of the letters, pixels
LINE = 20  # height of a line of the legend
SWATCH = 12
AROUND = 4 + SWATCH + 8 + 8  # pixels of a line next to its text
LEAST_WIDTH = 260  # of a legend, so that names are not cut
CELL = 300  # longer side of a picture on a contact sheet, pixels
COLUMNS = 4  # of a contact sheet
GAP = 6  # between its pictures
TITLE = 12  # height of a picture's title

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def overlay(image_HW3: np.ndarray, classes_HW: np.ndarray, info: DatasetInfo) -> Image.Image:
    """Lay classes over an image, in equal parts, above a legend of the classes in it.

    Images are uint8 RGB, classes uint8, ids or 255; ignored pixels (255) show the image alone.
    Sides above `LARGEST` are shrunk to it. The picture, RGB, is at least as wide as its legend,
    whose lines give each class's share of the counted pixels.
    """
    counts = Image.fromarray(classes_HW).histogram()
    return with_legend(blend(image_HW3, classes_HW, info), info, counts)


def blend(image_HW3: np.ndarray, classes_HW: np.ndarray, info: DatasetInfo) -> Image.Image:
    """The overlay without its legend; arguments as in `overlay`."""
    image, classes = Image.fromarray(image_HW3), Image.fromarray(classes_HW)
    longer = max(image.size)
    if longer > LARGEST:
        width, height = (max(1, side * LARGEST // longer) for side in image.size)
        size = (width, height)
        image = image.resize(size, Image.Resampling.BOX)
        classes = classes.resize(size, Image.Resampling.NEAREST)
    kept = np.array(classes)
    mixed = Image.blend(image, Image.fromarray(colour_table(info.palette)[kept]), OPACITY)
    return Image.composite(image, mixed, Image.fromarray((kept == IGNORE).astype(np.uint8) * 255))


def with_legend(
    picture: Image.Image, info: DatasetInfo, counts: Mapping[int, int] | Sequence[int]
) -> Image.Image:
    """The picture above the classes that have pixels, in as many columns as have room.

    `counts` are pixels by class id; those at 255 are ignored pixels.
    """
    counted = max(1, sum(int(counts[c]) for c in range(len(info.class_names))))
    lines: list[tuple[str | tuple[int, int, int], str]] = [
        (colour, f"{name}  {_percent(counts[c] / counted)}")
        for c, (name, colour) in enumerate(zip(info.class_names, info.palette, strict=True))
        if counts[c]
    ]
    if counts[IGNORE]:
        share = counts[IGNORE] / (counted + int(counts[IGNORE]))
        lines.append(("white", f"ignored  {_percent(share)} of all pixels"))
    fonts = [font_for(text, TEXT) for _, text in lines]
    widths = [AROUND + int(font.getlength(text)) for font, (_, text) in zip(fonts, lines)]
    each = max([LEAST_WIDTH, *widths])
    width = max(picture.width, each)
    rows = -(-len(lines) // (width // each))
    whole = Image.new("RGB", (width, picture.height + LINE * rows + LINE // 2), "white")
    whole.paste(picture, (0, 0))
    draw = ImageDraw.Draw(whole)
    for number, (colour, text) in enumerate(lines):
        left = 4 + number // max(1, rows) * each
        top = picture.height + LINE // 4 + LINE * (number % max(1, rows))
        draw.rectangle((left, top + 3, left + SWATCH, top + 3 + SWATCH), colour, "black")
        draw.text((left + SWATCH + 8, top + 1), text, fill="black", font=fonts[number])
    return whole


def font_for(text: str, height: int) -> Font:
    """Pillow's font for ASCII; for other letters matplotlib's, if it is there and has them all."""
    if not text.isascii():
        path, letters = _wide_font()
        if letters.issuperset(map(ord, text)):
            return ImageFont.truetype(path, height)
    return ImageFont.load_default(height)


@cache
def _wide_font() -> tuple[str, frozenset[int]]:
    """The path of DejaVu Sans, and the letters in it; none without matplotlib, as on a GPU node."""
    try:
        from matplotlib import get_data_path
        from matplotlib.ft2font import FT2Font
    except ImportError:
        return "", frozenset()
    path = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    return path, frozenset(FT2Font(path).get_charmap())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"


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
    font = font_for(title, TITLE)
    image = Image.fromarray(image_HW3)
    factor = CELL / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    classes = Image.fromarray(classes_HW).resize(size, Image.Resampling.NEAREST)
    image = image.resize(size, Image.Resampling.BICUBIC)
    both = Image.new("RGB", (2 * size[0] + 2, size[1] + TITLE + 6), "white")
    both.paste(image, (0, TITLE + 6))
    both.paste(blend(np.array(image), np.array(classes), info), (size[0] + 2, TITLE + 6))
    while len(title) > 4 and font.getlength(title) > both.width:
        title = "…" + title[2:]
    ImageDraw.Draw(both).text((1, 1), title, fill="black", font=font)
    return both
