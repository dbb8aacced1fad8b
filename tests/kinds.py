"""What cseg does with each kind of dataset: the rows of docs/kinds.md, each a test."""

from dataclasses import dataclass
from pathlib import Path

from kind_folders import (
    PLAIN,
    STATED,
    Make,
    binary,
    bits,
    braces,
    broken,
    coco,
    compressed_again,
    half_a_label,
    huge,
    jpeg_labels,
    junk,
    labelme,
    labels_of_stored_pixels,
    labels_of_white,
    line_end,
    linked,
    linked_twice,
    long_lines,
    no_labels,
    no_utf8,
    of,
    one_class,
    other_colour,
    other_folder,
    other_form,
    other_palette,
    recompressed,
    reordered,
    same_picture,
    stack,
    then,
    two_forms,
    two_stems,
    unlabelled,
    utf16_list,
    wild_values,
)


@dataclass(frozen=True)
class Kind:
    """A row of the table, and how the test makes it.

    Attributes:
        part: heading under which the row is.
        what: the kind.
        happens: what cseg does.
        make: writes it below a folder; returns the keys of the description besides the lists.
        refused: a pattern of the message, if it is refused; if not, the truth is read.
        said: a pattern of a warning.
    """

    part: str
    what: str
    happens: str
    make: Make
    refused: str = ""
    said: str = ""


IMAGES, LABELS, FILES, LISTS = "Images", "Labels", "Files and folders", "Lists"
KINDS = (
    Kind(
        IMAGES,
        "JPEG, PNG, WebP, BMP or TIFF of 8 bits, in any colour mode",
        "read as RGB",
        of(".webp"),
    ),
    Kind(IMAGES, "16-bit grey", "scaled by the range of 16 bits", of(depth="16")),
    Kind(
        IMAGES,
        "12-bit data in 16-bit files",
        "refused: they would be nearly black",
        of(depth="12"),
        r"up to 4095 of 65535 only .*image_range",
    ),
    Kind(
        IMAGES,
        "the same, with `image_range: [0, 4095]`",
        "scaled by that range",
        of(depth="12", image_range=[0, 4095]),
    ),
    Kind(
        IMAGES,
        "32-bit integers or decimals",
        "refused: their type tells no range",
        of(".tif", "float"),
        r"decimal values from .*image_range",
    ),
    Kind(
        IMAGES,
        "the same, with their `image_range`",
        "scaled by that range",
        of(".tif", "float", image_range=[0, 1]),
    ),
    Kind(
        IMAGES,
        "an orientation tag (EXIF) of a quarter turn, label upright",
        "read upright",
        of(".jpg", tag=6),
    ),
    Kind(
        IMAGES,
        "such a tag, label of the stored pixels",
        "refused, with file and tag",
        then(of(".jpg", tag=6), labels_of_stored_pixels),
        r"orientation tag 6 .* fits the pixels as they are stored",
    ),
    Kind(
        IMAGES,
        "a tag of a half turn or a mirror, or a square image with a tag",
        "refused: it cannot be told which is meant",
        of(".png", tag=3),
        r"orientation tag 3 .* would fit upright and as stored",
    ),
    Kind(
        IMAGES,
        "the same, with `orientation: upright` or `stored`",
        "read that way, in training and prediction",
        of(".png", tag=3, orientation="upright"),
    ),
    Kind(
        IMAGES,
        "a TIFF that holds a stack of images",
        "refused",
        then(of(".tif"), stack),
        r"a\.tif is a stack of 2 images",
    ),
    Kind(
        IMAGES,
        "more than 179 megapixels",
        "refused, unless `max_megapixels` allows them",
        then(of(), huge),
        r"a\.png is 20000x20000, 400 megapixels, .* max_megapixels to 401",
    ),
    Kind(
        IMAGES,
        "truncated, or no image at all",
        "refused",
        then(of(), broken),
        r"image .*a\.png cannot be decoded",
    ),
    Kind(
        LABELS,
        "grey PNG, TIFF or BMP of 8 or 16 bits with class ids",
        "read as they are",
        of(label="grey16"),
    ),
    Kind(
        LABELS,
        "palette PNG of 1, 2, 4 or 8 bits, all with one palette",
        "the indices are class ids",
        of(label="index2"),
    ),
    Kind(
        LABELS,
        "grey PNG of 2 or 4 bits",
        "class ids by stored value, if only those are classes",
        of(label="grey4"),
    ),
    Kind(LABELS, "masks of 1 bit", "classes 0 and 1", bits),
    Kind(
        LABELS,
        "masks of 0 and 255, nothing said of 255",
        "refused: 255 is ignored by default, one class is left",
        binary(),
        r"only the class soil \(255 covers .* ignored by default",
    ),
    Kind(
        LABELS,
        "the same, with `values: [255]` for the second class",
        "classes 0 and 1",
        labels_of_white,
    ),
    Kind(
        LABELS,
        "a file compressed again without loss",
        "the same classes, or refused",
        then(of(), recompressed),
    ),
    Kind(
        LABELS,
        "a file that has two readings with other classes",
        "refused, until `labels_by: stored` or `shown` says which",
        then(of(), reordered),
        r"a\.png \(palette, 2 bits\) can be read in two ways",
    ),
    Kind(
        LABELS,
        "palettes that differ, no colours stated",
        "refused, naming both files",
        then(of(label="index8"), other_palette),
        r"palettes of two labels differ: .*b\.png .*a\.png",
    ),
    Kind(
        LABELS,
        "palettes that differ, colours stated",
        "the colours decide",
        then(of(label="index8", classes=STATED), other_palette),
    ),
    Kind(
        LABELS,
        "a palette that contradicts the stated colours",
        "refused, with index, colour and class",
        then(of(label="index8"), other_colour),
        r"shows index 2 as \[200, 30, 30\], which is not .* weed",
    ),
    Kind(
        LABELS,
        "colour masks (RGB, RGBA), colours stated",
        "classes by exact colour",
        of(label="rgba", classes=STATED),
    ),
    Kind(
        LABELS,
        "colour masks with a colour that is no class",
        "refused, with the colours and their share",
        of(label="rgb", classes=STATED[:2]),
        r"colours that are no class: \[200, 30, 30\] \(3\d\.\d %\)",
    ),
    Kind(
        LABELS,
        "colour masks, no colours stated",
        "refused",
        of(label="rgb"),
        r"is a colour image \(mode RGB\)",
    ),
    Kind(
        LABELS,
        "JPEG, lossy WebP",
        "refused: the format changes values",
        then(of(), jpeg_labels),
        r"is a JPEG file, a format that changes values",
    ),
    Kind(
        LABELS,
        "values that no class has, -1 and 2147483647 too",
        "refused, with value and pixels; a class or `ignore` may name them",
        then(of(), wild_values),
        r"no class: -1 \(\d+ pixels\), 2147483647",
    ),
    Kind(
        LABELS,
        "a class without a pixel in training or validation",
        "a warning",
        of(classes=[*PLAIN, {"name": "stone"}]),
        said=r"no train label has a pixel of stone, which cannot be learned",
    ),
    Kind(
        LABELS,
        "a split of one class, or without a counted pixel",
        "refused",
        then(of(), one_class),
        r"the val labels of folder show only the class soil",
    ),
    Kind(LABELS, "polygons in a COCO file", "drawn once, into `prepared/`", coco),
    Kind(
        LABELS,
        "labelme files, next to the images or apart",
        "drawn once, into `prepared/`",
        labelme,
    ),
    Kind(
        LABELS,
        "another size than the image",
        "refused",
        then(of(), half_a_label),
        r"label .*a\.png is 24x8 but its image",
    ),
    Kind(
        FILES,
        "hidden and junk files: `._a.png`, `.ipynb_checkpoints/`, `.DS_Store`",
        "left out",
        then(of(val_share=0.4), junk),
    ),
    Kind(
        FILES,
        "two images of one stem",
        "refused, naming both",
        then(of(val_share=0.4), two_stems),
        r"two images have the name a: a\.jpg and a\.png",
    ),
    Kind(FILES, "a linked folder", "its images are taken", then(of(val_share=0.4), linked)),
    Kind(
        FILES,
        "a link to a folder that is there already",
        "refused",
        then(of(val_share=0.4), linked_twice),
        r"are one, by a link",
    ),
    Kind(
        FILES,
        "names that differ in Unicode form only",
        "refused",
        then(of(val_share=0.4), two_forms),
        r"differ in Unicode form only",
    ),
    Kind(
        FILES,
        "a label whose name has another Unicode form than its image's",
        "found",
        then(of(val_share=0.4), other_form),
    ),
    Kind(
        FILES,
        "names with line ends",
        "refused",
        then(of(val_share=0.4), line_end),
        r"holds control characters or is not UTF-8",
    ),
    Kind(FILES, "names with braces: `{seed}_{a.png`", "taken as they are", then(of(), braces)),
    Kind(
        FILES,
        "names that are not UTF-8",
        "refused",
        then(of(val_share=0.4), no_utf8),
        r"holds control characters or is not UTF-8",
    ),
    Kind(
        FILES,
        "the same picture in training and validation, also in another format",
        "refused, naming both",
        then(of(), same_picture),
        r"v\.png \(val\) is the same picture as .*a\.png",
    ),
    Kind(
        FILES,
        "the same picture in training and validation, compressed again",
        "a warning, naming both",
        then(of(), compressed_again),
        said=r"north/a\.jpg like \S*images/a\.png \(train\); take one of each off its list",
    ),
    Kind(
        FILES,
        "one problem in many files",
        "one line, with the number and three names",
        then(of(), no_labels),
        r"is missing; .* \(3 alike: a\.png, b\.png, v\.png\)$",
    ),
    Kind(
        FILES,
        "images without label: `unlabelled: folder or list`",
        "arms with a teacher learn from them",
        unlabelled,
    ),
    Kind(
        LISTS,
        "lines without suffix, with folders above, absolute, with backslashes, with a label",
        "the image whose path the line ends",
        then(of(), long_lines),
    ),
    Kind(LISTS, "CRLF, a byte order mark, UTF-16, comments (#)", "read", then(of(), utf16_list)),
    Kind(
        LISTS,
        "a line that names an image of another folder, or none",
        "refused, unless `relax_counts: true`",
        then(of(), other_folder),
        r"train\.txt names 1 images that are not in images: north/a",
    ),
)


def table() -> str:
    """The kinds as Markdown, by part."""
    lines: list[str] = []
    for part in dict.fromkeys(kind.part for kind in KINDS):
        lines += [f"## {part}", "", "| kind | what happens |", "| --- | --- |"]
        lines += [f"| {kind.what} | {kind.happens} |" for kind in KINDS if kind.part == part]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    page = Path(__file__).parents[1] / "docs" / "kinds.md"
    head = page.read_text(encoding="utf-8").split("## ")[0]
    page.write_text(head + table(), encoding="utf-8")
