"""How many training images a second are loaded, against torchvision's plain pipeline.

Both read the same pairs of VOC size (500x375 JPEG, palette PNG), scale them by a factor of 0.5 to
2, cut 513x513 and mirror half of them, and end in normalised float batches; for cseg, which
hands uint8 to the device and normalises there, the uint8 batches are timed too.

    python benchmarks/loader.py --voc data --out benchmarks/results/loader.csv
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from index import photograph
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import VOCSegmentation
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from cseg.datasets import voc2012
from cseg.datasets.reading import write_label
from cseg.datasets.samples import default_colours
from cseg.images.transforms import random_crop, to_unit
from cseg.settings.network import ImageSettings
from cseg.storage.files import write_text
from cseg.storage.tables import markdown, write_rows
from cseg.training.loader import iterate
from cseg.training.prepared_cache import Place
from cseg.training.sampling import Pair, StepBatches, load_pair

CROP, SCALE, BATCH = 513, (0.5, 2.0), 16
INFO = voc2012.info(voc2012.Options())
IMAGE = ImageSettings(short_side=None, crop=(CROP, CROP), scale=SCALE, flip=True)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REASON = """\
Both decode with libjpeg-turbo; cseg also checks every label value. It resizes only the part of the
image that becomes the crop, once, where torchvision scales the whole image and cuts most of it
away again; it
stays in uint8 until the batch, and pads nothing that is then resized. The speed of one core
is in the rows without workers, by processor seconds; with workers, cseg's float conversion runs in
the main process, beside them, where a GPU would do it; how those rows scale holds only where the
load average, taken at the end, is not above the number of workers. Each figure is the fastest of
the repeats, which take turns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--batches", type=int, default=12, help="timed batches of 16 images")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of them counts")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--voc", type=Path, help="folder of VOCdevkit/; without it we paint pairs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loader.csv"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = make_voc(root, chosen.voc, chosen.pairs)
        rows = compare(root, files, chosen.batches, chosen.repeats, chosen.workers)
        costs = profile(root, files, chosen.repeats)
    source = f"{chosen.voc.name}, resized" if chosen.voc else "painted"
    facts = {"pairs": len(files), "source": source, "crop": CROP, "batch": BATCH,
             "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__,
             "load_average": round(os.getloadavg()[0], 1),
             "machine": platform.machine()}  # fmt: skip
    write_rows(chosen.out, [*rows[0], *facts], [(row | facts).values() for row in rows])
    write_text(chosen.out.with_suffix(".md"), report(rows, costs, facts))


def compare(
    root: Path, files: list[Pair], batches: int, repeats: int, workers: list[int]
) -> list[dict[str, object]]:
    """Images a second of every pipeline by worker count; the rounds of all take turns.

    Without workers the seconds are the processor's, which other work on the machine does not
    lengthen: the speed of one core. With workers they are the wall clock's.
    """
    stored = store(files, root / "pixels.bin")
    images = batches * BATCH
    pipelines: dict[str, Callable[[int], Iterable]] = {
        "torchvision, PIL": lambda w: reference(root, tensors=False, count=images, workers=w),
        "torchvision, tensors": lambda w: reference(root, tensors=True, count=images, workers=w),
        "cseg": lambda w: map(normalise, ours(files, batches, w)),
        "cseg, uint8 for the device": lambda w: ours(files, batches, w),
        "cseg, prepared cache": lambda w: map(normalise, ours(stored, batches, w)),
    }
    fastest = {(name, w): 0.0 for w in workers for name in pipelines}
    for _ in range(repeats):
        for name, count in fastest:
            clock = time.perf_counter if count else time.process_time
            speed = rate(pipelines[name](count), clock)
            fastest[name, count] = max(fastest[name, count], speed)
    rows = []
    for (name, count), speed in fastest.items():
        rival = max(fastest[rival, count] for rival in pipelines if "torchvision" in rival)
        rows.append({"pipeline": name, "workers": count, "clock": "wall" if count else "processor",
                     "images_per_second": round(speed, 1),
                     "times_the_faster_torchvision": round(speed / rival, 2)})  # fmt: skip
        print(f"{name:28}{count} workers {speed:8.1f} images/s {speed / rival:6.2f}x", flush=True)
    return rows


def profile(root: Path, files: list[Pair], repeats: int) -> dict[str, float]:
    """Milliseconds per image of the steps of a core's work, the fastest of `repeats` passes."""
    pairs = [load_pair(pair, INFO, None) for pair in files]
    rng = np.random.default_rng(0)
    crops = [random_crop(*pair, IMAGE, rng) for pair in pairs[:BATCH]]
    batch = torch.stack([crop[0] for crop in crops]), torch.stack([crop[1] for crop in crops])
    plain = VOCSegmentation(str(root), "2012", "train")
    steps: dict[str, Callable[[int], object]] = {
        "torchvision, decode": lambda i: [part.load() for part in plain[i]],
        "torchvision, decode and all transforms": reference_dataset(root, False).__getitem__,
        "cseg, decode and check labels": lambda i: load_pair(files[i], INFO, None),
        "cseg, crop, scale, mirror": lambda i: random_crop(*pairs[i], IMAGE, rng),
        "cseg, float and normalise, by batch": lambda i: None if i % BATCH else normalise(batch),
    }
    costs = {}
    for name, step in steps.items():
        passes = []
        for _ in range(repeats):
            start = time.process_time()
            for i in range(len(files)):
                step(i)
            passes.append((time.process_time() - start) / len(files) * 1000)
        costs[name] = round(min(passes), 2)
    return costs


def report(rows: list[dict[str, object]], costs: dict[str, float], facts: dict[str, object]) -> str:
    """The measurements as Markdown, with the reason for the difference."""
    lines = ["# Loading against torchvision", "", ", ".join(f"{k} {v}" for k, v in facts.items())]
    header = ("pipeline", "workers", "clock", "images/s", "times the faster torchvision")
    lines += ["", *markdown(header, [[*row.values()] for row in rows])]
    lines += ["", REASON, "", *markdown(("step, one core", "ms per image"), costs.items())]
    return "\n".join(lines) + "\n"


def rate(batches: Iterable[tuple[Tensor, Tensor]], clock: Callable[[], float]) -> float:
    """Images per second after the first batch, which waits for workers and cold files."""
    count, start = 0, 0.0
    for images, _ in batches:
        if start:
            count += len(images)
        start = start or clock()
    return count / (clock() - start)


def ours(pairs: list[Pair], batches: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the training loop, none of them kept in memory."""
    return iterate(StepBatches(pairs, INFO, IMAGE, BATCH, 0, batches, 0), workers, False)


def normalise(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What training does on the device, and the network first."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return to_unit(batch[0]).sub_(mean).div_(std), batch[1].long()


def reference(root: Path, tensors: bool, count: int, workers: int) -> DataLoader:
    """Plain VOCSegmentation with the steps of torchvision's reference training."""
    dataset = reference_dataset(root, tensors)
    order = torch.utils.data.RandomSampler(dataset, num_samples=count)
    return DataLoader(dataset, BATCH, sampler=order, num_workers=workers)


def reference_dataset(root: Path, tensors: bool) -> VOCSegmentation:
    steps = partial(plainly, tensors=tensors, rng=np.random.default_rng(0))
    return VOCSegmentation(str(root), "2012", "train", transforms=steps)


def plainly(
    image: Image.Image, label: Image.Image, tensors: bool, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Scale, mirror, pad and crop, on PIL images or on tensors; float (3,h,w) and int64 (h,w)."""
    if tensors:
        image, label = F.pil_to_tensor(image), F.pil_to_tensor(label)
    side = int(min(F.get_dimensions(image)[1:]) * rng.uniform(*SCALE))
    image = F.resize(image, [side], antialias=True)
    label = F.resize(label, [side], interpolation=InterpolationMode.NEAREST)
    if rng.random() < 0.5:
        image, label = F.hflip(image), F.hflip(label)
    _, height, width = F.get_dimensions(image)
    right, down = max(0, CROP - width), max(0, CROP - height)
    if right or down:
        image = F.pad(image, [0, 0, right, down], fill=0)
        label = F.pad(label, [0, 0, right, down], fill=255)
    top = rng.integers(0, max(height, CROP) - CROP + 1)
    left = rng.integers(0, max(width, CROP) - CROP + 1)
    image = F.crop(image, top, left, CROP, CROP)
    label = F.crop(label, top, left, CROP, CROP)
    if not tensors:
        image, label = F.pil_to_tensor(image), F.pil_to_tensor(label)
    return F.normalize(F.convert_image_dtype(image), MEAN, STD), label[0].long()


def paths(root: Path, name: str) -> tuple[Path, Path]:
    home = root / "VOCdevkit" / "VOC2012"
    return home / "JPEGImages" / f"{name}.jpg", home / "SegmentationClass" / f"{name}.png"


def make_voc(root: Path, source: Path | None, count: int) -> list[Pair]:
    """Write and return `count` pairs of 500x375 (or 375x500) in VOC's layout."""
    if source:
        lists = source / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        names = (lists / "train.txt").read_text().split()[:count]
    else:
        names = [f"2007_{i:06d}" for i in range(count)]
    for i, name in enumerate(names):
        pair = [Image.open(path) for path in paths(source, name)] if source else photograph(i, 12)
        size = (500, 375) if pair[0].width >= pair[0].height else (375, 500)
        image, label = paths(root, name)
        image.parent.mkdir(parents=True, exist_ok=True)
        pair[0].resize(size, Image.Resampling.BICUBIC).save(image, quality=92)
        drawn = pair[1] if source else Image.fromarray(pair[1])
        classes = np.array(drawn.resize(size, Image.Resampling.NEAREST))
        write_label(label, classes, default_colours(21))
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names) + "\n")
    return [Pair(name, *paths(root, name)) for name in names]


def store(pairs: list[Pair], file: Path) -> list[Pair]:
    """The pairs as the stage prepare stores them."""
    stored, offset = [], 0
    with file.open("wb") as stream:
        for pair in pairs:
            image, label = load_pair(pair, INFO, None)
            place = Place(file, offset, *label.shape)
            stream.write(image.permute(1, 2, 0).numpy().tobytes() + label.numpy().tobytes())
            stored.append(Pair(pair.id, pair.image, pair.label, place))
            offset += place.bytes
    return stored


if __name__ == "__main__":
    main()
