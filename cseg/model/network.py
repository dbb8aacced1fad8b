"""DeepLabV3+ with two interchangeable ends: a projection head and a pixel classifier.

Sources: Chen et al. 2018 (arXiv 1802.02611) for the decoder; Zhao et al. 2021 (arXiv 2012.06985)
for the projection head. Shapes: B batch, C channels, K classes, D projected channels, H, W.
"""

import os
import shutil

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from cseg.errors import ConfigError
from cseg.model.encoders import Encoder, build_encoder
from cseg.model.weights import imagenet_encoder
from cseg.settings import ModelSettings


class Segmenter(nn.Module):
    """Encoder, ASPP, decoder; then `project` for pretraining or `forward` for classes."""

    mean: Tensor
    std: Tensor
    projector: nn.Module  # after pretraining an Identity takes its place
    frozen = False

    def __init__(self, encoder: Encoder, settings: ModelSettings, classes: int) -> None:
        super().__init__()
        mean, std = encoder.preprocessing.mean, encoder.preprocessing.std
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.encoder = encoder
        self.aspp = ASPP(encoder.high_channels, list(settings.aspp_rates), settings.aspp_channels)
        self.aspp.project[-1].p = settings.aspp_dropout
        self.reduce = _conv(encoder.low_channels, settings.low_channels, kernel=1)
        joined = settings.aspp_channels + settings.low_channels
        self.decoder = nn.Sequential(
            _conv(joined, settings.decoder_channels, kernel=3),
            _conv(settings.decoder_channels, settings.decoder_channels, kernel=3),
        )
        self.projector = build_projector(
            settings.head, settings.decoder_channels, settings.projection_channels
        )
        self.classifier = nn.Conv2d(settings.decoder_channels, classes, 1)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Decoder features (B, C, H/low_stride, W/low_stride) of RGB images in 0..1."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            low, high = self.encoder((images_BCHW - self.mean) / self.std)
            high = F.interpolate(
                self.aspp(high), size=low.shape[-2:], mode="bilinear", align_corners=False
            )
            return self.decoder(torch.cat([high, self.reduce(low)], dim=1))

    def freeze_features(self) -> None:
        """Leave only the classifier to be trained: the others' weights and statistics stay."""
        self.frozen = True
        self.requires_grad_(False)
        self.classifier.requires_grad_(True)

    def train(self, mode: bool = True) -> "Segmenter":
        """Switch to training; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for part in (self.encoder, self.aspp, self.reduce, self.decoder):
                part.eval()
        return self

    def project(self, images_BCHW: Tensor) -> Tensor:
        """Projected features (B, D, H', W'), not normalised: the contrastive loss does that."""
        return self.projector(self.features(images_BCHW))

    def drop_projector(self) -> None:
        """Leave the projection head out: classes do not need it."""
        self.projector = nn.Identity()

    def classify(self, feats_BCHW: Tensor, size_HW: tuple[int, int]) -> Tensor:
        """Class logits (B, K, *size) of decoder features."""
        logits = self.classifier(feats_BCHW)
        return F.interpolate(logits, size=size_HW, mode="bilinear", align_corners=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Class logits (B, K, H, W) at the resolution of the images, RGB in 0..1."""
        size_HW = (images_BCHW.shape[-2], images_BCHW.shape[-1])
        return self.classify(self.features(images_BCHW), size_HW)


def build_segmenter(settings: ModelSettings, classes: int, init: str) -> Segmenter:
    """Build the network for `classes` classes, its encoder `init` "random" or "imagenet".

    Random numbers come from torch's global generator: seed it before.

    Raises:
        ConfigError: an unknown init, encoder or head.
        TrainingError: ImageNet weights that cannot be had.
    """
    if init not in ("random", "imagenet"):
        raise ConfigError(f"an arm's init is {init!r}; use random or imagenet")
    shape = (settings.encoder, settings.output_stride, settings.low_stride, settings.blocks)
    if init == "imagenet":
        encoder = imagenet_encoder(*shape, settings.weights_file, settings.weights_sha256)
    else:
        encoder = build_encoder(*shape)
    return Segmenter(encoder, settings, classes)


def compile_features(network: Segmenter) -> None:
    """Let torch.compile compile what both stages share; names of weights stay as they are.

    Raises:
        ConfigError: there is no compiler, which torch would say after the first step only.
    """
    on_cpu = next(network.parameters()).device.type == "cpu"
    variable, usual = ("CXX", "g++") if on_cpu else ("CC", "gcc")  # as torch and Triton look for it
    wanted = os.environ.get(variable, usual)
    if shutil.which(wanted) is None:
        raise ConfigError(
            f"config key compile is true but the compiler {wanted} is not found; install it "
            f"(Debian: apt-get install {usual}), name another one in {variable}, or set compile to "
            "false"
        )
    network.features = torch.compile(network.features)  # type: ignore[method-assign]


def build_projector(head: str, channels: int, projected: int) -> nn.Sequential:
    """The projection head: "paper" (arXiv 2012.06985 as restated) or "released" (their code)."""
    if head == "paper":
        return nn.Sequential(
            nn.Conv2d(channels, projected, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(projected, projected, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(projected, projected, 1),
        )
    if head == "released":
        return nn.Sequential(
            nn.Conv2d(channels, projected, 1, bias=False),
            nn.BatchNorm2d(projected),
            nn.ReLU(inplace=True),
            nn.Conv2d(projected, projected, 1),
        )
    raise ConfigError(f"model.head is {head!r}; use paper or released")


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
