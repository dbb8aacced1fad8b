"""Keys of the training stages."""

from dataclasses import dataclass
from typing import Literal

from cseg.settings.keys import key
from cseg.settings.network import SIDE, Size

Scope = Literal["within", "cross", "batch"]
ScopeOrNone = Literal["none", "within", "cross", "batch"]
Denominator = Literal["all", "negatives"]
Backend = Literal["auto", "dense", "tiled", "triton"]
Trained = Literal["all", "classifier"]
Report = Literal["last", "best"]
Anchors = Literal["all", "hard"]
STRENGTH = {"ge": 0, "le": 2}


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How to optimise; the same keys serve pretraining and fine-tuning."""

    steps: int = key("optimiser steps", default=600, ge=1)
    batch: int = key(
        "images per step, over all ranks; batch norm needs 2", default=8, ge=2, unit="images"
    )
    accumulate: int = key(
        "pieces that a batch is processed in, one after the other, to save memory; batch norm and "
        "the contrastive loss see a piece at a time",
        default=1, ge=1,
    )  # fmt: skip
    lr: float = key("initial learning rate; it falls to 0 along half a cosine", default=0.1, gt=0)
    momentum: float = key("momentum of SGD", default=0.9, ge=0, lt=1)
    weight_decay: float = key("weight decay of SGD, on all parameters", default=0.00004, ge=0)
    warmup_steps: int = key(
        "steps over which the learning rate first rises linearly", default=20, ge=0
    )
    log_every: int = key("steps between rows of the curve", default=20, ge=1)
    checkpoint_minutes: float = key(
        "time between saved states of a running job", default=2.0, gt=0, unit="minutes"
    )
    workers: int | None = key(
        "loader processes; 0 loads in the training process, null takes the job's threads but one "
        "on a GPU and 0 on a CPU; results do not depend on it",
        default=None, ge=0,
    )  # fmt: skip
    cache_mib: int = key(
        "decoded images kept in memory, per loader process", default=256, ge=0, unit="MiB"
    )


@dataclass(frozen=True, kw_only=True)
class ContrastSettings:
    """The contrastive loss and what feeds it."""

    denominator: Denominator = key(
        "what stands in the loss's denominator: all candidates (the paper) or negatives (the "
        "authors' release)",
        default="all",
    )
    temperature: float = key("temperature of the loss", default=0.07, gt=0)
    grid: Size = key(
        "height and width that features and labels are resized to before the loss",
        default=(12, 12), **SIDE,
    )  # fmt: skip
    coarse_grids: tuple[Size, ...] = key(
        "further grids; the losses on all grids are averaged", default=(), **SIDE
    )
    memory: int = key(
        "batches whose features stay candidates, under the scope batch", default=0, ge=0
    )
    distortion: float = key(
        "strength of the second view's colour distortion; 1 is SimCLR's", default=1.0, **STRENGTH
    )
    backend: Backend = key("engine of the loss", default="auto")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(LoopSettings, ContrastSettings):
    """Contrastive pretraining."""


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(LoopSettings):
    """Cross-entropy on the same labelled images."""

    distortion: float = key(
        "strength of the training images' colour distortion", default=0.0, **STRENGTH
    )
    distortion_share: float = key("share of the images that are distorted", default=0.5, ge=0, le=1)
    validate_every: int = key(
        "steps between measurements of the validation mIoU; 0 measures none", default=0, ge=0
    )
    trained: Trained = key(
        "what learns: all, or the classifier alone on features that stay (a linear probe)",
        default="all",
    )
    contrast_scope: ScopeOrNone = key(
        "scope of a contrastive loss added to cross-entropy, on the same images; denominator, "
        "temperature and grid are pretrain's",
        default="none",
    )
    contrast_weight: float = key("weight of the contrastive term", default=0.1, ge=0)
    contrast_anchors: Anchors = key(
        "anchors of the contrastive term: all pixels, or hard ones, which the classifier gets "
        "wrong (Wang et al. 2021, arXiv 2101.11939; all of them instead of a sample)",
        default="all",
    )
    report: Report = key(
        "weights that the run ends with: last, or best on the validation split", default="last"
    )


@dataclass(frozen=True, kw_only=True)
class PseudolabelSettings:
    """Which predictions of a teacher become labels, and how they are mixed with true ones."""

    threshold: float = key(
        "probability from which a pixel keeps its class; below, it is ignored",
        default=0.9, ge=0, le=1,
    )  # fmt: skip
    images: int | None = key(
        "unlabelled images to label, the first of the index; null labels all", default=None, ge=1
    )
    repeat_labelled: int = key(
        "how often a pass over the images holds the labelled ones", default=1, ge=1
    )
