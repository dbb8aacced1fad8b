"""`cseg init`: a config that runs and a contact sheet, from a folder of images."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cseg.datasets.image_files import find_files as list_files
from cseg.datasets.whole import problems_of
from cseg.errors import CsegError, DataError
from cseg.init.look import Seen, Split, choose_split, look, opened_images, write_list
from cseg.init.proposal import Data, fit, this_machine
from cseg.init.report import report
from cseg.init.sheet import choose_pairs, contact_sheet
from cseg.init.text import config_text
from cseg.storage.files import atomic, write_text

SHOWN = 12  # pairs on the contact sheet


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files that `init` writes; the lists only where not every image can be used."""

    config: Path
    sheet: Path
    train: Path
    val: Path
    unlabelled: Path


def outputs_of(config: Path) -> Outputs:
    """The files that go with a config, next to it; a CsegError if one of them exists."""
    lists = {name: config.with_name(f"{config.stem}_{name}.txt")
             for name in ("train", "val", "unlabelled")}  # fmt: skip
    out = Outputs(config=config, sheet=config.with_suffix(".png"), **lists)
    for path in vars(out).values():
        if os.path.lexists(path):
            raise CsegError(f"{path} exists already; move it or give another name with --out")
    return out


def init(images: Path, labels: Path | None, config: Path) -> str:
    """Write a config for the images, and a contact sheet of them; say what was found and written.

    The folders are as `look` takes them. `config` is the YAML file to write, `mine.yaml`; its name
    becomes the data set's.

    Raises:
        CsegError: the folder cannot be used, or one of the files exists already.
    """
    out = outputs_of(config)
    with tempfile.TemporaryDirectory() as work:
        seen = look(images, labels, name=_name(config.stem), work=Path(work))
        split = choose_split(seen)
        _check_whole(seen, split)
        machine, data = this_machine(), data_of(seen, split)
        keys, lists = _split_keys(seen, split, out)
        description = {**seen.description, **keys}
        folder = {
            "dataset": "folder",
            "data_dir": str(seen.root),
            "dataset_options": {"folder": {"description": description}},
        }
        fitted = fit(folder, data, machine)
        said = report(seen, split, data, fitted)
        text = config_text(
            head=said, data_dir=str(seen.root), description=description,
            notes=_notes(seen), settings=fitted.settings,
        )  # fmt: skip
        for path, names in lists.items():
            write_list(path, names)
        _write_sheet(out.sheet, seen)
        write_text(out.config, text)
    made = ", ".join(map(str, [out.config, out.sheet, *lists]))
    return "\n".join([
        *said, "", f"Wrote {made}.",
        f"Look at {out.sheet}: do the colours lie on what they should?",
        f"Correct {out.config} (names of the classes first), then run",
        f"  cseg run --configfile {out.config} --cores all",
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


def data_of(seen: Seen, split: Split) -> Data:
    """What decides on settings."""
    val = len(split.val)
    more = list_files(seen.files.more) if seen.files.more else []
    return Data(
        train=len(seen.usable) - val,
        val=val,
        unlabelled=len(more) or len(seen.files.unlabelled),
        height=int(median(pair.height for pair in seen.pairs)),
        width=int(median(pair.width for pair in seen.pairs)),
        classes=seen.info.num_classes,
    )


def _split_keys(
    seen: Seen, split: Split, out: Outputs
) -> tuple[dict[str, str], dict[Path, Sequence[Path]]]:
    """Keys of the description that divide the images, and the lists to write for them."""
    lists: dict[Path, Sequence[Path]] = {}
    keys = dict(split.lists)
    if not keys:
        lists[out.train] = [path for path in seen.usable if path not in split.val]
        lists[out.val] = [path for path in seen.usable if path in split.val]
        keys = {"train": str(out.train.absolute()), "val": str(out.val.absolute())}
    if seen.files.unlabelled and not seen.files.more:
        lists[out.unlabelled] = seen.files.unlabelled
        keys["unlabelled"] = str(out.unlabelled.absolute())
    return keys, lists


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


def _write_sheet(path: Path, seen: Seen) -> None:
    pairs = [seen.pairs[i] for i in choose_pairs([pair.pixels for pair in seen.pairs], SHOWN)]
    picture = contact_sheet(pairs, seen.info)
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG")
