"""Keys of the images as the network sees them, and of the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cseg.settings.keys import key

Head = Literal["paper", "released"]
Size = tuple[int, int]  # height and width
CHANNELS = {"ge": 1, "le": 4096}
NAME = "[A-Za-z0-9_]+"
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

    encoder: str = key(
        "architecture of the encoder, by timm's name: resnet50, convnext_tiny, "
        "vit_small_patch14_dinov2, ...",
        default="tf_efficientnet_lite0", pattern=NAME, wants="one of timm's names without a tag",
    )  # fmt: skip
    output_stride: int = key(
        "input pixels per pixel of the encoder's last map in use; strides beyond it become "
        "dilations if the encoder can be dilated",
        default=8, ge=1, le=64, unit="pixels",
    )  # fmt: skip
    maps: Mapping[str, tuple[int, int] | None] = key(
        "by encoder, the numbers of the two feature maps in use, the finer one first, from 0; what "
        "comes behind is cut off. An encoder that is not named keeps all of it: its last map of at "
        "most stride 4 (of equal strides the one in the middle) and its last one",
        default={"tf_efficientnet_lite0": (1, 2)}, names=NAME, named="the name of an encoder",
        values={"ge": 0, "wants": "the numbers of two maps, the finer one first, or null"},
        wants="a mapping from encoders to the numbers of two maps",
    )  # fmt: skip
    aspp_channels: int = key("channels of the atrous spatial pyramid", default=64, **CHANNELS)
    aspp_rates: tuple[int, ...] = key(
        "dilation rates of the atrous spatial pyramid", default=(1, 2, 3), ge=1, least=1
    )
    aspp_dropout: float = key(
        "share of the pyramid's outputs dropped in training; DeepLab's is 0.1",
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


@dataclass(frozen=True, kw_only=True)
class GivenWeights:
    """Weights that an arm names as its start."""

    weights: str = key(
        "weights by timm's name with its tag, such as resnet50.tv2_in1k, or a file: a state dict, "
        "alone or inside a training checkpoint"
    )
    sha256: str | None = key(
        "checksum of the file; a file of your own needs it",
        default=None, pattern="[0-9a-f]{64}", wants="64 hex digits",
    )  # fmt: skip
    data: str | None = key(
        "what a file was trained on, and with which labels, for the rows of results", default=None
    )
    licence: str | None = key("licence of a file, for the rows of results", default=None)
    mean: tuple[float, float, float] | None = key(
        "mean per channel, of RGB in 0..1, that a file's weights expect; null takes that of timm's "
        "default weights of the encoder",
        default=None,
    )
    std: tuple[float, float, float] | None = key(
        "standard deviation per channel, as mean", default=None, gt=0
    )


Init = Literal["random", "imagenet"] | GivenWeights
INIT = "random, imagenet, or a mapping with weights and, for a file, sha256"


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """A network and where its encoder starts."""

    model: ModelSettings
    init: Init = key("start of the encoder", wants=INIT)
