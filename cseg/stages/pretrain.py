"""Stage `pretrain`: the network's features from the pixel contrastive loss on the labelled subset.

Source: Zhao et al. 2021 (arXiv 2012.06985), first stage. Shapes: B batch, D channels, H, W.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cseg.compute.device import open_device
from cseg.compute.ranks import current_share
from cseg.images.distortion import distort
from cseg.model.network import Segmenter, build_segmenter, compile_features
from cseg.stages.run import (
    Cache,
    read_dataset,
    run_key,
    run_settings,
    split_settings,
    step_batches,
    training_pairs,
)
from cseg.stages.training_outputs import write_training
from cseg.training.contrast import ContrastSettings, attach_contrast
from cseg.training.loop import train


def pretrain(
    index_csv: Path,
    dataset_json: Path,
    subset_csv: Path,
    settings: Mapping[str, Any],
    threads: int,
    title: str,
    weights: Path,
    curve_csv: Path,
    cost_json: Path,
    cache: Cache | None = None,
    pseudo_csv: Path | None = None,
) -> None:
    """Pretrain one arm and write its weights, curve and cost.

    Args:
        index_csv: images and labels, from `index`.
        dataset_json: classes, from `index`.
        subset_csv: the labelled ids, from `subset`.
        settings: the arm's resolved config (`cseg.experiment.arm_settings`).
        threads: CPU threads.
        title: names the run in progress lines and messages.
        weights: written; the whole network, projection head included.
        curve_csv: written; step, loss, lr.
        cost_json: written; seconds, images_per_second, peak_memory_mib, device.
        cache: from `prepare`, where images are read from it.
        pseudo_csv: from `pseudolabel`, where the arm also trains on pseudo labels.

    Raises:
        CsegError: see the parts; each message is one sentence.
    """
    run = run_settings(settings, threads)
    contrast, loop = split_settings("pretrain", ContrastSettings, settings)
    device = open_device(run.compute)
    info, _ = read_dataset(dataset_json)
    pairs, subset = training_pairs(index_csv, subset_csv, cache, pseudo_csv, settings)
    torch.manual_seed(run.seed)
    network = build_segmenter(run.model, info.num_classes, run.init)
    network.to(device).to(memory_format=torch.channels_last)
    if settings["compile"]:
        compile_features(network)
    network.classifier.requires_grad_(False)
    share = current_share()
    channels = run.model.projection_channels
    criterion = attach_contrast(network, contrast, loop, channels, device)

    def step_loss(
        net: Segmenter, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> Tensor:
        other = distort(images, contrast.distortion, rng, share)
        feats = net.project(torch.cat([images, other])).float()
        plain_BDHW, other_BDHW = feats.chunk(2)
        return criterion(plain_BDHW, labels, other_BDHW, rng)

    key = run_key("pretrain", run, loop, contrast, subset, settings["compile"])
    state = weights.with_suffix(".state")
    batches = step_batches(pairs, info, run, loop)
    board = weights.parent / "tensorboard" / "pretrain" if settings["tensorboard"] else None
    curve = train(network, step_loss, batches, loop, device, state, key, title, None, board)
    del network.contrast
    if not share.leads:
        return
    write_training("pretrain", network, curve, loop, device, weights, curve_csv, cost_json)
    state.unlink(missing_ok=True)
