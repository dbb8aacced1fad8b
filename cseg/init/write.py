"""`cseg init`: a config that runs, with comments, and a contact sheet, from a folder of images."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from cseg.datasets.image_files import find_files
from cseg.datasets.samples import SPLITS, UNLABELLED
from cseg.datasets.whole import grouped, problems_of
from cseg.errors import CsegError, DataError, listed
from cseg.images.overlay import choose_pairs, contact_sheet
from cseg.init.look import Seen, Split, choose_split, look, opened_images, write_list
from cseg.init.proposal import Data, Fitted, fit, this_machine
from cseg.storage.files import atomic, write_text
from cseg.storage.tables import rounded

SHOWN = 12  # pairs on the contact sheet
MOST_CLASSES = 12  # of which a line is shown each
MOST_PROBLEMS = 5
KEYS = {  # comments of the keys that are written, in this order
    "run_arms": "ways to start; config.yaml defines them",
    "label_counts": "labelled images to learn from: numbers, fractions such as 1/8, or all",
    "seeds": "each repeats all runs with other subsets and weights; three or more for a paper",
    "image.short_side": "pixels; images are shrunk to this shorter side, null keeps their size",
    "image.crop": "height and width of a training crop, pixels",
    "image.scale": "lowest and highest random scale factor",
    "model": "the network; without these keys it is a small one, for CPUs",
    "evaluate.window": "sliding window over large images, pixels",
    "pretrain.grid": "a quarter of the crop: what the contrastive loss compares",
    "pretrain.steps": "",
    "finetune.steps": "arms without pretraining get the steps of both stages",
}


def init(images: Path, labels: Path | None, config: Path) -> str:
    """Write a config for the images, and a contact sheet of them; say what was found and written.

    The folders are as `look` takes them. `config` is the YAML file to write, `mine.yaml`; its name
    becomes the data set's. Next to it are the sheet, and lists if not every image can be used.

    Raises:
        CsegError: the folder cannot be used, or one of the files exists already.
    """
    sheet = config.with_suffix(".png")
    places = {s: config.with_name(f"{config.stem}_{s}.txt") for s in (*SPLITS, UNLABELLED)}
    for path in (config, sheet, *places.values()):
        if os.path.lexists(path):
            raise CsegError(f"{path} exists already; move it or give another name with --out")
    with tempfile.TemporaryDirectory() as work:
        seen = look(images, labels, name=_name(config.stem), work=Path(work))
        split = choose_split(seen)
        _check_whole(seen, split)
        lists = _lists(seen, split)
        own = {name: str(places[name].absolute()) for name in lists}
        description = {**seen.description, **split.lists, **own}
        folder = {
            "dataset": "folder",
            "data_dir": str(seen.root),
            "dataset_options": {"folder": {"description": description}},
        }
        data = _data(seen, split)
        fitted = fit(folder, data, this_machine())
        said = report(seen, split, data, fitted)
        text = config_text(
            head=said, data_dir=str(seen.root), description=description,
            notes=_notes(seen), settings=fitted.settings,
        )  # fmt: skip
        for name, paths in lists.items():
            write_list(places[name], paths)
        shown = choose_pairs([pair.pixels for pair in seen.pairs], SHOWN)
        with atomic(sheet) as temporary:
            contact_sheet([seen.pairs[i] for i in shown], seen.info).save(temporary, format="PNG")
        write_text(config, text)
    made = ", ".join(map(str, [config, sheet, *(places[name] for name in lists)]))
    return "\n".join([
        *said, "", f"Wrote {made}.",
        f"Look at {sheet}: do the colours lie on what they should?",
        f"Correct {config} (names of the classes first), then run",
        f"  cseg run --configfile {config} --cores all",
    ])  # fmt: skip


def _name(stem: str) -> str:
    """A name that can be a folder's, whatever the config is called."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in stem).strip(".") or "mine"


def _check_whole(seen: Seen, split: Split) -> None:
    """Refuse what the index stage would refuse in the data set as a whole, by its first problem."""
    images = seen.files.images.absolute()
    pairs = [
        pair._replace(split="val" if pair.image.relative_to(images) in split.val else "train")
        for pair in seen.pairs
    ]
    complete = len(opened_images(seen.files)) == len(seen.files.labelled)
    for problem in problems_of(pairs, seen.info, complete):
        raise DataError(problem)


def _data(seen: Seen, split: Split) -> Data:
    """What decides on settings."""
    val = len(split.val)
    more = find_files(seen.files.more) if seen.files.more else []
    return Data(
        train=len(seen.usable) - val,
        val=val,
        unlabelled=len(more) or len(seen.files.unlabelled),
        height=int(median(pair.height for pair in seen.pairs)),
        width=int(median(pair.width for pair in seen.pairs)),
        classes=seen.info.num_classes,
    )


def _lists(seen: Seen, split: Split) -> dict[str, Sequence[Path]]:
    """The images of each list to write: none for lists and folders that are there already."""
    lists: dict[str, Sequence[Path]] = {}
    if not split.lists:
        lists["train"] = [path for path in seen.usable if path not in split.val]
        lists["val"] = [path for path in seen.usable if path in split.val]
    if seen.files.unlabelled and not seen.files.more:
        lists["unlabelled"] = seen.files.unlabelled
    return lists


def _notes(seen: Seen) -> dict[str, str]:
    """Comments of the description's keys."""
    total = sum(sum(pair.pixels) for pair in seen.pairs)
    notes = {
        "name": "results go to results/NAME",
        "classes": "change the names; colours are for pictures"
        + (", and decide the class of a label's pixel" if seen.info.colour_map else ""),
        "ignore": "pixels that are neither learned nor measured",
        "train": "lists of images; frames of one film, or tiles of one picture, belong on one side",
        "unlabelled": "images that nobody has to label",
    }
    for c, name in enumerate(seen.info.class_names):
        pixels, images = seen.of_class(c)
        notes[f"class {name}"] = (
            f"{rounded(100 * pixels / total, 2)} % of the pixels, in {images} images"
        )
    return notes


def report(seen: Seen, split: Split, data: Data, fitted: Fitted) -> list[str]:
    """Lines: files, labels, pairs, classes, problems, and what the experiment will cost."""
    files = seen.files
    pairs, opened = len(files.labelled), len(opened_images(files))
    kinds = ", ".join(f"{count} x {kind}" for kind, count in seen.kinds.kinds.items())
    lines = [
        f"{files.images}: {pairs + len(files.unlabelled)} images, {_sizes(seen)}",
        f"{files.labels}: {kinds}, told apart by {seen.kinds.meant_by}",
        f"{pairs} images with a label" + (f", {opened} of them opened" if opened < pairs else "")
        + f": {data.train} to learn from, {data.val} to measure on, {split.why}",
    ]  # fmt: skip
    for what, names in (
        ("images without a label", [path.as_posix() for path in files.unlabelled]),
        ("labels without an image", files.orphans),
        ("files among the labels not used, since most labels end differently", files.others),
        ("images left out that are there twice", [path.name for path in seen.twice]),
    ):
        if names:
            lines.append(f"{len(names)} {what}: {listed(names)}")
    if files.more:
        lines.append(f"{files.more}: {data.unlabelled} further images without a label")
    lines += ["", *_classes(seen), *_problems(seen), "", *fitted.table.splitlines()[:-2]]
    lines.append(
        f"With {fitted.steps} steps a stage this takes about {fitted.minutes:.0f} minutes on "
        f"{fitted.machine.name}, without index and pictures."
    )
    return lines


def _sizes(seen: Seen) -> str:
    sizes = Counter((pair.width, pair.height) for pair in seen.pairs)
    (width, height), most = sizes.most_common(1)[0]
    formats = Counter(pair.image.suffix.lower() for pair in seen.pairs)
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in formats.most_common(3))
    if len(sizes) == 1:
        return f"all {width}x{height} pixels ({kinds})"
    widths, heights = ([size[i] for size in sizes] for i in (0, 1))
    return (
        f"{min(widths)} to {max(widths)} pixels wide and {min(heights)} to {max(heights)} high, "
        f"mostly {width}x{height} ({most} of {sum(sizes.values())}; {kinds})"
    )


def _classes(seen: Seen) -> list[str]:
    total = sum(sum(pair.pixels) for pair in seen.pairs)
    ignored = sum(pair.pixels_ignored for pair in seen.pairs)
    lines = [f"{seen.info.num_classes} classes:"]
    for c, name in enumerate(seen.info.class_names[:MOST_CLASSES]):
        pixels, images = seen.of_class(c)
        lines.append(f"  {name:20} {100 * pixels / total:6.2f} % of the pixels, in {images} images")
    if seen.info.num_classes > MOST_CLASSES:
        lines.append(f"  and {seen.info.num_classes - MOST_CLASSES} more")
    if ignored:
        lines.append(f"  {'ignored':20} {100 * ignored / (total + ignored):6.2f} % of all pixels")
    return [*lines, *seen.said]


def _problems(seen: Seen) -> list[str]:
    kinds = grouped(seen.problems)
    lines = [f"{len({p.file for p in seen.problems})} pairs left out:"] if kinds else []
    lines += [f"  {text}" for text in kinds[:MOST_PROBLEMS]]
    more = len(kinds) - MOST_PROBLEMS
    return lines + ([f"  and {more} more kinds of problems"] if more > 0 else [])


def config_text(
    *,
    head: Sequence[str],
    data_dir: str,
    description: Mapping[str, Any],
    notes: Mapping[str, str],
    settings: Mapping[str, Any],
) -> str:
    """The YAML of a config for the dataset `folder`.

    It begins with `head` as lines of comment. `notes` are comments by key of the description, of a
    class by its name; `settings` are further keys of the config.
    """
    lines = [f"# {line if line.isprintable() else _line(line)}".rstrip() for line in head]
    lines += ["dataset: folder", f"data_dir: {flow(data_dir)}", "dataset_options:", "  folder:"]
    lines.append("    description: # of your files; all keys: docs/datasets.md")
    for key, value in description.items():
        if key == "classes":
            lines.append(f"      classes: # {notes['classes']}")
            for entry in value:
                lines.append(f"        - {flow(entry)}{_note(notes.get('class ' + entry['name']))}")
        else:
            lines.append(f"      {key}: {flow(value)}{_note(notes.get(key))}")
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines.append(f"{key}:{_note(KEYS.get(key))}")
            lines += [f"  {k}: {flow(v)}{_note(KEYS.get(f'{key}.{k}'))}" for k, v in value.items()]
        else:
            lines.append(f"{key}: {flow(value)}{_note(KEYS.get(key))}")
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    listed = yaml.safe_dump(
        [value], default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False
    )
    return listed.strip()[1:-1]


def _note(comment: str | None) -> str:
    return f" # {_line(comment)}" if comment else ""


def _line(text: str) -> str:
    return " ".join(text.split())
