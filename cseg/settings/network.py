"""Keys of the images as the network sees them, and of the network."""

from dataclasses import dataclass
from typing import Literal

from cseg.settings.keys import key

Encoder = Literal["efficientnet_lite0", "resnet18", "resnet50", "resnet101"]
Init = Literal["random", "imagenet"]
Head = Literal["paper", "released"]
Size = tuple[int, int]  # height and width
CHANNELS = {"ge": 1, "le": 4096}
SIDE = {"ge": 2, "le": 4096, "unit": "pixels"}


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """How images reach the network, the same in every arm."""

    short_side: int | None = key(
        "shorter side that images and labels are resized to when they are read; null keeps the "
        "size",
        default=None, ge=16, unit="pixels",
    )  # fmt: skip
    crop: Size = key("height and width of a training crop", default=(48, 48), **SIDE)
    scale: tuple[float, float] = key(
        "lowest and highest random scale factor", default=(0.8, 1.25), gt=0, le=10
    )
    flip: bool = key("whether half of the crops are mirrored left to right", default=True)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The network, the same in every arm."""

    encoder: Encoder = key("architecture of the encoder", default="efficientnet_lite0")
    blocks: int | None = key(
        "blocks of efficientnet_lite0's 16 to keep; null keeps all, and is the only choice for "
        "ResNets",
        default=5, ge=3, le=16,
    )  # fmt: skip
    output_stride: Literal[8, 16, 32] = key(
        "input pixels per pixel of the encoder's last map", default=8
    )
    low_stride: Literal[2, 4] = key("input pixels per pixel of the decoder's map", default=4)
    aspp_channels: int = key("channels of the atrous spatial pyramid", default=64, **CHANNELS)
    aspp_rates: tuple[int, ...] = key(
        "dilation rates of the atrous spatial pyramid", default=(1, 2, 3), ge=1, least=1
    )
    aspp_dropout: float = key(
        "share of the pyramid's outputs dropped in training; DeepLab's is 0.5",
        default=0.1, ge=0, lt=1,
    )  # fmt: skip
    low_channels: int = key(
        "channels the early map is reduced to before it joins the decoder", default=24, **CHANNELS
    )
    decoder_channels: int = key(
        "channels of the decoder, and so of the features both heads read", default=64, **CHANNELS
    )
    head: Head = key(
        "projection head: paper (three 1x1 convolutions, ReLU after the first two) or released "
        "(two, batch norm and ReLU after the first)",
        default="paper",
    )
    projection_channels: int = key("channels of the projection head", default=64, **CHANNELS)
    weights_file: str | None = key(
        "a local file of ImageNet weights instead of the published ones",
        default=None, wants="a path",
    )  # fmt: skip
    weights_sha256: str | None = key(
        "checksum of weights_file", default=None, pattern="[0-9a-f]{64}", wants="64 hex digits"
    )
