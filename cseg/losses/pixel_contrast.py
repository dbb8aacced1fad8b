"""Label-based contrast between the pixels of images: the public function and its nn.Module face."""

import math
import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cseg.losses import gather
from cseg.losses import scopes as forms
from cseg.losses.checks import (
    LossInputError,
    check_choice,
    check_views,
    checked_partner,
    flatten_pixels,
)

SCOPES = ("within", "cross", "batch")
DENOMINATORS = ("all", "negatives")
BACKENDS = ("auto", "dense", "tiled", "triton")
TRITON_CHANNELS = 512  # a pixel's features must fit into a block of a kernel


def pixel_contrast_loss(
    feats: Tensor,
    labels: Tensor,
    other_feats: Tensor | None = None,
    other_labels: Tensor | None = None,
    *,
    scope: str = "within",
    denominator: str = "all",
    temperature: float = 0.07,
    ignore_index: int = 255,
    partner: Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Tensor:
    """Supervised contrastive loss over all pixels, exact, in memory linear in the pixels.

    Source: Zhao et al., "Contrastive Learning for Label Efficient Semantic Segmentation", ICCV
    2021. With s_pq = f_p·f_q / temperature and e = exp(s), an anchor pixel p of label c costs

    denominator="all" (the paper): mean over positives q of `-log(e_pq / Σ_k e_pk)`. Anchors are
    the pixels of `feats[i]`; candidates k those of `other_feats[i]` ("within"), also the pixels of
    label c of `other_feats[partner[i]]` ("cross"; an image paired with itself falls back to
    "within"), or those of all images ("batch"). Positives are the candidates of label c.

    denominator="negatives" (the authors' release): mean over positives q of
    `-log(e_pq / (e_pq + Σ_k e_pk))`, k over the pixels of other labels in p's image. Anchors and
    candidates are one set, self-pairs included: each view by itself, the two losses added
    ("within"); `feats[i]` with `other_feats[partner[i]]`, where negatives come from p's own image
    only ("cross"); all pixels of both views in one bag ("batch").

    The mean runs over each image's valid anchors (not ignored, at least one positive), then over
    images; an image without valid anchors counts as 0. Under "cross"/"negatives" a pair, and under
    "batch"/"negatives" the whole bag, takes the place of the image. Features are used as given:
    normalise them yourself, or use `PixelContrastLoss`.

    With torch.distributed running, scope="batch" gathers the pixels of all ranks (equal shapes on
    each); every rank returns the loss of the whole batch, and the gradient of its own features is
    what one process would have computed. DistributedDataParallel averages over ranks: multiply
    the loss by the number of ranks there.

    Args:
        feats: (B,D,H,W) or (B,P,D), any float dtype; half types are accumulated in float32.
        labels: (B,H,W) or (B,P), any integer dtype and any values.
        other_feats: the distorted views in the same batch order, same B and D (the number of
            pixels may differ if `other_labels` is given, and so may the number of images under
            scope="batch"); None takes `feats` themselves.
        other_labels: labels of `other_feats`; None takes `labels`.
        scope: "within", "cross" or "batch".
        denominator: "all" (the paper's) or "negatives" (the release's).
        temperature: divides the similarities, > 0; 0.07 is the release's.
        ignore_index: pixels of this label take part in nothing.
        partner: (B,) int64, the image paired with each under scope="cross"; None draws a random
            derangement from `generator`.
        generator: source of the derangement; None uses torch's global one.
        backend: "dense" (all pairs in memory, plain autograd), "tiled" (PyTorch, lean), "triton"
            (fused CUDA kernels, float32 or half types, up to 512 channels; similarities too large
            for float32 go to tiled, in float64) or "auto": triton on CUDA where it can, tiled
            elsewhere.

    Returns:
        Scalar tensor, float64 for float64 features and float32 otherwise.

    Raises:
        LossInputError: a wrong shape, dtype or option, by name.
    """
    return _loss(
        feats, labels, other_feats, other_labels, scope, denominator, temperature, ignore_index,
        partner, generator, backend, longest=None,
    )  # fmt: skip


def _loss(
    feats: Tensor,
    labels: Tensor,
    other_feats: Tensor | None,
    other_labels: Tensor | None,
    scope: str,
    denominator: str,
    temperature: float,
    ignore_index: int,
    partner: Tensor | None,
    generator: torch.Generator | None,
    backend: str,
    longest: float | None,
) -> Tensor:
    """The loss; `longest` bounds the length of a feature, where that is known without looking."""
    check_choice("scope", scope, SCOPES)
    check_choice("denominator", denominator, DENOMINATORS)
    check_choice("backend", backend, BACKENDS)
    if not (temperature > 0 and math.isfinite(temperature)):
        raise LossInputError(f"temperature must be a positive number, not {temperature!r}")
    if other_feats is None and other_labels is not None:
        raise LossInputError("other_labels is given without other_feats; give both or neither")
    if other_labels is None:
        other_labels = labels
    feats, labels = flatten_pixels("feats", feats, "labels", labels)
    if other_feats is not None:
        other_feats, other_labels = flatten_pixels(
            "other_feats", other_feats, "other_labels", other_labels
        )
        check_views(feats, other_feats, scope)
    if scope != "cross":
        partner = torch.arange(feats.shape[0])
    else:
        partner = checked_partner(partner, feats.shape[0], generator)

    kernels = _backend(backend, feats, other_feats, temperature, longest)
    ranks = gather.world_size() if scope == "batch" else 1
    if ranks > 1 and not gather.shapes_agree(*(t for t in (feats, other_feats) if t is not None)):
        raise LossInputError(
            "feats and other_feats must have one shape and dtype on all ranks under "
            f"scope='batch', here {tuple(feats.shape)} {feats.dtype}; drop the last, smaller batch"
        )
    with torch.autocast(feats.device.type, enabled=False):
        if denominator == "all":
            if other_feats is None:
                other_feats, other_labels = feats, labels
            if ranks > 1:  # each rank its own anchors against everybody's candidates
                other_feats = gather.gather_feats(other_feats, add=True)
                other_labels = gather.gather_plain(other_labels)
            bags = forms.candidate_bags(
                feats, labels, other_feats, other_labels, scope, partner, ignore_index
            )
            loss = kernels.candidate_loss(bags, temperature, ignore_index)
            return gather.sum_values(loss / ranks) if ranks > 1 else loss
        if ranks > 1:  # each rank the whole bag
            feats, labels = gather.gather_feats(feats, add=False), gather.gather_plain(labels)
            if other_feats is not None:
                other_feats = gather.gather_feats(other_feats, add=False)
                other_labels = gather.gather_plain(other_labels)
        groups = forms.pixel_bags(feats, labels, other_feats, other_labels, scope, partner)
        return sum(kernels.pixel_loss(group, temperature, ignore_index) for group in groups)


class PixelContrastLoss(nn.Module):
    """`pixel_contrast_loss` as a module: resizes to a grid, normalises, then contrasts.

    Args:
        grid: (height, width) that features (bilinear) and labels (nearest), both with
            align_corners=True as in the authors' release, are resized to; None leaves them.
        normalize: scale every pixel's feature vector to length 1.
        scope: see `pixel_contrast_loss`, as for all further options.
        denominator: the paper's "all" or the release's "negatives".
        temperature: divides the similarities.
        ignore_index: label that takes part in nothing.
        generator: source of the random pairing of images.
        backend: "auto", "dense", "tiled" or "triton".
    """

    def __init__(
        self,
        grid: tuple[int, int] | None = (65, 65),
        *,
        normalize: bool = True,
        scope: str = "within",
        denominator: str = "all",
        temperature: float = 0.07,
        ignore_index: int = 255,
        generator: torch.Generator | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_choice("scope", scope, SCOPES)
        check_choice("denominator", denominator, DENOMINATORS)
        check_choice("backend", backend, BACKENDS)
        self.grid = None if grid is None else (grid[0], grid[1])
        self.normalize = normalize
        self.scope = scope
        self.denominator = denominator
        self.temperature = temperature
        self.ignore_index = ignore_index
        self.generator = generator
        self.backend = backend

    def forward(
        self,
        feats: Tensor,
        labels: Tensor,
        other_feats: Tensor | None = None,
        other_labels: Tensor | None = None,
        partner: Tensor | None = None,
    ) -> Tensor:
        """Loss of features (B,D,H,W) and labels (B,H',W'), and of their distorted views if given.

        Features and labels need the same height and width only where `grid` is None; (B,P,D)
        features and (B,P) labels are taken then, too.
        """
        if other_feats is not None and other_labels is None:
            other_labels = labels
        return _loss(
            self._prepared("feats", feats),
            self._resized_labels("labels", labels),
            None if other_feats is None else self._prepared("other_feats", other_feats),
            None if other_labels is None else self._resized_labels("other_labels", other_labels),
            scope=self.scope,
            denominator=self.denominator,
            temperature=self.temperature,
            ignore_index=self.ignore_index,
            partner=partner,
            generator=self.generator,
            backend=self.backend,
            longest=1.0 if self.normalize else None,
        )

    def on_grid(self, feats: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Features and labels as `forward` compares them: resized, features normalised."""
        return self._prepared("feats", feats), self._resized_labels("labels", labels)

    def extra_repr(self) -> str:
        """List the options, for print(module)."""
        names = "grid normalize scope denominator temperature ignore_index backend"
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names.split())

    def _prepared(self, name: str, feats: Tensor) -> Tensor:
        if not feats.is_floating_point():
            raise LossInputError(f"{name} must be of a float dtype, not {feats.dtype}")
        with torch.autocast(feats.device.type, enabled=False):
            if feats.dtype in (torch.float16, torch.bfloat16):
                feats = feats.float()  # resizing and norms in half precision would cost digits
            if self.grid is not None and feats.shape[2:] != self.grid:
                if feats.dim() != 4:
                    raise LossInputError(
                        f"{name} must be (B,D,H,W) to be resized to grid={self.grid}, "
                        f"not {tuple(feats.shape)}; give grid=None for (B,P,D)"
                    )
                feats = F.interpolate(feats, self.grid, mode="bilinear", align_corners=True)
            if self.normalize:
                feats = F.normalize(feats, dim=1 if feats.dim() == 4 else 2)
        return feats

    def _resized_labels(self, name: str, labels: Tensor) -> Tensor:
        if self.grid is None or labels.shape[1:] == self.grid:
            return labels
        if labels.dim() != 3:
            raise LossInputError(
                f"{name} must be (B,H,W) to be resized to grid={self.grid}, "
                f"not {tuple(labels.shape)}; give grid=None for (B,P)"
            )
        rows = _nearest_corners(labels.shape[1], self.grid[0], labels.device)
        cols = _nearest_corners(labels.shape[2], self.grid[1], labels.device)
        return labels[:, rows[:, None], cols]


def _nearest_corners(size: int, out: int, device: torch.device) -> Tensor:
    """Source index of each of `out` positions, first and last on the corners, halves rounded up."""
    steps = max(out - 1, 1)
    return (2 * torch.arange(out, device=device) * (size - 1) + steps) // (2 * steps)


def _backend(
    name: str,
    feats: Tensor,
    other_feats: Tensor | None,
    temperature: float,
    longest: float | None,
) -> ModuleType:
    """Choose the module that computes; triton is imported only where it is used."""
    channels = feats.shape[2]
    fits = feats.dtype != torch.float64 and channels <= TRITON_CHANNELS
    if name == "auto":
        name = "triton" if feats.is_cuda and fits and find_spec("triton") else "tiled"
    if name == "triton" and not fits:
        raise LossInputError(
            f"backend='triton' takes up to {TRITON_CHANNELS} channels and no float64, "
            f"not {channels} of {feats.dtype}; use backend='tiled'"
        )
    if name == "triton" and not feats.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise LossInputError(
            f"backend='triton' needs CUDA tensors, not {feats.device}; use backend='tiled'"
        )
    if name == "triton":  # the kernels compute in float32
        if longest is None:  # reading it waits for the device
            longest = max(forms.longest(f) for f in (feats, other_feats) if f is not None)
        name = "tiled" if longest**2 / temperature > forms.SINGLE_BOUND else name
    return import_module({"triton": "cseg.losses.triton_kernels"}.get(name, f"cseg.losses.{name}"))
