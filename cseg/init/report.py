"""What `cseg init` says of a folder: a screenful, which also stands at the head of the config."""

from collections import Counter

from cseg.datasets.whole import grouped, listed
from cseg.init.look import Seen, Split, opened_images
from cseg.init.proposal import Data, Fitted

MOST_CLASSES = 12  # of which a line is shown each
MOST_PROBLEMS = 5


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
