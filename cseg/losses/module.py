"""The loss as a module: resizes to a grid, normalises, then contrasts."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cseg.losses.checks import (
    LossInputError,
    check_options,
    check_tensor,
    checked_grid,
    checked_ignored,
    checked_temperature,
    flatten_pixels,
)
from cseg.losses.pixel_contrast import pixel_contrast_loss
from cseg.losses.unit import normalized, wide


class PixelContrastLoss(nn.Module):
    """`pixel_contrast_loss` as a module: resizes to a grid, normalises, then contrasts.

    Features that are NaN or infinite where the label is ignored count as 0 when they are resized,
    so that they do not spread; the labels are brought to the features' size (nearest) for that.
    Options that are not listed here are those of `pixel_contrast_loss`.

    Args:
        grid: (height, width) that features (bilinear) and labels (nearest), both with
            align_corners=True as in the authors' release, are resized to; one number for a square,
            None leaves them.
        normalize: scale every pixel's feature vector to length 1.
        temperature: divides the similarities; an nn.Parameter is learned with the network.
    """

    def __init__(
        self,
        grid: int | Sequence[int] | None = (65, 65),
        *,
        normalize: bool = True,
        scope: str = "within",
        denominator: str = "all",
        temperature: float | Tensor = 0.07,
        ignore_index: int | Sequence[int] | None = 255,
        generator: torch.Generator | None = None,
        backend: str = "auto",
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        check_options(scope, denominator, backend, gather_distributed)
        checked_ignored(ignore_index)
        self.grid = checked_grid(grid)
        self.normalize = normalize
        self.scope = scope
        self.denominator = denominator
        self.temperature = checked_temperature(temperature)
        self.ignore_index = ignore_index
        self.generator = generator
        self.backend = backend
        self.gather_distributed = gather_distributed

    def forward(
        self,
        feats: Tensor,
        labels: Tensor,
        other_feats: Tensor | None = None,
        other_labels: Tensor | None = None,
        partner: Tensor | Sequence[int] | None = None,
    ) -> Tensor:
        """Loss of features (B,D,H,W) and labels (B,H',W'), and of their distorted views if given.

        Features and labels need the same height and width only where `grid` is None; (B,P,D)
        features and (B,P) labels are taken then, too.
        """
        seen = labels if other_labels is None else other_labels
        feats, labels = self._resized("feats", feats, "labels", labels)
        if other_feats is not None:
            other_feats, other_labels = self._resized(
                "other_feats", other_feats, "other_labels", seen
            )
        return pixel_contrast_loss(
            feats,
            labels,
            other_feats,
            other_labels,
            scope=self.scope,
            denominator=self.denominator,
            temperature=self.temperature,
            ignore_index=self.ignore_index,
            partner=partner,
            generator=self.generator,
            backend=self.backend,
            gather_distributed=self.gather_distributed,
            normalize=self.normalize,
        )

    def on_grid(self, feats: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Features and labels as `forward` compares them: resized, features normalised.

        Normalised features are 0 at ignored pixels.
        """
        feats, labels = self._resized("feats", feats, "labels", labels)
        flatten_pixels("feats", feats, "labels", labels, ())  # refuses what does not fit
        if not self.normalize:
            return feats, labels
        return normalized(feats, self._ignored(labels), 1 if feats.dim() == 4 else 2), labels

    def extra_repr(self) -> str:
        """List the options, for print(module)."""
        names = "grid normalize scope denominator temperature ignore_index backend"
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names.split())

    def _resized(
        self, name: str, feats: Tensor, labels_name: str, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        check_tensor(name, feats)
        check_tensor(labels_name, labels)
        if self.grid is not None:
            if not feats.is_floating_point() or feats.dim() != 4 or labels.dim() != 3:
                raise LossInputError(
                    f"{name} must be (B,D,H,W) of a float dtype and {labels_name} (B,H,W) to be "
                    f"resized to grid={self.grid}, not {tuple(feats.shape)} {feats.dtype} and "
                    f"{tuple(labels.shape)}; give grid=None for (B,P,D)"
                )
            if feats.shape[2:] != self.grid:
                broken = self._ignored(nearest(labels, feats.shape[2], feats.shape[3]))
                broken = broken & ~feats.detach().sum(1).isfinite()
                whole = feats.masked_fill(broken[:, None], 0).to(wide(feats.dtype))
                whole = F.interpolate(whole, self.grid, mode="bilinear", align_corners=True)
                feats = whole.to(feats.dtype)
            labels = nearest(labels, *self.grid)
        if feats.device.type == "cpu":  # the layout decides in which order a length is summed up
            feats = feats.contiguous()
        return feats, labels

    def _ignored(self, labels: Tensor) -> Tensor:
        labels = labels.long()
        ignored = torch.zeros_like(labels, dtype=torch.bool)
        for value in checked_ignored(self.ignore_index):
            ignored = ignored | (labels == value)
        return ignored


def nearest(labels: Tensor, height: int, width: int) -> Tensor:
    """Labels (B,H,W) resized to (B,height,width): nearest, with aligned corners."""
    if labels.shape[1:] == (height, width):
        return labels
    rows = _nearest_corners(labels.shape[1], height, labels.device)
    cols = _nearest_corners(labels.shape[2], width, labels.device)
    return labels[:, rows[:, None], cols]


def _nearest_corners(size: int, out: int, device: torch.device) -> Tensor:
    """Source index of each of `out` positions, first and last on the corners, halves rounded up."""
    steps = max(out - 1, 1)
    return (2 * torch.arange(out, device=device) * (size - 1) + steps) // (2 * steps)
