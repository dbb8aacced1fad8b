"""Stage `pretrain`: the network's features from the pixel contrastive loss on the labelled subset.

Source: Zhao et al. 2021 (arXiv 2012.06985), first stage. Shapes: B batch, D channels, H, W.
"""

import numpy as np
import torch
from torch import Tensor

from cseg.compute.device import open_device
from cseg.compute.ranks import current_share
from cseg.datasets.samples import load_info
from cseg.errors import ConfigError
from cseg.images.distortion import distort
from cseg.model.network import Segmenter, compile_features
from cseg.settings.keys import plain
from cseg.settings.run import RunSettings
from cseg.stages.run import (
    RunInputs,
    TrainingOutputs,
    start_network,
    step_batches,
    training_pairs,
    write_training,
)
from cseg.training.contrast import Contrast
from cseg.training.loop import Objective, Training, train


class PretrainObjective(Objective):
    """The contrastive loss between a batch and its colour-distorted views.

    The network's classifier does not learn; `distortion` is the strength of the colour distortion.
    """

    def __init__(self, network: Segmenter, contrast: Contrast, distortion: float) -> None:
        super().__init__()
        self.network, self.contrast, self.distortion = network, contrast, distortion

    def forward(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        """The loss of images (B, 3, H, W) in 0..1 and labels (B, H, W), a scalar."""
        other = distort(images, self.distortion, rng, current_share())
        feats = self.network.features(torch.cat([images, other]))
        projected = self.network.project(feats, self.contrast.settings.grid)
        plain_BDHW, other_BDHW = projected.chunk(2)
        loss: Tensor = self.contrast(plain_BDHW, labels, other_BDHW, rng)
        return loss


def pretrain(
    inputs: RunInputs, settings: RunSettings, *, out: TrainingOutputs, threads: int, title: str
) -> None:
    """Pretrain one arm and write its weights, curve and cost.

    Keys that only fine-tuning and evaluation read do not matter. The weights are those of the whole
    network, projection head included; `title` names the run in progress lines and messages.
    """
    if settings.scope == "none":
        raise ConfigError(f"{title} has scope none, so it has no pretraining; set a scope")
    device = open_device(settings.device, threads, deterministic=settings.deterministic)
    info = load_info(inputs.dataset)
    pairs, data = training_pairs(inputs, settings)
    network = start_network(settings, info.num_classes, pretrained=None, keep_projector=True)
    network.to(device).to(memory_format=torch.channels_last)
    if settings.compile:
        compile_features(network)
    network.classifier.requires_grad_(False)
    contrast = Contrast(
        settings.pretrain, scope=settings.scope, channels=settings.model.projection_channels
    )
    objective = PretrainObjective(network, contrast.to(device), settings.pretrain.distortion)
    training = Training(
        stage="pretrain", settings=settings, title=title, weights=out.weights, device=device,
        threads=threads, data=data,
    )  # fmt: skip
    batches = step_batches(pairs, info, training)
    curve = train(objective, batches, training=training)
    if current_share().leads:
        start = plain(network.start)
        write_training(network, curve, training=training, out=out, start=start)
