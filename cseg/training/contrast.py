"""The contrastive loss of a training step: its grids and its memory.

Shapes: B images, D projected channels, H, W a feature map, h, w the grid, M images remembered.
"""

import numpy as np
import torch
from torch import Tensor, nn

from cseg.compute.ranks import current_share
from cseg.datasets.samples import IGNORE
from cseg.errors import ConfigError
from cseg.losses import PixelContrastLoss
from cseg.settings.training import ContrastSettings, Scope


class Contrast(nn.Module):
    """The pixel contrastive loss of a batch, averaged over its grids.

    With a memory (scope batch) the candidates are the batch's pixels and those of earlier images,
    as they were then: Wang et al. 2020 (arXiv 1912.06798), cross-batch memory. It lies in buffers,
    so that a saved training state holds it. `channels` are those of the projected features.

    Raises:
        ConfigError: a memory under several ranks.
    """

    remembered: Tensor
    remembered_labels: Tensor

    def __init__(self, settings: ContrastSettings, *, scope: Scope, channels: int) -> None:
        super().__init__()
        self.settings, self.scope = settings, scope
        self.pairing = torch.Generator()
        self.losses = [
            PixelContrastLoss(
                scope=scope,
                denominator=settings.denominator,
                temperature=settings.temperature,
                ignore_index=IGNORE,
                grid=grid,
                backend=settings.backend,
                generator=self.pairing,
                gather_distributed=scope == "batch",
            )
            for grid in [settings.grid, *settings.coarse_grids]
        ]
        if settings.memory_images:
            if current_share().ranks > 1:
                raise ConfigError(
                    f"config key pretrain.memory_images is {settings.memory_images}, which needs "
                    "one process; set it 0, or run on one device"
                )
            images = settings.memory_images
            shape = (images, channels, *settings.grid)
            self.register_buffer("remembered", torch.zeros(shape))
            nothing = torch.full((images, *settings.grid), IGNORE)
            self.register_buffer("remembered_labels", nothing)

    def forward(
        self,
        feats_BDHW: Tensor,
        labels: Tensor,
        other_BDHW: Tensor | None,
        rng: np.random.Generator,
        anchors_BHW: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar; labels (B, H', W'), `other_BDHW` the distorted views or None.

        Only pixels where `anchors_BHW` (B, H', W') holds are anchors, where it is given; all are
        candidates.
        Under several ranks with the scope batch, it is the number of ranks times the gradient of
        the whole, which averaging over ranks divides again.
        """
        drawn = int(rng.integers(2**63))
        anchor_labels, other_labels = labels, None
        if anchors_BHW is not None:
            anchor_labels = labels.masked_fill(~anchors_BHW, IGNORE)
            other_BDHW, other_labels = feats_BDHW if other_BDHW is None else other_BDHW, labels
        if self.settings.memory_images:
            return self._with_memory(feats_BDHW, anchor_labels, other_BDHW, labels)
        loss = feats_BDHW.new_zeros((), dtype=torch.float32)
        for criterion in self.losses:
            self.pairing.manual_seed(drawn)  # the same pairs of images on each grid
            loss = loss + criterion(feats_BDHW, anchor_labels, other_BDHW, other_labels)
        loss = loss / len(self.losses)
        if self.scope == "batch":
            loss = loss + (current_share().ranks - 1) * (loss - loss.detach())
        return loss

    def _with_memory(
        self, feats: Tensor, anchor_labels: Tensor, other: Tensor | None, labels: Tensor
    ) -> Tensor:
        criterion = self.losses[0]
        seen, labels = criterion.on_grid(feats if other is None else other, labels)
        feats, anchor_labels = criterion.on_grid(feats, anchor_labels)
        candidates = torch.cat([seen, self.remembered.to(seen.dtype)])
        candidate_labels = torch.cat([labels, self.remembered_labels])
        loss = criterion(feats, anchor_labels, candidates, candidate_labels)
        room = len(self.remembered)
        # Copied: a view would keep, and a saved state hold, what is forgotten.
        self.remembered = candidates[:room].detach().to(self.remembered.dtype, copy=True)
        self.remembered_labels = candidate_labels[:room].clone()
        return loss
