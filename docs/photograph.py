r"""Show a photograph next to what networks make of it, with the classes' colours laid over it.

docs/img/photograph.png is made from networks that the CamVid config has trained:

    python docs/photograph.py china.jpg docs/img/photograph.png \
        results/camvid/{scratch,cross,imagenet}/n46/seed1/finetune.pt

china.jpg comes with scikit-learn (`sklearn.datasets.load_sample_image`).
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.patches import Patch
from PIL import Image

from cseg.datasets.reading import colour_table
from cseg.inference import load_segmenter

TITLES = {"scratch": "from scratch", "cross": "contrast", "imagenet": "ImageNet weights"}
SHARE = 0.01  # classes below this share of the pixels of every picture are left out of the legend


def show(photograph: Path, out: Path, checkpoints: list[Path]) -> None:
    """Write one row of pictures: the photograph, then what each network makes of it."""
    image = np.array(Image.open(photograph).convert("RGB"))
    networks = [load_segmenter(path) for path in checkpoints]
    classes = [network.predict(image) for network in networks]
    info = networks[0].info
    figure, axes = pyplot.subplots(1, len(classes) + 1, figsize=(2.6 * len(classes) + 2.6, 2.4))
    arms = [network.title.split("/")[1] for network in networks]
    colours = colour_table(info.palette)
    shown = [image, *(0.4 * image + 0.6 * colours[each] for each in classes)]
    for axis, title, picture in zip(axes, ["photograph", *arms], shown):
        axis.imshow(picture.astype(np.uint8))
        axis.set_title(TITLES.get(title, title), fontsize=10)
        axis.axis("off")
    counts = [np.bincount(each.ravel(), minlength=len(info.class_names)) for each in classes]
    common = np.flatnonzero(np.max(counts, axis=0) >= SHARE * classes[0].size)
    figure.legend(
        handles=[Patch(color=colours[c] / 255, label=info.class_names[c]) for c in common],
        loc="lower center", ncols=len(common), fontsize=9, frameon=False,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.1, 1, 1), pad=0.5)
    figure.savefig(out, dpi=100)
    small = Image.open(out).convert("RGB").quantize(255, dither=Image.Dither.NONE)
    small.save(out, optimize=True)


if __name__ == "__main__":
    show(Path(sys.argv[1]), Path(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
