"""Stage `finetune`: the whole network with cross-entropy on the labelled subset.

It starts where the arm says: from a pretrained network (its projection head dropped, its classifier
new), from ImageNet weights, or from random ones. A contrastive loss may be added to cross-entropy
(contrast_scope), between the pixels of the same batch; it reads a projection head of its own or the
pretrained one. Source: Zhao et al. 2021 (arXiv 2012.06985), second stage.
Shapes: B batch, K classes, H, W.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cseg.compute.device import open_device, to_device
from cseg.compute.ranks import current_share, sum_over_ranks
from cseg.datasets.samples import IGNORE, info_to_json, load_info
from cseg.images.distortion import distort
from cseg.inference.metrics import validation_miou
from cseg.inference.predict import ProtocolSettings
from cseg.model.network import Segmenter, compile_features
from cseg.settings.keys import plain
from cseg.settings.run import RunSettings
from cseg.settings.training import FinetuneSettings
from cseg.stages.run import (
    RunInputs,
    TrainingOutputs,
    consistency_pairs,
    start_network,
    step_batches,
    training_pairs,
    validation_pairs,
    write_training,
)
from cseg.storage.files import sha256_file
from cseg.storage.index_and_subset import read_subset
from cseg.storage.provenance import provenance
from cseg.training.consistency import Consistency
from cseg.training.contrast import Contrast
from cseg.training.loop import Objective, Training, train


def cross_entropy(logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where all are.

    Under several ranks the ranks' mean is the mean over all their pixels. Flat rows keep the
    backward pass deterministic on a GPU, which 2-D maps do not.
    """
    rows = logits_BKHW.permute(0, 2, 3, 1).flatten(0, 2).float()
    labels = labels_BHW.flatten()
    total = F.cross_entropy(rows, labels, ignore_index=IGNORE, reduction="sum")
    pixels = sum_over_ranks((labels != IGNORE).sum())
    return total * current_share().ranks / pixels.clamp(min=1)


class FinetuneObjective(Objective):
    """Cross-entropy; the settings may add a contrastive and a consistency loss to it."""

    def __init__(
        self,
        network: Segmenter,
        settings: FinetuneSettings,
        contrast: Contrast | None = None,
        consistency: Consistency | None = None,
    ) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        self.contrast, self.consistency = contrast, consistency

    @property
    def measures(self) -> tuple[str, ...]:
        """What the curve shows next to the loss."""
        return ("labelled_loss", "consistency_loss", "confident") if self.consistency else ()

    def after_step(self) -> None:
        """Let the teacher follow the network."""
        if self.consistency is not None:
            self.consistency.after_step(self.network)

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        rng: np.random.Generator,
        unlabelled: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar; with consistency a vector (4): the loss and its measures.

        Images are float (B, 3, H, W) in 0..1, labels classes (B, H, W); `padding` (B, H, W) is
        ignored where unlabelled images are padded. `rng` draws distortions and strong views.
        """
        labelled = self._labelled_loss(images, labels, rng)
        if self.consistency is None or unlabelled is None or padding is None:
            return labelled
        added, confident = self.consistency(
            self.network, labels, unlabelled, padding != IGNORE, rng
        )
        parts = [part.detach() for part in (labelled, added, confident)]
        return torch.stack([labelled + added, *parts])

    def _labelled_loss(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        if self.settings.distortion:  # of some images
            share = current_share()
            drawn = rng.random(len(images) * share.ranks) < self.settings.distortion_share
            chosen = to_device(share.part(drawn), images.device)
            distorted = distort(images, self.settings.distortion, rng, share)
            images = torch.where(chosen[:, None, None, None], distorted, images)
        if self.contrast is None:
            return cross_entropy(self.network(images), labels)
        feats = self.network.features(images)
        logits = self.network.classify(feats, (images.shape[-2], images.shape[-1]))
        hard = logits.argmax(1) != labels if self.settings.contrast_anchors == "hard" else None
        projected = self.network.project(feats, self.contrast.settings.grid)
        contrasted: Tensor = self.contrast(projected, labels, None, rng, hard)
        return cross_entropy(logits, labels) + self.settings.contrast_weight * contrasted


def finetune(
    inputs: RunInputs, settings: RunSettings, *, out: TrainingOutputs, threads: int, title: str
) -> None:
    """Fine-tune one arm and write its weights, curve and cost.

    Without `inputs.pretrained` the arm's init is the start. The weights are those of the network
    with its classifier, with the settings and the classes; `title` names the run in progress lines
    and messages.
    """
    own = settings.finetune
    device = open_device(settings.device, threads, deterministic=settings.deterministic)
    info = load_info(inputs.dataset)
    labelled, subset = read_subset(inputs.subset)
    pairs, data = training_pairs(inputs, settings)
    unlabelled, more = consistency_pairs(inputs, settings)
    network = start_network(
        settings, info.num_classes, pretrained=inputs.pretrained,
        keep_projector=own.contrast_scope != "none",
    )  # fmt: skip
    network.to(device).to(memory_format=torch.channels_last)
    network.freeze(own.trained)
    consistency = None
    if own.consistency.weight:
        consistency = Consistency(
            network, own.consistency, classes=info.num_classes, steps=own.steps
        ).to(device)
    if settings.compile:
        compile_features(network)
    contrast = None
    if own.contrast_scope != "none":
        channels = settings.model.projection_channels
        contrast = Contrast(settings.pretrain, scope=own.contrast_scope, channels=channels)
        contrast.to(device)
    training = Training(
        stage="finetune", settings=settings, title=title, weights=out.weights, device=device,
        threads=threads, data=data + more,
        start=sha256_file(inputs.pretrained) if inputs.pretrained else "",
    )  # fmt: skip
    miou = None
    if own.validate_every:
        miou = partial(
            validation_miou, network, validation_pairs(inputs.index), info,
            ProtocolSettings.of(settings),
        )  # fmt: skip
    objective = FinetuneObjective(network, own, contrast, consistency)
    batches = step_batches(pairs, info, training, unlabelled)
    curve = train(objective, batches, training=training, miou=miou)
    if not current_share().leads:
        return
    if contrast is not None:
        network.drop_projector()
    facts = {
        "settings": plain(settings),
        "start": plain(network.start),
        "dataset": info_to_json(info),
        "title": title,
        "n": len(labelled),
        "subset_fingerprint": subset,
        "provenance": provenance(),
    }
    write_training(network, curve, training=training, out=out, **facts)
