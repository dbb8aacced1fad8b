"""What `cseg init` says of a folder, and the config that it writes, with its comments."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cseg.datasets.whole import grouped
from cseg.errors import listed
from cseg.init.look import Seen, Split, opened_images
from cseg.init.proposal import Data, Fitted

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
    return lines


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
