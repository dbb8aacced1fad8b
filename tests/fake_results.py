"""A results folder as real runs would leave it, painted in milliseconds.

Truth is a scene of stripes; a prediction is the truth with a share of its pixels replaced by
random classes. The share shrinks with n and differs by arm, so metrics, counts, confusion and
predictions agree with each other the way those of a real run do.
"""

import json
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

CLASSES = ("background", "stripes", "dots", "rings", "checks")
PALETTE = ((40, 40, 40), (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167))
SIZE = (24, 32)
TRAIN = 64
ERROR = {"scratch": 0.55, "within": 0.42, "cross": 0.36, "imagenet": 0.30}
RARE = 4  # with `absent`, no validation image holds this class


def paint_results(
    root: Path,
    arms: Iterable[str] = ("scratch", "within", "cross", "imagenet"),
    label_counts: Iterable[int] = (4, 16, 64),
    seeds: Iterable[int] = (0, 1, 2),
    skip: Iterable[tuple[str, int, int]] = (),
    images: int = 12,
    absent: bool = False,
    dataset: str = "fake",
) -> list[Path]:
    """Write `root/{dataset}` (dataset.json, index.csv, images, runs); return the run folders.

    `skip` names (arm, n, seed) that did not run. Their folders are returned all the same.
    """
    folder = root / dataset
    truths = _paint_data(folder, images, absent, dataset)
    skipped = set(skip)
    runs = []
    for arm in arms:
        for n in label_counts:
            for seed in seeds:
                token = "all" if n == TRAIN else n
                run = folder / arm / f"n{token}" / f"seed{seed}"
                runs.append(run)
                if (arm, n, seed) not in skipped:
                    _paint_run(run, dataset, arm, n, seed, truths)
    return runs


def _paint_data(folder: Path, images: int, absent: bool, dataset: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    data = folder / "data"
    data.mkdir(parents=True)
    truths, rows = {}, []
    for i in range(images):
        label = np.zeros(SIZE, np.uint8)
        for _ in range(4):
            classes = len(CLASSES) - (1 if absent else 0)
            y, x = generator.integers(0, SIZE[0] - 8), generator.integers(0, SIZE[1] - 8)
            label[y : y + 8, x : x + 8] = generator.integers(1, classes)
        label[0, :] = 255
        picture = np.array(PALETTE, np.uint8)[np.where(label == 255, 0, label)]
        picture = np.clip(picture + generator.normal(0, 40, picture.shape), 0, 255)
        name = f"{i:06d}"  # an id that a careless reader takes for a number
        Image.fromarray(picture.astype(np.uint8)).save(data / f"{name}.png")
        Image.fromarray(label).save(data / f"{name}_label.png")
        truths[name] = label
        rows.append({
            "split": "val",
            "id": name,
            "image": str(data / f"{name}.png"),
            "label": str(data / f"{name}_label.png"),
            "width": SIZE[1],
            "height": SIZE[0],
        })  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    info = {
        "name": dataset,
        "class_names": list(CLASSES),
        "palette": [list(colour) for colour in PALETTE],
        "label_map": {str(c): c for c in [*range(len(CLASSES)), 255]},
        "split_sizes": {},
        "licence": "CC0 & more_than 100%",  # signs that LaTeX and HTML must escape
        "citation": "A. Painter, Fake Scenes, 2026",
        "ignore_index": 255,
        "index_fingerprint": "0123456789abcdef",
        "train_size": TRAIN,
        "val_size": images,
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    return truths


def _paint_run(
    run: Path, dataset: str, arm: str, n: int, seed: int, truths: dict[str, np.ndarray]
) -> None:
    run.mkdir(parents=True)
    key = {"dataset": dataset, "arm": arm, "n": n, "seed": seed}
    generator = np.random.default_rng([seed, n, *arm.encode()])
    base = arm.removesuffix("_pseudo")
    error = ERROR.get(base, 0.4) * (4 / n) ** 0.35 + generator.normal(0, 0.01)
    error = max(0.02, error - 0.03 * (base != arm))
    classes = len(CLASSES)
    per_image, confusion = [], np.zeros((classes, classes), np.int64)
    with zipfile.ZipFile(run / "predictions.zip", "w") as archive:
        for name, label in truths.items():
            noise = generator.random(label.shape) < error
            guess = np.where(noise, generator.integers(0, classes, label.shape), label)
            guess = np.where(label == 255, 0, guess).astype(np.uint8)
            picture = Image.fromarray(guess, mode="P")
            picture.putpalette(np.array(PALETTE, np.uint8).tobytes())
            stream = BytesIO()
            picture.save(stream, format="PNG")
            archive.writestr(f"{name}.png", stream.getvalue())
            kept = label != 255
            pairs = np.bincount(
                label[kept].astype(int) * classes + guess[kept], minlength=classes**2
            )
            matrix = pairs.reshape(classes, classes)
            confusion += matrix
            counts = {"intersection": np.diag(matrix), "truth": matrix.sum(1),
                      "predicted": matrix.sum(0)}  # fmt: skip
            per_image.append({**key, "id": name, **{
                f"{kind}_{c}": values[c] for kind, values in counts.items() for c in range(classes)
            }})  # fmt: skip
    hit, truth, guessed = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    iou = np.where(truth > 0, hit / np.maximum(truth + guessed - hit, 1), np.nan)
    pd.DataFrame(per_image).to_csv(run / "per_image.csv", index=False)
    pd.DataFrame({
        **key, "class_id": range(classes), "class_name": CLASSES, "iou": iou,
        "accuracy": np.where(truth > 0, hit / np.maximum(truth, 1), np.nan), "pixels": truth,
    }).to_csv(run / "per_class.csv", index=False)  # fmt: skip
    pd.DataFrame([
        {**key, "truth": t, "predicted": p, "pixels": confusion[t, p]}
        for t in range(classes) for p in range(classes)
    ]).to_csv(run / "confusion.csv", index=False)  # fmt: skip
    pretrains = base.removeprefix("imagenet_") in ("within", "cross", "batch")
    metrics = {
        **key,
        "miou": np.nanmean(iou),
        "pixel_accuracy": hit.sum() / truth.sum(),
        "mean_accuracy": np.mean((hit / np.maximum(truth, 1))[truth > 0]),
        "train_miou": 0.9,
        "n_train": TRAIN,
        "budget": "equal_steps",
        "pretrain_steps": 200 if pretrains else 0,
        "finetune_steps": 200 if pretrains else 400,
        "total_steps": 400,
        "init": "imagenet" if "imagenet" in arm else "random",
        "scope": "encoder",
        "encoder": "tf_efficientnet_lite0",
        "parameters": 123456,
        "protocol": "whole",
        "model_choice": "last",
        "pretrain_seconds": 12.5 if pretrains else 0.0,
        "finetune_seconds": 20.0 + seed,
        "evaluate_seconds": 1.5,
        "subset_fingerprint": f"{seed:04d}e5",  # pandas would read a number
        "index_fingerprint": "0123456789abcdef",
        "git_revision": "12e5",
        "cseg_version": "0.1.0",
        "python_version": "3.11.9",
        "torch_version": "2.14.1",
        "device": "cpu",
        "threads": 1,
        "precision": "fp32",
    }
    pd.DataFrame([metrics]).to_csv(run / "metrics.csv", index=False)
    for stage in ("pretrain", "finetune"):
        steps = metrics[f"{stage}_steps"]
        if steps:
            step = np.arange(0, steps, 5)
            loss = 2 * np.exp(-8 * step / steps) + 0.3 + generator.normal(0, 0.05, len(step))
            lr = 0.1 * (1 + np.cos(np.pi * step / steps)) / 2
            curve = pd.DataFrame({"step": step, "loss": loss, "lr": lr})
            if stage == "finetune":  # measured along the way, as with finetune.validate_every
                measured = {step[len(step) // 2]: 0.5 * metrics["miou"], step[-1]: metrics["miou"]}
                curve["val_miou"] = curve["step"].map(measured)
            curve.to_csv(run / f"{stage}.csv", index=False)
            cost = {"seconds": metrics[f"{stage}_seconds"], "images_per_second": 160.0,
                    "peak_memory_mib": 700.0 + n, "device": "cpu"}  # fmt: skip
            (run / f"{stage}_cost.json").write_text(json.dumps(cost))


def paint_extras(folder: Path) -> None:
    """The optional CSVs: features, separability, pseudo, ablations."""
    summary = pd.read_csv(folder / "summary.csv")
    generator = np.random.default_rng(3)
    features, separability, pseudo = [], [], []
    for run in summary[["dataset", "arm", "n", "seed"]].to_dict("records"):
        spread = 1.0 if run["arm"] == "scratch" else 0.4
        separability.append({**run, "intra_class": spread, "inter_class": 1.5,
                             "ratio": 1.5 / spread})  # fmt: skip
        if run["arm"].endswith("_pseudo"):
            pseudo.append({**run, "images": 9, "miou": 0.5, "pixel_accuracy": 0.7, "kept": 0.8,
                           "seconds": 1.0})  # fmt: skip
        if run["seed"] == 0:
            for method in ("pca", "tsne"):
                for i in range(100):
                    c = i % len(CLASSES)
                    x, y = generator.normal([np.cos(c), np.sin(c)], spread / 2)
                    features.append({**run, "image_id": "000000", "class_id": c, "x": x, "y": y,
                                     "method": method})  # fmt: skip
    pd.DataFrame(features).to_csv(folder / "features.csv", index=False)
    pd.DataFrame(separability).to_csv(folder / "separability.csv", index=False)
    if pseudo:
        pd.DataFrame(pseudo).to_csv(folder / "pseudo.csv", index=False)
    plan = [("positives", "within image", "within"), ("positives", "across images", "cross")]
    pd.DataFrame(plan, columns=["group", "setting", "arm"]).to_csv(
        folder / "ablations.csv", index=False
    )
