"""Qualitative panels: image, truth and each arm's prediction, in the dataset's palette."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.pyplot import subplots
from PIL import Image

from cseg.datasets.reading import colour_table, read_image, read_label
from cseg.datasets.samples import IGNORE, info_from_json
from cseg.errors import DataError, readable
from cseg.paper import statistics
from cseg.paper.results import Results
from cseg.paper.style import INCH_WIDTH, legend_below
from cseg.paper.wording import short_id, signed
from cseg.storage.index_and_subset import read_index
from cseg.storage.tables import read_table

Folders = dict[tuple[str, int, int], Path]  # of runs, by arm, n and seed


def run_folders(results: Results) -> Folders:
    """Folders of the runs in summary.csv that hold predictions.zip, by (arm, n, seed).

    The folder's name may spell n as "all" or a fraction, so its metrics.csv is asked.

    Raises:
        DataError: there is none, or what the images are is not known.
    """
    if not results.info or not (results.folder / "index.csv").is_file():
        raise DataError(
            f"dataset.json or index.csv is not in {results.folder}; put both there, render again"
        )
    known = set(results.summary[["arm", "n", "seed"]].itertuples(index=False, name=None))
    folders = {}
    for archive in sorted(results.folder.glob("*/n*/seed*/predictions.zip")):
        metrics = archive.parent / "metrics.csv"
        if metrics.is_file():
            row = read_table(metrics).iloc[0]
            key = (str(row["arm"]), int(row["n"]), int(row["seed"]))
            if key in known:
                folders[key] = archive.parent
    if not folders:
        raise DataError(
            f"no run below {results.folder} holds predictions.zip; put the run folders there and "
            "render again"
        )
    return folders


def read_prediction(archive: Path, image_id: str) -> np.ndarray:
    """Class ids (uint8 HxW) of one image in a predictions.zip.

    Raises:
        DataError: the archive is damaged or lacks the image.
    """
    what, remedy = f"the prediction of {image_id} in {archive}", "delete the archive and evaluate"
    with (
        readable(what, f"{remedy} the run again", KeyError, zipfile.BadZipFile),
        zipfile.ZipFile(archive) as opened,
    ):
        return np.array(Image.open(io.BytesIO(opened.read(f"{image_id}.png"))))


def common_seed(folders: Folders, arms: Sequence[str], n: int) -> int:
    """Find the seed that most of these arms have predictions for at n; the lowest of equals."""
    seeds = sorted({seed for arm, count, seed in folders if count == n and arm in arms})
    if not seeds:
        raise DataError(f"no predictions.zip of any arm at n = {n}; evaluate the runs again")
    return max(seeds, key=lambda s: (sum((arm, n, s) in folders for arm in arms), -s))


def fixed_ids(ids: Iterable[str], count: int) -> dict[str, str]:
    """Evenly spaced ids, the same for every run and rendering, without notes."""
    ordered = sorted(ids)
    picks = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return dict.fromkeys((ordered[i] for i in picks), "")


def extreme_ids(results: Results, arm: str, n: int, seed: int, count: int) -> dict[str, str]:
    """Find the images whose own mIoU gains and loses most from the reference to `arm`.

    Up to `count` of each, the largest gain first and the largest loss last, with the change as a
    note; none without per-image counts.
    """
    counts = results.image_counts
    ids, first = counts.get((arm, n, seed), ((), None))
    others, second = counts.get((results.reference, n, seed), ((), None))
    if first is None or second is None or ids != others:
        return {}
    change = statistics.miou(*first) - statistics.miou(*second)
    order = [i for i in np.argsort(-change, kind="stable") if np.isfinite(change[i])]
    chosen = order if len(order) <= 2 * count else [*order[:count], *order[-count:]]
    return {ids[i]: f"{signed(change[i])} points" for i in chosen}


def panel(
    results: Results, folders: Folders, notes: Mapping[str, str], arms: Sequence[str], n: int
) -> Figure:
    """Rows: images, by id, with a note. Columns: image, truth, one per arm (grey without a run).

    All predictions are of one seed, that which most of the arms have.

    Raises:
        DataError: an id is unknown, or an image, label or prediction cannot be read.
    """
    index = read_index(results.folder / "index.csv").set_index("id")
    for image_id in notes:
        if image_id not in index.index:
            path = results.folder / "index.csv"
            raise DataError(f"{path} has no image {image_id}; correct the id")
    info = info_from_json(results.info)
    colours = colour_table(info.palette)
    titles = ["image", "truth", *arms]
    seed = common_seed(folders, arms, n)
    row = index.loc[next(iter(notes))]
    aspect = float(row["height"]) / float(row["width"])
    width = min(1.6, INCH_WIDTH * 1.5 / len(titles))
    figure, panels = subplots(
        len(notes), len(titles), squeeze=False,
        figsize=(width * len(titles), (0.96 * width * aspect + 0.03) * len(notes) + 0.75),
    )  # fmt: skip
    figure.set_layout_engine("constrained", h_pad=0.015, w_pad=0.015, hspace=0, wspace=0)
    figure.suptitle(f"n = {n}, seed {seed}", fontsize=8)
    classes: set[int] = set()
    runs = [folders.get((arm, n, seed)) for arm in arms]
    for cells, (image_id, note) in zip(panels, notes.items()):
        truth = read_label(index.loc[image_id, "label"], info)
        cells[0].imshow(read_image(index.loc[image_id, "image"], info))
        cells[0].set_ylabel(f"{short_id(image_id)}\n{note}".strip(), fontsize=6.5)
        labels = [read_prediction(run / "predictions.zip", image_id) if run
                  else np.full_like(truth, IGNORE) for run in runs]  # fmt: skip
        for axes, label in zip(cells[1:], [truth, *labels]):
            axes.imshow(colours[label], interpolation="nearest")
            classes |= set(np.unique(label).tolist())
    for axes, title in zip(panels[0], titles):
        axes.set_title(title, fontsize=8)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    names = {**dict(enumerate(results.class_names)), IGNORE: "ignored"}
    handles = [
        Patch(facecolor=(colours[c] / 255).tolist(), edgecolor="#888888", lw=0.4, label=names[c])
        for c in sorted(classes & names.keys())
    ]
    legend_below(figure, handles)
    return figure
