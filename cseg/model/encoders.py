"""Encoders by timm: an image to a fine feature map and a coarse one.

Shapes: B batch, C channels, H and W height and width, h and w those of a feature map.
"""

import difflib
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cseg.errors import ConfigError

LOW_STRIDE = 4  # of the map that DeepLabV3+ joins in its decoder


class Encoder(nn.Module):
    """A timm network, cut behind the later of the two feature maps in use.

    Networks that do not pad (vision transformers, ConvNeXt) would cut the border of an image whose
    sides their stride does not divide: it is first resized up to the next multiple, bilinear, so
    that the maps cover exactly the image.

    Attributes:
        low_channels, high_channels: channels of the two maps.
        low_stride, high_stride: input pixels per pixel of the two maps.
        multiple: what the sides of an image are resized to a multiple of.
    """

    def __init__(self, net: Any, maps: tuple[int, int]) -> None:
        super().__init__()
        self.net, self.maps = net, maps
        info = [net.feature_info[index] for index in maps]
        self.low_channels, self.high_channels = (part["num_chs"] for part in info)
        self.low_stride, self.high_stride = (part["reduction"] for part in info)
        self.multiple = self.high_stride

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocessed images, float (B, 3, H, W), to the low and the high map (B, C, h, w)."""
        sides = images_BCHW.shape[-2:]
        size = [math.ceil(side / self.multiple) * self.multiple for side in sides]
        if size != list(sides):
            images_BCHW = F.interpolate(images_BCHW, size, mode="bilinear", align_corners=False)
        maps = self.net.forward_intermediates(
            images_BCHW, indices=list(self.maps), intermediates_only=True
        )
        return maps[0], maps[-1]  # one map where both are the same


def cut_encoder(net: Any, name: str, output_stride: int, maps: tuple[int, int] | None) -> Encoder:
    """The encoder of a network from `build_network`, which is cut in place.

    `maps` are the numbers of the low and the high map among the network's feature maps, from 0;
    what comes behind the high map is left out, and its stride must be `output_stride`. None takes
    the last map of at most stride 4 and the last one; of a network whose maps have one stride (a
    plain vision transformer), the one in the middle and the last one.

    Raises:
        ConfigError: a stride or map that the network does not have.
    """
    strides = [part["reduction"] for part in net.feature_info]
    low, high = maps or _usual_maps(strides)
    if not 0 <= low <= high < len(strides):
        raise ConfigError(
            f"config key model.maps has [{low}, {high}] for {name}, which has maps 0 to "
            f"{len(strides) - 1}; give two of them, the finer one first"
        )
    if strides[high] != output_stride:
        raise ConfigError(
            f"config key model.output_stride is {output_stride}, but the maps of {name} have "
            f"strides {', '.join(map(str, strides))}; choose the stride of its map {high}, "
            f"{strides[high]}, or name other maps in model.maps"
        )
    encoder = Encoder(net, (low, high))
    _try_sizes(encoder, name)
    encoder.maps = tuple(net.prune_intermediate_layers([low, high], prune_head=True))
    return encoder


def build_network(name: str, output_stride: int) -> Any:
    """The network that timm calls `name` (without a tag), without a classifier: an nn.Module.

    Where the network allows it, strides beyond `output_stride` become dilations (DeepLab, arXiv
    1706.05587). It has timm's `feature_info`, `forward_intermediates` and
    `prune_intermediate_layers`.

    Raises:
        ConfigError: a name that timm does not know, or a network without feature maps.
    """
    import timm  # late: only processes that build a network pay for it

    if "." in name or not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), 3, 0.4)
        raise ConfigError(
            f"config key model.encoder is {name!r}, which timm does not know; "
            f"choose one of its names, for example {', '.join(near or ['resnet50'])}"
        )
    net = None
    for options in ({"output_stride": output_stride}, {"dynamic_img_size": True}, {}):
        # what an option raises that the network does not have
        with suppress(TypeError, AssertionError, NotImplementedError):
            net = timm.create_model(name, num_classes=0, **options)
            break
    if net is None or not hasattr(net, "prune_intermediate_layers"):
        raise ConfigError(
            f"config key model.encoder is {name!r}, which gives no feature maps; choose a network "
            "that does, such as a ResNet, a ConvNeXt or a plain vision transformer"
        )
    return net


def _usual_maps(strides: Sequence[int]) -> tuple[int, int]:
    last = len(strides) - 1
    if len(set(strides)) == 1:
        return max(last // 2, 0), last
    return max([i for i, stride in enumerate(strides) if stride <= LOW_STRIDE], default=0), last


def _try_sizes(encoder: Encoder, name: str) -> None:
    """Run small images through; if the network pads, those of any size reach it as they are."""
    encoder.eval()
    sides = 2 * encoder.high_stride, 3 * encoder.high_stride
    if not _gives_maps(encoder, sides):
        raise ConfigError(
            f"config key model.encoder is {name!r}, which does not take images of any size, or "
            "whose maps have other strides than timm lists; choose another"
        )
    encoder.multiple = 1
    if not _gives_maps(encoder, (sides[0] + 1, sides[1] + 1)):
        encoder.multiple = encoder.high_stride
    encoder.train()


def _gives_maps(encoder: Encoder, sides: tuple[int, int]) -> bool:
    try:
        with torch.no_grad():
            maps = encoder(torch.zeros(1, 3, *sides))
    except (RuntimeError, AssertionError, ValueError):  # what networks of one size raise
        return False
    channels = encoder.low_channels, encoder.high_channels
    strides = encoder.low_stride, encoder.high_stride
    return [tuple(x.shape[1:]) for x in maps] == [
        (c, *(math.ceil(side / stride) for side in sides)) for c, stride in zip(channels, strides)
    ]
