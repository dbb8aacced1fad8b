"""Stage subset: which training images are labelled, for a count n and a seed.

Algorithm, the same on every platform and Python version:
1. Order the training ids by the sha256 of "{seed}/{id}" (UTF-8), as hex text.
2. While a class of the training set is on no chosen image: take the rarest such class (on the
   fewest training images; the lower class id if equal) and choose the first image of that order
   that shows it.
3. Append the other ids in that order.
The subset of n is the first n ids, so subsets of one seed are nested, whatever the n. Step 2
brings every class within the first C images, and its choice among the images of a class is random:
always taking the image with the most new classes would cover sooner, but choose the same crowded
images for every seed.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cseg.datasets.image_files import match_ids, read_lines
from cseg.errors import DataError, listed
from cseg.settings.label_counts import Count, count_token, resolve_count
from cseg.storage.files import fingerprint, keyed_order, read_json, write_text
from cseg.storage.index_and_subset import read_index
from cseg.storage.tables import write_rows


def subset(
    index_csv: str | Path,
    dataset_json: str | Path,
    *,
    n: Count,
    seed: int,
    out: str | Path,
    list_path: str | Path | None = None,
) -> None:
    """Write the labelled subset of `n` images for `seed`, or that of a published list.

    `n` is a number of images, a fraction of the training set ("1/30", 0.05), or "all"; other seeds
    give other subsets. `out` is a CSV with columns rank (from 0), id, fingerprint (of the index, n,
    seed and the ids) and ids_fingerprint, both the same on every row. If `list_path` is given, `n`
    is its name.

    Raises:
        ConfigError: `n` is malformed or larger than the training set.
        DataError: there is no training image.
    """
    if list_path is not None:
        subset_from_list(index_csv, dataset_json, list_path, out)
        return
    order = nested_order(read_presence(index_csv), seed)
    ids = order[: resolve_count(n, len(order))]
    mark = fingerprint([read_json(dataset_json)["index_fingerprint"], count_token(n), seed, ids])
    write_subset(ids, mark, out)


def subset_from_list(
    index_csv: str | Path, dataset_json: str | Path, list_path: str | Path, out: str | Path
) -> list[str]:
    """Write the labelled subset that a published list names, in the list's order.

    The list is in one of the formats of `cseg.datasets.image_files`; a line that repeats an id
    counts once. `out` is a CSV as `subset` writes it. The lines that match no training image are
    printed, written to a .unmatched.txt beside it, and returned.

    Raises:
        DataError: the list cannot be read, none of its lines names a training image, or one does
            not and the dataset is no partial copy (its option relax_counts).
    """
    table, facts = read_index(index_csv), read_json(dataset_json)
    train = set(table["id"][table["split"] == "train"])
    lines = read_lines(list_path)
    matches = match_ids(lines, dict(zip(table["id"], table["image"])))
    ids = list(dict.fromkeys(name for name in matches if name and name in train))
    lost = [line for line, name in zip(lines, matches) if name not in train]
    if not ids:
        raise DataError(
            f"no line of {list_path} names a training image of {index_csv}; "
            "it may be a list for another dataset: correct its path in the config"
        )
    if lost and not facts.get("partial", False):
        raise DataError(
            f"{len(lost)} of {len(lines)} lines of {list_path} name no training image of "
            f"{index_csv}: {listed(lost)}; correct the list, or set the dataset's option "
            "relax_counts: true to go on without them"
        )
    mark = fingerprint([facts["index_fingerprint"], "list", ids])
    write_subset(ids, mark, out)
    unmatched = Path(out).with_suffix(".unmatched.txt")
    unmatched.unlink(missing_ok=True)
    if lost:
        print(f"{len(lost)} lines of {list_path} match no training image:", *lost, sep="\n")
        write_text(unmatched, "".join(f"{line}\n" for line in lost))
    return lost


def write_subset(ids: list[str], mark: str, out: str | Path) -> None:
    """Write a subset's CSV: rank, id, fingerprint, ids_fingerprint."""
    own = fingerprint(ids)
    header = ("rank", "id", "fingerprint", "ids_fingerprint")
    write_rows(out, header, [(rank, name, mark, own) for rank, name in enumerate(ids)])


def read_presence(index_csv: str | Path) -> dict[str, frozenset[int]]:
    """Read which classes have a pixel on each training image of an index: id -> class ids.

    Raises:
        DataError: there is no training image.
    """
    table = read_index(index_csv)
    table = table[table["split"] == "train"]
    if table.empty:
        raise DataError(f"{index_csv} has no training image; correct the dataset's train list")
    shown = table.filter(regex=r"^pixels_\d+$").to_numpy() > 0
    return {name: frozenset(row.nonzero()[0].tolist()) for name, row in zip(table["id"], shown)}


def nested_order(presence: Mapping[str, frozenset[int]], seed: int) -> list[str]:
    """Order all ids so that the subsets of `seed` are its prefixes (algorithm: see the module).

    `presence` maps ids to the classes on that image; the order of the mapping does not matter.
    """
    shuffled = keyed_order(presence, seed)
    frequency = Counter(c for classes in presence.values() for c in classes)
    first: list[str] = []
    covered: set[int] = set()
    for rarest in sorted(frequency, key=lambda c: (frequency[c], c)):
        if rarest not in covered:
            chosen = next(name for name in shuffled if rarest in presence[name])
            first.append(chosen)
            covered |= presence[chosen]
    pulled = set(first)
    return first + [name for name in shuffled if name not in pulled]
