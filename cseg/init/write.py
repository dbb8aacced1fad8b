"""`cseg init`: a config that runs and a contact sheet, from a folder of images."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from cseg.datasets.image_files import find_files
from cseg.datasets.samples import SPLITS, UNLABELLED
from cseg.datasets.whole import problems_of
from cseg.errors import CsegError, DataError
from cseg.images.overlay import choose_pairs, contact_sheet
from cseg.init.look import Seen, Split, choose_split, look, opened_images, write_list
from cseg.init.proposal import Data, fit, this_machine
from cseg.init.text import config_text, report
from cseg.storage.files import atomic, write_text

SHOWN = 12  # pairs on the contact sheet


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
        notes[f"class {name}"] = f"{100 * pixels / total:.2g} % of the pixels, in {images} images"
    return notes
