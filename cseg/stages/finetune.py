"""Stage `finetune`: the whole network with cross-entropy on the labelled subset.

It starts where the arm says: from a pretrained network (its projection head dropped, its classifier
new), from ImageNet weights, or from random ones. A contrastive loss may be added to cross-entropy
(contrast_scope), between the pixels of the same batch; it reads a projection head of its own or the
pretrained one. Source: Zhao et al. 2021 (arXiv 2012.06985),
second stage. Shapes: B batch, K classes, H, W.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cseg.compute.device import open_device, to_device
from cseg.compute.ranks import current_share, sum_over_ranks
from cseg.datasets.samples import info_to_json
from cseg.images.distortion import distort
from cseg.images.transforms import IGNORE
from cseg.inference.confusion import validation_miou
from cseg.inference.predict import protocol_settings
from cseg.model.network import Segmenter, compile_features
from cseg.stages.run import (
    Cache,
    read_dataset,
    run_key,
    run_settings,
    split_settings,
    start_network,
    step_batches,
    training_pairs,
    validation_pairs,
)
from cseg.stages.training_outputs import write_training
from cseg.storage.files import sha256_file
from cseg.storage.lists import read_subset
from cseg.storage.provenance import provenance
from cseg.training.contrast import ContrastSettings, attach_contrast
from cseg.training.loop import Validation, train


@dataclass(frozen=True)
class FinetuneSettings:
    """What fine-tuning adds to the loop.

    Attributes:
        distortion: strength of the colour distortion of the training images; 0 for none.
        distortion_share: share of the images that are distorted; the others stay as they are.
        validate_every: steps between measurements of the validation mIoU; 0 measures none.
        report: which weights the run ends with: last, or best on the validation split.
        trained: what learns: all, or the classifier alone on features that stay (a linear probe).
        contrast_scope: scope of a contrastive loss beside cross-entropy; none for cross-entropy
            alone.
        contrast_weight: of that loss.
        contrast_anchors: its anchors: all pixels, or the hard ones, which the classifier gets
            wrong. Source: Wang et al. 2021 (arXiv 2101.11939), hard anchors, all of them instead
            of a sample.
    """

    distortion: float
    distortion_share: float
    validate_every: int
    report: str
    trained: str
    contrast_scope: str
    contrast_weight: float
    contrast_anchors: str


def cross_entropy(logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where all are.

    Under several ranks it is this rank's sum over the pixels that a rank has in the mean, so that
    the ranks' mean is the mean over all their pixels.
    Flat rows keep the backward pass deterministic on a GPU, which 2-D maps do not.
    """
    rows = logits_BKHW.permute(0, 2, 3, 1).flatten(0, 2).float()
    labels = labels_BHW.flatten()
    total = F.cross_entropy(rows, labels, ignore_index=IGNORE, reduction="sum")
    pixels = sum_over_ranks((labels != IGNORE).sum())
    return total * current_share().ranks / pixels.clamp(min=1)


def finetune(
    index_csv: Path,
    dataset_json: Path,
    subset_csv: Path,
    pretrained: Path | None,
    settings: Mapping[str, Any],
    threads: int,
    title: str,
    weights: Path,
    curve_csv: Path,
    cost_json: Path,
    cache: Cache | None = None,
    pseudo_csv: Path | None = None,
) -> None:
    """Fine-tune one arm and write its weights, curve and cost.

    Args:
        index_csv: images and labels, from `index`.
        dataset_json: classes, from `index`.
        subset_csv: the labelled ids, from `subset`.
        pretrained: weights from `pretrain`, or None for an arm without pretraining.
        settings: the arm's resolved config (`cseg.experiment.arm_settings`).
        threads: CPU threads.
        title: names the run in progress lines and messages.
        weights: written; the network with its classifier, the settings and the classes.
        curve_csv: written; step, loss, lr, and val_miou where it is measured.
        cost_json: written; seconds, images_per_second, peak_memory_mib, device.
        cache: from `prepare`, where images are read from it.
        pseudo_csv: from `pseudolabel`, where the arm also trains on pseudo labels.

    Raises:
        CsegError: see the parts; each message is one sentence.
    """
    run = run_settings(settings, threads)
    extra, loop = split_settings("finetune", FinetuneSettings, settings)
    device = open_device(run.compute)
    info, _ = read_dataset(dataset_json)
    share = current_share()
    labelled, subset = read_subset(subset_csv)
    pairs, data = training_pairs(index_csv, subset_csv, cache, pseudo_csv, settings)
    joint = extra.contrast_scope != "none"
    network = start_network(run, info.num_classes, pretrained, keep_projector=joint)
    network.to(device).to(memory_format=torch.channels_last)
    if extra.trained == "classifier":
        network.freeze_features()
    if settings["compile"]:
        compile_features(network)

    contrast = criterion = None
    if joint:
        pretraining, _ = split_settings("pretrain", ContrastSettings, settings)
        contrast = replace(pretraining, scope=extra.contrast_scope)
        channels = run.model.projection_channels
        criterion = attach_contrast(network, contrast, loop, channels, device)

    def step_loss(
        net: Segmenter, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Tensor:
        if extra.distortion > 0:
            drawn = rng.random(len(images) * share.ranks) < extra.distortion_share
            chosen = to_device(share.part(drawn), images.device)
            distorted = distort(images, extra.distortion, rng, share)
            images = torch.where(chosen[:, None, None, None], distorted, images)
        if criterion is None:
            return cross_entropy(net(images), labels)
        feats = net.features(images)
        logits = net.classify(feats, (images.shape[-2], images.shape[-1]))
        hard = logits.argmax(1) != labels if extra.contrast_anchors == "hard" else None
        contrasted = criterion(net.projector(feats).float(), labels, None, rng, hard)
        return cross_entropy(logits, labels) + extra.contrast_weight * contrasted

    start = sha256_file(pretrained) if pretrained else run.init
    key = run_key("finetune", run, loop, extra, data, start, settings["compile"], contrast)
    state = weights.with_suffix(".state")
    batches = step_batches(pairs, info, run, loop)
    validation = None
    if extra.validate_every:
        measure = partial(
            validation_miou, network, validation_pairs(index_csv), info,
            protocol_settings(settings), device,
        )  # fmt: skip
        validation = Validation(extra.validate_every, extra.report == "best", measure)
    board = weights.parent / "tensorboard" / "finetune" if settings["tensorboard"] else None
    curve = train(network, step_loss, batches, loop, device, state, key, title, validation, board)
    if joint:
        del network.contrast
        network.drop_projector()
    if not share.leads:
        return
    facts = {
        "settings": dict(settings),
        "dataset": info_to_json(info),
        "title": title,
        "n": len(labelled),
        "subset_fingerprint": subset,
        "provenance": provenance(),
    }
    write_training("finetune", network, curve, loop, device, weights, curve_csv, cost_json, **facts)
    state.unlink(missing_ok=True)
