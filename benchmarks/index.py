"""How long the index stage takes on pairs of VOC size.

Generates JPEG images of 500x375 (about 100 kB each, as VOC's) and palette PNG labels, then times
`cseg.stages.index.index` with one worker and with as many as there are cores.

    python benchmarks/index.py --pairs 10000 --out benchmarks/results/index.csv
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cseg.datasets.reading import write_label
from cseg.datasets.samples import DatasetInfo, default_colours, info_to_json
from cseg.stages.index import index
from cseg.storage.files import write_json
from cseg.storage.tables import write_rows

SIZE = (500, 375)  # width, height
# Files painted, the first of them for validation, since the index refuses a picture of both splits.
# The others are copies with a few bytes behind the end, which decoders pass over: another content
# hash at the cost of a copy.
BASES, VAL_BASES = 100, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/index.csv"))
    chosen = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work, cores = Path(folder), len(os.sched_getaffinity(0))
        size = make_pairs(work, chosen.pairs)
        made = (work / "fetch.json", work / "index.csv")
        for workers in sorted({1, cores}):
            start = time.perf_counter()
            index(*made, dataset_json=work / "dataset.json", workers=workers)
            seconds = time.perf_counter() - start
            rows.append({
                "pairs": chosen.pairs, "workers": workers, "seconds": round(seconds, 1),
                "pairs_per_second": round(chosen.pairs / seconds, 1), "cores": cores,
                "python": platform.python_version(), "machine": platform.machine(),
                "mebibytes": round(size),
            })  # fmt: skip
            print(rows[-1], flush=True)
    write_rows(chosen.out, list(rows[0]), [row.values() for row in rows])


def make_pairs(folder: Path, count: int) -> float:
    """Write `count` pairs and their fetch.json; returns MiB written."""
    bases = [paint(folder, i) for i in range(BASES)]
    samples, size = [], 0
    for i in range(count):
        image, label = folder / f"{i:05d}.jpg", folder / f"{i:05d}.png"
        own = i // 8 % VAL_BASES if i % 8 == 0 else VAL_BASES + i % (BASES - VAL_BASES)
        for path, data in zip((image, label), bases[own]):
            path.write_bytes(data + i.to_bytes(4, "big"))
            size += len(data) + 4
        split = "val" if i % 8 == 0 else "train"
        samples.append({"id": f"{i:05d}", "split": split, "image": str(image), "label": str(label)})
    names, label_map = tuple(map(str, range(21))), {c: c for c in [*range(21), 255]}
    info = DatasetInfo("generated", names, default_colours(21), label_map, {}, "", "")
    write_json(folder / "fetch.json", {"info": info_to_json(info), "samples": samples})
    return size / 2**20


def photograph(seed: int, noise: float) -> tuple[Image.Image, np.ndarray]:
    """An image like a photograph (clouds, noise), and a label of smooth outlines, uint8 HxW."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    clouds = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), dtype=np.float32)
    noisy = clouds + rng.normal(0, noise, clouds.shape)
    height = np.asarray(coarse.convert("L").resize(SIZE, Image.Resampling.BICUBIC))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), height // 32 * (height > 128)


def paint(folder: Path, seed: int) -> tuple[bytes, bytes]:
    """Paint a JPEG and its label; as bytes."""
    image, label = photograph(seed, noise=24)
    image.save(folder / "base.jpg", quality=85)
    write_label(folder / "base.png", label * (seed % 3), default_colours(21))
    return (folder / "base.jpg").read_bytes(), (folder / "base.png").read_bytes()


if __name__ == "__main__":
    main()
