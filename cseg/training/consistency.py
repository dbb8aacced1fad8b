"""Weak-to-strong consistency on unlabelled images, safe for rare classes.

A teacher labels the weak view of an image (crop and flip); where it is confident, its class is the
target of a strong view: distorted colours, a box of another image, dropped feature channels.
Sources: FixMatch (Sohn et al. 2020, arXiv 2001.07685) for the loss, UniMatch (Yang et al. 2023,
arXiv 2208.09910) for its use in segmentation, CutMix (Yun et al. 2019, arXiv 1905.04899; the box
of French et al. 2020, arXiv 1906.01916), the moving average (Tarvainen and Valpola 2017, arXiv
1703.01780), thresholds per class (FreeMatch, Wang et al. 2023, arXiv 2205.07246) and alignment of
the class distribution (ReMixMatch, Berthelot et al. 2020, arXiv 1911.09785), here of the classes
that win a pixel: a rare class may keep its share of the probability and yet win none.
Shapes: B images, K classes, H and W height and width.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cseg.compute.device import to_device
from cseg.compute.ranks import current_share, sum_over_ranks
from cseg.images.distortion import distort
from cseg.images.transforms import IGNORE
from cseg.model.network import Segmenter
from cseg.settings.training import ConsistencySettings

MOST = 10.0  # times that alignment makes a rare class likelier
MEMORY = 0.99  # of the running class statistics, per step
BOX_AREA, BOX_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)  # UniMatch's box, in the image's area and sides


class Consistency(nn.Module):
    """The consistency loss of a step, its teacher (at first `network`) and its class statistics.

    Everything that it remembers is in buffers and in the teacher's weights, so that a saved
    training state holds it. `steps` are those of the whole training.
    """

    done: Tensor
    labelled: Tensor
    predicted: Tensor
    confidence: Tensor

    def __init__(
        self, network: Segmenter, settings: ConsistencySettings, *, classes: int, steps: int
    ) -> None:
        super().__init__()
        self.settings, self.steps = settings, steps
        self.teacher: Segmenter | None = None
        if settings.teacher == "average":
            self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_buffer("labelled", torch.zeros(classes))  # labelled pixels by class, so far
        self.register_buffer("predicted", torch.full((classes,), 1 / classes))
        self.register_buffer("confidence", torch.ones(classes))

    def forward(
        self,
        network: Segmenter,
        labels: Tensor,
        images: Tensor,
        valid: Tensor,
        rng: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The weighted loss, a scalar, and the share of pixels that are confident.

        `labels` are classes of the step's labelled images (B, H, W), for the class distribution;
        `images` are unlabelled, float (B, 3, H, W) in 0..1, and not padded where `valid` (B, H, W).
        """
        targets = self.targets(network, labels, images, valid)
        strong = distort(images, self.settings.distortion, rng, current_share())
        strong, targets, valid = cut_mix([strong, targets, valid], self.settings.cutmix, rng)
        logits = network(strong, dropout=self.settings.feature_dropout)
        rows = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
        total = F.cross_entropy(rows, targets.flatten(), ignore_index=IGNORE, reduction="sum")
        pixels = sum_over_ranks(valid.sum()).clamp(min=1)
        confident = sum_over_ranks((targets != IGNORE).sum()) / pixels
        rise = max(1.0, self.settings.rise * self.steps)  # steps in which the weight rises linearly
        weight = self.settings.weight * ((self.done + 1) / rise).clamp(max=1)
        return weight * total * current_share().ranks / pixels, confident

    @torch.no_grad()
    def targets(self, network: Segmenter, labels: Tensor, images: Tensor, valid: Tensor) -> Tensor:
        """Classes (B, H, W) of confident pixels; the others are ignored."""
        teacher = network if self.teacher is None else self.teacher
        teacher.eval()
        probs = teacher(images).float().softmax(1)
        network.train()
        self.labelled += self._by_class(labels, labels != IGNORE)
        pixels = self._by_class(probs.argmax(1), valid).float()
        self.predicted.lerp_(pixels / pixels.sum().clamp(min=1), 1 - MEMORY)
        if self.settings.align:
            target_share = self.labelled / self.labelled.sum().clamp(min=1)
            ratio = (target_share / self.predicted.clamp(min=1e-6)).clamp(max=MOST)
            probs = probs * ratio[:, None, None]
            probs = probs / probs.sum(1, keepdim=True).clamp(min=1e-12)
        best, guess = probs.max(1)
        threshold = self.settings.threshold * self._ease(best, guess, valid)
        return guess.masked_fill(~valid | (best < threshold[guess]), IGNORE)

    def _by_class(self, classes: Tensor, values: Tensor) -> Tensor:
        """Sum of `values` (B, H, W) over the pixels of each class (K), on all ranks."""
        sums = [(values * (classes == c)).sum() for c in range(len(self.labelled))]
        return sum_over_ranks(torch.stack(sums))

    def _ease(self, best: Tensor, guess: Tensor, valid: Tensor) -> Tensor:
        """Factor of each class's threshold: its mean confidence over that of the surest class."""
        if not self.settings.class_thresholds:
            return torch.ones_like(self.confidence)
        count = self._by_class(guess, valid)
        total = self._by_class(guess, best * valid)
        mean = torch.where(count > 0, total / count.clamp(min=1), self.confidence)
        self.confidence.lerp_(mean, 1 - MEMORY)
        return self.confidence / self.confidence.max()

    @torch.no_grad()
    def after_step(self, network: Segmenter) -> None:
        """Follow the network: average its weights and statistics after an optimiser step."""
        self.done += 1
        if self.teacher is None:
            return
        keep = (1 - 1 / (1 + self.done)).clamp(max=self.settings.decay)
        for mine, theirs in zip(
            self.teacher.state_dict().values(), network.state_dict().values(), strict=True
        ):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)


def cut_mix(parts: Sequence[Tensor], share: float, rng: np.random.Generator) -> list[Tensor]:
    """Replace a box of some images, and of what belongs to them, by that of the image before.

    `parts` are images (B, 3, H, W) and their targets (B, H, W); `share` of the images get a box,
    which `rng` draws on the host.
    """
    ranks = current_share()
    count, (height, width) = len(parts[0]), parts[0].shape[-2:]
    drawn = rng.random((5, count * ranks.ranks))
    mixed, size, aspect, down, right = (ranks.part(row) for row in drawn)
    area = height * width * (BOX_AREA[0] + size * (BOX_AREA[1] - BOX_AREA[0]))
    ratio = np.exp(np.log(BOX_ASPECT[0]) + aspect * np.log(BOX_ASPECT[1] / BOX_ASPECT[0]))
    tall = np.minimum(np.sqrt(area * ratio), height).astype(np.int64)
    wide = np.minimum(np.sqrt(area / ratio), width).astype(np.int64)
    top = (down * (height - tall + 1)).astype(np.int64)
    left = (right * (width - wide + 1)).astype(np.int64)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    inside = np.stack([
        (m < share) & (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)
        for m, y, h, x, w in zip(mixed, top, tall, left, wide, strict=True)
    ])  # fmt: skip
    box = to_device(inside, parts[0].device)
    return [
        torch.where(box[:, None] if part.dim() == 4 else box, part.roll(1, 0), part)
        for part in parts
    ]
