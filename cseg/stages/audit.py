"""Target audit: what label lists, ours and published ones, are worth comparing with."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cseg.datasets.image_files import image_name, match_ids, read_lines
from cseg.errors import DataError
from cseg.storage.files import atomic, keyed_order, write_text
from cseg.storage.index_and_subset import read_index, read_subset
from cseg.storage.tables import write_rows

RANDOM_DRAWS = 20
FAULTS = {  # columns that should be 0, and what is said if they are not
    "repeated": "{list} repeats {repeated} of its {size} lines.",
    "overlap": "{list} shares {overlap} images with its unlabelled list.",
    "validation": "{list} names {validation} validation images.",
    "unmatched": "{list}: {unmatched} of {size} lines match no training image.",
    "not_in_next": "{list} is not nested: {not_in_next} of its {size} images are not in "
    "{next_larger}.",
}


@dataclass
class Row:
    """One audited list; None where the index does not tell."""

    list: str  # its path, as found
    family: str  # the path with its count replaced by *; lists of a family should be nested
    size: int  # lines
    repeated: int  # lines that repeat an id
    matched: int | None = None  # training images of the index that the list names
    unmatched: int | None = None  # lines that match no training image of the index
    validation: int | None = None  # ids that the index has for validation
    unlabelled: int | None = None  # size of the unlabelled list beside it
    overlap: int | None = None  # ids that are in both lists
    next_larger: str | None = None  # the family's next larger list
    not_in_next: int | None = None  # ids that it lacks; 0 means nested
    same_as: str | None = None  # the first other list with exactly these ids
    classes: int | None = None  # classes with a pixel on the matched training images
    classes_of: int | None = None  # classes with a pixel in the whole training set
    # total variation (0..1) between the class shares of the pixels of the matched images and those
    # of the training set
    class_distance: float | None = None
    # the same for random subsets of that size, mean of 20
    class_distance_random: float | None = None


def audit(
    lists: Sequence[str | Path],
    index_csv: str | Path | None = None,
    *,
    out_csv: str | Path,
    out_figures: Sequence[str | Path],
    out_findings: str | Path,
) -> list[str]:
    """Audit label lists; return what is wrong or surprising, the lines of `out_findings`.

    Folders among `lists` are searched for .txt lists with "labeled" in their name and for the CSV
    files of the subset stage. Without the index of their dataset, only what the lists themselves
    tell is reported. `out_csv` has one `Row` per list; `out_figures` (PNG or PDF, by suffix) show
    how much of each list every other one holds and, with an index, class distance and classes
    against size.

    Raises:
        DataError: no list found, or one that cannot be read.
    """
    paths = find_lists(lists)
    lines = {str(path): read_list(path) for path in paths}
    sets = {path: {name for _, name in entries} for path, entries in lines.items()}
    rows = [
        Row(path, family(path), len(entries), len(entries) - len(sets[path]))
        for path, entries in lines.items()
    ]
    rows.sort(key=lambda row: (row.family, row.size, row.list))
    for row in rows:
        _compare(row, rows, sets)
    if index_csv is not None:
        table = read_index(index_csv)
        for row in rows:
            _use_index(row, lines[row.list], table)
    write_rows(out_csv, [f.name for f in fields(Row)], map(astuple, rows))
    _draw(rows, sets, [Path(path) for path in out_figures])
    said = findings(rows)
    write_text(out_findings, "".join(f"{sentence}\n" for sentence in said))
    return said


def find_lists(places: Sequence[str | Path]) -> list[Path]:
    """Find the lists among files and below folders, sorted by path.

    Raises:
        DataError: a place does not exist, or there is no list at all.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            lists = [*place.rglob("*labeled*.txt"), *place.rglob("n*_seed*.csv")]
            found += sorted(path for path in lists if "unlabeled" not in path.name)
        elif place.is_file():
            found.append(place)
        else:
            raise DataError(f"the list {place} does not exist; correct its path in the config")
    if not found:
        raise DataError(
            f"no list in {', '.join(map(str, places)) or 'the config'}; name files or folders "
            "with *labeled*.txt lists or subset CSV files"
        )
    return found


def read_list(path: Path) -> list[tuple[str, str]]:
    """Read a published list or a subset's CSV as (line, image name) pairs."""
    if path.suffix == ".csv":
        return [(name, name) for name in read_subset(path)[0]]
    return [(line, image_name(line)) for line in read_lines(path)]


def family(path: str) -> str:
    """Replace the part of a list's path that says how many images it has by *.

    Counts are path components (92, 1464, 1.4k), an ending (train_aug_labeled_1-16.txt) or a
    subset's n (n1of16_seed0.csv). Components that are fractions (1_16) become 1_*: they are of
    another training set than numbers beside them.
    """
    parts = [re.sub(r"^1_\d+$", "1_*", part) for part in path.split("/")]
    parts = [re.sub(r"^\d+(\.\d+)?k?$", "*", part) for part in parts]
    parts[-1] = re.sub(
        r"(?<=_)1-\d+(?=\.txt$)|(?<=^n)(?:all|[\d.]+|\d+of\d+)(?=_seed-?\d+\.csv$)", "*", parts[-1]
    )
    return "/".join(parts)


def findings(rows: Sequence[Row]) -> list[str]:
    """Put what is wrong or surprising about the audited lists into sentences."""
    said = []
    for row in rows:
        said += [text.format(**vars(row)) for fault, text in FAULTS.items() if getattr(row, fault)]
        if row.same_as and row.same_as < row.list:
            said.append(f"{row.list} has the same images as {row.same_as}.")
        if row.classes is not None and row.classes_of is not None and row.classes < row.classes_of:
            said.append(f"{row.list} shows {row.classes} of {row.classes_of} classes.")
    return said or [f"{len(rows)} lists, nothing found."]


def _compare(row: Row, rows: Sequence[Row], sets: Mapping[str, set[str]]) -> None:
    """Fill in what follows from the lists alone."""
    own = sets[row.list]
    row.same_as = next((r.list for r in rows if r is not row and sets[r.list] == own), None)
    larger = [r for r in rows if r.family == row.family and len(sets[r.list]) > len(own)]
    if larger:
        row.next_larger = min(larger, key=lambda r: len(sets[r.list])).list
        row.not_in_next = len(own - sets[row.next_larger])
    path = Path(row.list)
    partner = path.with_name(path.name.replace("labeled", "unlabeled"))
    if partner != path and partner.is_file():
        unlabelled = set(map(image_name, read_lines(partner)))
        row.unlabelled, row.overlap = len(unlabelled), len(own & unlabelled)


def _use_index(row: Row, lines: list[tuple[str, str]], table: pd.DataFrame) -> None:
    """Fill in what the index tells of the images and their classes."""
    train = table[table["split"] == "train"]
    ids = match_ids((line for line, _ in lines), dict(zip(table["id"], table["image"])))
    splits = dict(zip(table["id"], table["split"]))
    found = [name for name in ids if splits.get(name) == "train"]
    row.unmatched = len(ids) - len(found)
    row.validation = sum(splits.get(name) == "val" for name in ids)
    pixels = train.set_index("id").filter(regex=r"^pixels_\d+$")
    named, total = pixels[pixels.index.isin(found)], pixels.sum().to_numpy()
    row.matched = len(named)
    if not row.matched:
        return
    shown = named.sum().to_numpy()
    row.classes_of, row.classes = int((total > 0).sum()), int((shown > 0).sum())
    row.class_distance = round(class_distance(shown, total), 4)
    orders = (keyed_order(pixels.index, f"audit {draw}") for draw in range(RANDOM_DRAWS))
    drawn = (pixels.loc[order[: row.matched]].sum().to_numpy() for order in orders)
    draws = [class_distance(counts, total) for counts in drawn]
    row.class_distance_random = round(float(np.mean(draws)), 4)


def class_distance(counts: np.ndarray, reference: np.ndarray) -> float:
    """Total variation between two class distributions given as pixel counts, 0 (equal) to 1."""
    shares = counts / max(counts.sum(), 1), reference / max(reference.sum(), 1)
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _draw(rows: Sequence[Row], sets: Mapping[str, set[str]], paths: Sequence[Path]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second to import
    from matplotlib.figure import Figure

    names = [row.list for row in rows]
    common = os.path.commonpath([str(Path(name).absolute().parent) for name in names])
    labels = [
        f"{i}  {os.path.relpath(Path(name).absolute(), common)} ({len(sets[name])})"
        for i, name in enumerate(names, 1)
    ]
    shares = [[len(sets[a] & sets[b]) / max(len(sets[a]), 1) for b in names] for a in names]
    judged = [row for row in rows if row.class_distance is not None]
    side = 3 + 0.16 * len(names)
    figure = Figure(figsize=(side + 2 + (5 if judged else 0), side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, width_ratios=[side, 5]) if judged else [figure.subplots()]
    image = axes[0].imshow(shares, cmap="viridis", vmin=0, vmax=1)
    axes[0].set_yticks(range(len(names)), labels, fontsize=6)
    numbers = [str(i) for i in range(1, len(names) + 1)]
    axes[0].set_xticks(range(len(names)), numbers, fontsize=5, rotation=90)
    axes[0].set_title("Share of the row's images that the column's list holds", fontsize=9)
    figure.colorbar(image, ax=axes[0], shrink=0.6)
    if judged:
        _draw_distances(axes[1], judged)
    for path in paths:
        undated = {"CreationDate": None} if path.suffix == ".pdf" else None  # same bytes again
        with atomic(path) as temporary:
            figure.savefig(temporary, dpi=150, metadata=undated)


def _draw_distances(axis: Any, judged: Sequence[Row]) -> None:
    for i, name in enumerate(sorted({row.family for row in judged})):
        members = sorted((r for r in judged if r.family == name), key=lambda r: r.matched or 0)
        style = {"color": f"C{i % 10}", "marker": "osD^v"[i // 10 % 5], "markersize": 4}
        distances = [r.class_distance for r in members]
        axis.plot([r.matched for r in members], distances, linewidth=1, label=name, **style)
    by_size = sorted(judged, key=lambda r: r.matched or 0)
    expected = [r.class_distance_random for r in by_size]
    axis.plot([r.matched for r in by_size], expected, "k--", label="random, mean of 20")
    axis.set_xscale("log")
    axis.set_xlabel("training images that the list names")
    axis.set_ylabel("distance of its class distribution (total variation)")
    axis.xaxis.set_minor_formatter("")
    axis.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.07))
