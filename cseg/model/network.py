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
from torchvision.ops import Conv2dNormActivation

from cseg.errors import ConfigError
from cseg.model.encoders import Encoder
from cseg.model.weights import Start, start_encoder
from cseg.settings.network import Head, Init, ModelSettings
from cseg.settings.training import Trained


class Segmenter(nn.Module):
    """Encoder, ASPP, decoder; then `project` for pretraining or `forward` for classes.

    Images are normalised as belongs to `start`, the encoder's weights.
    """

    mean: Tensor
    std: Tensor
    projector: nn.Module  # after pretraining an Identity takes its place

    def __init__(
        self, encoder: Encoder, start: Start, settings: ModelSettings, classes: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(start.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(start.std).view(1, 3, 1, 1))
        self.start = start
        self.frozen: tuple[nn.Module, ...] = ()
        self.encoder = encoder
        self.aspp = ASPP(encoder.high_channels, list(settings.aspp_rates), settings.aspp_channels)
        self.aspp.project[-1].p = settings.aspp_dropout
        self.reduce = Conv2dNormActivation(encoder.low_channels, settings.low_channels, 1)
        joined = settings.aspp_channels + settings.low_channels
        self.decoder = nn.Sequential(
            Conv2dNormActivation(joined, settings.decoder_channels, 3),
            Conv2dNormActivation(settings.decoder_channels, settings.decoder_channels, 3),
        )
        self.projector = build_projector(
            settings.head, settings.decoder_channels, settings.projection_channels
        )
        self.classifier = nn.Conv2d(settings.decoder_channels, classes, 1)

    def features(self, images_BCHW: Tensor, dropout: float = 0.0) -> Tensor:
        """Decoder features (B, C, h, w) of RGB images in 0..1, at the stride of the low map.

        `dropout` is the share of the encoder's channels that are left out.
        """
        normalised = (images_BCHW - self.mean) / self.std
        low, high = self.encoder(normalised)
        if dropout:
            low, high = F.dropout2d(low, dropout), F.dropout2d(high, dropout)
        high = F.interpolate(
            self.aspp(high), size=low.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.decoder(torch.cat([high, self.reduce(low)], dim=1))

    def freeze(self, trained: Trained) -> None:
        """Leave only a part to be trained: the others' weights and statistics stay.

        With decoder everything behind the encoder is trained; with classifier it is a linear probe.
        """
        self.frozen = {
            "all": (),
            "decoder": (self.encoder,),
            "classifier": (self.encoder, self.aspp, self.reduce, self.decoder),
        }[trained]
        for part in self.frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Segmenter":
        """Switch to training; what is frozen stays in evaluation mode."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def project(self, feats_BCHW: Tensor, grid_HW: tuple[int, int]) -> Tensor:
        """Projected features (B, D, *grid) of decoder features, not normalised.

        They are first resized to the grid, as the authors' release does: bilinear, corners aligned.
        """
        if feats_BCHW.shape[-2:] != grid_HW:
            feats_BCHW = F.interpolate(feats_BCHW, grid_HW, mode="bilinear", align_corners=True)
        return self.projector(feats_BCHW)

    def drop_projector(self) -> None:
        """Leave the projection head out: classes do not need it."""
        self.projector = nn.Identity()

    def classify(self, feats_BCHW: Tensor, size_HW: tuple[int, int]) -> Tensor:
        """Class logits (B, K, *size) of decoder features."""
        logits = self.classifier(feats_BCHW)
        return F.interpolate(logits, size=size_HW, mode="bilinear", align_corners=False)

    def forward(self, images_BCHW: Tensor, dropout: float = 0.0) -> Tensor:
        """Class logits (B, K, H, W) at the resolution of the images, RGB in 0..1."""
        size_HW = (images_BCHW.shape[-2], images_BCHW.shape[-1])
        return self.classify(self.features(images_BCHW, dropout), size_HW)


def build_segmenter(settings: ModelSettings, classes: int, init: Init) -> Segmenter:
    """Build the network for `classes` classes, its encoder starting from `init`.

    Random numbers come from torch's global generator: seed it before.

    Raises:
        ConfigError: an unknown init, encoder or head, or maps that the encoder does not have.
        TrainingError: weights that cannot be had or do not fit.
    """
    maps = settings.maps.get(settings.encoder)
    encoder, start = start_encoder(settings.encoder, settings.output_stride, maps, init)
    return Segmenter(encoder, start, settings, classes)


def compile_features(network: Segmenter) -> None:
    """Let torch.compile compile what both stages share; names of weights stay as they are.

    Raises:
        ConfigError: there is no compiler, which torch would say after the first step only.
    """
    on_cpu = next(network.parameters()).device.type == "cpu"
    variable, usual = ("CXX", "g++") if on_cpu else ("CC", "gcc")  # as torch and Triton look for it
    compiler = os.environ.get(variable, usual)
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"config key compile is true but the compiler {compiler} is not found; install it "
            f"(Debian: apt-get install {usual}), name another one in {variable}, or set compile to "
            "false"
        )
    network.features = torch.compile(network.features)  # type: ignore[method-assign]


def build_projector(head: Head, channels: int, projected: int) -> nn.Sequential:
    """The projection head: "paper" (arXiv 2012.06985 as restated) or "released" (their code)."""
    if head == "paper":
        return nn.Sequential(
            nn.Conv2d(channels, projected, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(projected, projected, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(projected, projected, 1),
        )
    if head != "released":
        raise ConfigError(f"model.head is {head!r}; use paper or released")
    return nn.Sequential(
        nn.Conv2d(channels, projected, 1, bias=False),
        nn.BatchNorm2d(projected),
        nn.ReLU(inplace=True),
        nn.Conv2d(projected, projected, 1),
    )
