"""Both stages as one writes them first: what benchmarks/step.py measures ours against.

Images are decoded and transformed one by one for every batch, by torchvision's own transforms as
in its references/segmentation presets; float32, NCHW, eager; the dense loss; the loss is read after
every step. Shapes: B batch, H, W.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import chain, repeat

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

from cseg.datasets.samples import DatasetInfo
from cseg.losses import PixelContrastLoss
from cseg.model.network import build_segmenter
from cseg.settings.network import ImageSettings, ModelSettings
from cseg.settings.run import RunSettings
from cseg.stages.run import RunInputs, labelled_pairs
from cseg.training.sampling import Pair

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PlainPairs(Dataset):
    """Pairs as float images, their distorted views and labels, fresh at every visit."""

    def __init__(
        self, pairs: Sequence[Pair], label_map: Mapping[int, int], image: ImageSettings
    ) -> None:
        low, high = (round(f * (image.short_side or image.crop[0])) for f in image.scale)
        self.pairs = list(pairs)
        self.lookup = np.full(256, 255, np.uint8)
        self.lookup[list(label_map)] = list(label_map.values())
        self.geometry = v2.Compose([
            v2.RandomResize(low, high + 1),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomCrop(image.crop, pad_if_needed=True, fill={Mask: 255, "others": 0}),
        ])  # fmt: skip
        jitter = v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8)
        self.colour = v2.Compose([jitter, v2.RandomGrayscale(0.2)])
        self.finish = v2.Compose(
            [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, Tensor]:
        pair = self.pairs[item]
        image = Image.open(pair.image).convert("RGB")
        label = Mask(self.lookup[np.array(Image.open(pair.label))])
        image, label = self.geometry(image, label)
        return self.finish(image), self.finish(self.colour(image)), label.long()


class TorchvisionNetwork(nn.Module):
    """torchvision's deeplabv3_resnet50, its head for classes or for projected features."""

    def __init__(self, classes: int, projected: int) -> None:
        super().__init__()
        self.network = deeplabv3_resnet50(
            weights=None, weights_backbone=None, num_classes=classes, aux_loss=False
        )
        self.head = DeepLabHead(2048, projected)

    def features(self, images: Tensor) -> Tensor:
        """The backbone's features."""
        return self.network.backbone(images)["out"]

    def project(self, feats: Tensor, grid: tuple[int, int]) -> Tensor:
        """Projected features, resized to the grid."""
        return F.interpolate(self.head(feats), grid, mode="bilinear")

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the resolution of the images."""
        return self.network(images)["out"]


def plain_network(model: ModelSettings, classes: int, torchvisions: bool) -> nn.Module:
    """The network of the settings, or torchvision's of about its size."""
    if torchvisions:
        return TorchvisionNetwork(classes, model.projection_channels)
    return build_segmenter(model, classes, "random")


def plain_steps(
    stage: str,
    settings: RunSettings,
    inputs: RunInputs,
    info: DatasetInfo,
    torchvisions: bool,
    device: torch.device,
    count: int,
) -> list[float]:
    """Seconds of each of `count` steps of a stage, loading included."""
    loop, contrasted = getattr(settings, stage), settings.pretrain
    network = plain_network(settings.model, info.num_classes, torchvisions).to(device).train()
    optimizer = torch.optim.SGD(
        network.parameters(), loop.lr, loop.momentum, weight_decay=loop.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
    contrast = PixelContrastLoss(
        contrasted.grid,
        scope=settings.scope if stage == "pretrain" else "within",
        denominator=contrasted.denominator,
        temperature=contrasted.temperature,
        backend="dense",
    )
    data = PlainPairs(labelled_pairs(inputs)[0], info.label_map, settings.image)
    loader = DataLoader(data, loop.batch, shuffle=True, drop_last=True)
    batches = chain.from_iterable(repeat(loader))
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        images, views, labels = (part.to(device) for part in next(batches))
        if stage == "pretrain":
            feats = network.project(network.features(torch.cat([images, views])), contrasted.grid)
            loss = contrast(feats[: len(images)], labels, feats[len(images) :])
        else:
            logits = network(images)
            logits = F.interpolate(logits, labels.shape[-2:], mode="bilinear")
            loss = F.cross_entropy(logits, labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        loss.item()
        seconds.append(time.perf_counter() - started)
    return seconds
