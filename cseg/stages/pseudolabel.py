"""Stage `pseudolabel`: a fine-tuned network labels the training images that have no label.

Source: Zhao et al. 2021 (arXiv 2012.06985), the semi-supervised setting. Shapes: H, W of an image.
"""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cseg.compute.device import open_device
from cseg.datasets.reading import read_image, read_label, write_label
from cseg.datasets.samples import IGNORE, DatasetInfo, load_info
from cseg.inference.load import load_segmenter
from cseg.inference.metrics import confusion_matrix, mean_iou, pixel_accuracy
from cseg.inference.predict import ProtocolSettings, predict_sure
from cseg.settings.run import RunSettings
from cseg.settings.training import PseudolabelSettings
from cseg.stages.run import RunInputs, labelled_pairs, unlabelled_pairs
from cseg.storage.files import fingerprint, sha256_file
from cseg.storage.tables import write_table
from cseg.training.sampling import Pair

BINS = 1000  # steps of probability that thresholds are found in


@dataclass(frozen=True, kw_only=True)
class PseudolabelOutputs:
    """Files that the stage writes."""

    labels: Path  # folder of `{number}.png`: class ids in the dataset's palette, 255 ignored
    listing: Path  # id, label (path), kept (share of pixels), fingerprint of all
    # images, miou, pixel_accuracy, kept, seconds: of the kept pixels that have a class
    quality: Path


def pseudolabel(
    inputs: RunInputs,
    settings: RunSettings,
    *,
    teacher: Path,
    out: PseudolabelOutputs,
    threads: int,
) -> None:
    """Label the unlabelled training images and measure the labels against the hidden truth.

    The truth is read for the measurement alone; what is written for training does not depend on it.
    `settings` are those of the run that will train on the labels, and `teacher` is the finetune.pt
    of the arm that labels.
    """
    started = time.monotonic()
    chosen = settings.pseudolabel or PseudolabelSettings()
    protocol = ProtocolSettings.of(settings)
    device = open_device(settings.device, threads)
    info = load_info(inputs.dataset)
    loaded = load_segmenter(teacher)
    loaded.network.to(device)
    _, subset = labelled_pairs(inputs)
    pairs = unlabelled_pairs(inputs)[: chosen.images]

    def answer(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        """The teacher's class of each pixel, and its probability."""
        image = torch.from_numpy(read_image(pair.image, info, pair.image_sha256)).permute(2, 0, 1)
        guess, sure = predict_sure(loaded.network, image, protocol)
        return guess.numpy(), sure.numpy()

    thresholds = np.full(info.num_classes, chosen.threshold)
    if chosen.class_share is not None:
        surest = class_thresholds(map(answer, pairs), info.num_classes, chosen.class_share)
        thresholds = np.minimum(thresholds, surest)
    shutil.rmtree(out.labels, ignore_errors=True)  # of a run that was killed here
    out.labels.mkdir(parents=True, exist_ok=True)  # or of one that lives on without its Snakemake
    rows: list[tuple[str, str, float]] = []
    confusion = np.zeros((info.num_classes,) * 2, np.int64)
    pixels = known = 0
    for number, pair in enumerate(pairs):
        path = out.labels / f"{number:06d}.png"  # ids may hold slashes
        guess, sure = answer(pair)
        guess = np.where(sure >= thresholds[guess], guess, IGNORE).astype(np.uint8)
        write_label(path, guess, info.palette)
        rows.append((pair.id, str(path), round(float((guess != IGNORE).mean()), 6)))
        matrix, valid = _against_truth(pair, guess, info)
        confusion, known, pixels = confusion + matrix, known + int(matrix.sum()), pixels + valid
    mark = fingerprint([subset, *([name, sha256_file(path)] for name, path, _ in rows)])
    table = pd.DataFrame(rows, columns=["id", "label", "kept"]).assign(fingerprint=mark)
    quality = {
        "images": len(pairs),
        "miou": mean_iou(confusion) if known else np.nan,
        "pixel_accuracy": pixel_accuracy(confusion) if known else np.nan,
        "kept": known / pixels if pixels else np.nan,
        "seconds": round(time.monotonic() - started, 2),
    }
    write_table(out.quality, pd.DataFrame([quality]))
    write_table(out.listing, table)


def class_thresholds(
    answers: Iterable[tuple[np.ndarray, np.ndarray]], classes: int, share: float
) -> np.ndarray:
    """The probability from which on, for each class, `share` of the pixels predicted as it lie.

    CBST's thresholds (Zou et al. 2018, arXiv 1810.07911), to a thousandth, rounded down. `answers`
    are predicted classes and their probabilities, image by image.
    """
    counts = np.zeros((classes, BINS + 1), np.int64)
    for guess, sure in answers:
        places = guess.astype(np.int64) * (BINS + 1) + (sure * BINS).astype(np.int64)
        counts += np.bincount(places.ravel(), minlength=counts.size).reshape(counts.shape)
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels of this bin and of the surer ones
    enough = above >= share * above[:, :1]
    thresholds: np.ndarray = (enough.sum(axis=1) - 1) / BINS
    return thresholds


def _against_truth(pair: Pair, guess_HW: np.ndarray, info: DatasetInfo) -> tuple[np.ndarray, int]:
    """Confusion matrix of the kept pixels that have a class, and how many pixels have one."""
    if pair.label is None:
        return np.zeros((info.num_classes,) * 2, np.int64), 0
    truth = read_label(pair.label, info, pair.label_sha256)
    if truth.shape != guess_HW.shape:  # labels coarser or finer than their images
        rows = np.arange(truth.shape[0]) * guess_HW.shape[0] // truth.shape[0]
        columns = np.arange(truth.shape[1]) * guess_HW.shape[1] // truth.shape[1]
        guess_HW = guess_HW[np.ix_(rows, columns)]
    kept = guess_HW != IGNORE
    matrix = confusion_matrix(truth[kept], guess_HW[kept], info.num_classes)
    return matrix, int((truth < info.num_classes).sum())
