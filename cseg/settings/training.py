"""Keys of the training stages."""

from dataclasses import dataclass
from typing import Literal

from cseg.settings.keys import key
from cseg.settings.network import SIDE, Size

Scope = Literal["within", "cross", "batch"]
ScopeOrNone = Literal["none", "within", "cross", "batch"]
Trained = Literal["all", "decoder", "classifier"]
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
    lr: float = key("initial learning rate; it falls to 0 along the schedule", default=0.1, gt=0)
    schedule: Literal["cosine", "poly"] = key(
        "how the learning rate falls: along half a cosine, or poly, (1 - share of the steps)^0.9, "
        "which DeepLab uses",
        default="cosine",
    )
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

    denominator: Literal["all", "negatives"] = key(
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
    memory_images: int = key(
        "images of earlier batches whose features stay candidates, under the scope batch; pieces "
        "(accumulate) do not change their number",
        default=0, ge=0, unit="images",
    )  # fmt: skip
    distortion: float = key(
        "strength of the second view's colour distortion; 1 is SimCLR's", default=1.0, **STRENGTH
    )
    backend: Literal["auto", "dense", "tiled", "triton"] = key("engine of the loss", default="auto")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(LoopSettings, ContrastSettings):
    """Contrastive pretraining."""


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings:
    """Learning from unlabelled images: what is sure of the weak view is true of the strong view."""

    weight: float = key("weight of the consistency term; 0 reads no unlabelled image",
                        default=0.0, ge=0)  # fmt: skip
    ratio: int = key("unlabelled images per labelled image of a step", default=1, ge=1)
    teacher: Literal["average", "network"] = key(
        "network that labels the weak view: the moving average of the weights (average), or the "
        "network that learns, as in FixMatch and UniMatch",
        default="average",
    )
    decay: float = key(
        "share of the moving average that one step keeps; it averages all steps until then",
        default=0.99, ge=0, lt=1,
    )  # fmt: skip
    threshold: float = key(
        "probability from which the class of a pixel is a target", default=0.9, ge=0, le=1
    )
    class_thresholds: bool = key(
        "lower the threshold of each class as it is predicted less surely than the surest one, "
        "after FreeMatch",
        default=True,
    )
    align: bool = key(
        "align the distribution of the predicted classes with that of the labelled pixels, so that "
        "common classes do not swallow rare ones",
        default=True,
    )
    rise: float = key(
        "share of the steps over which the weight rises linearly from 0", default=0.2, ge=0, le=1
    )
    distortion: float = key(
        "strength of the strong view's colour distortion; 1 is SimCLR's, 0.5 about UniMatch's",
        default=0.5, **STRENGTH,
    )  # fmt: skip
    cutmix: float = key(
        "share of the strong views that get a box of another image", default=0.5, ge=0, le=1
    )
    feature_dropout: float = key(
        "share of the encoder's channels that the strong view loses", default=0.0, ge=0, lt=1
    )


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(LoopSettings):
    """Cross-entropy on the same labelled images, and consistency on unlabelled ones."""

    consistency: ConsistencySettings = ConsistencySettings()
    distortion: float = key(
        "strength of the training images' colour distortion", default=0.0, **STRENGTH
    )
    distortion_share: float = key("share of the images that are distorted", default=0.5, ge=0, le=1)
    validate_every: int = key(
        "steps between measurements of the validation mIoU; 0 measures none", default=0, ge=0
    )
    trained: Trained = key(
        "what learns: all, the decoder (on an encoder that stays), or the classifier (on features "
        "that stay: a linear probe)",
        default="all",
    )
    contrast_scope: ScopeOrNone = key(
        "scope of a contrastive loss added to cross-entropy, on the same images; denominator, "
        "temperature and grid are pretrain's",
        default="none",
    )
    contrast_weight: float = key("weight of the contrastive term", default=0.1, ge=0)
    contrast_anchors: Literal["all", "hard"] = key(
        "anchors of the contrastive term: all pixels, or hard ones, which the classifier gets "
        "wrong (Wang et al. 2021, arXiv 2101.11939; all of them instead of a sample)",
        default="all",
    )
    report: Literal["last", "best"] = key(
        "weights that the run ends with: last, or best on the validation split", default="last"
    )

    @property
    def views(self) -> int:
        """Image views that the network sees in a step: of consistency a weak and a strong one."""
        extra = 2 * self.consistency.ratio if self.consistency.weight else 0
        return self.batch * (1 + extra)


@dataclass(frozen=True, kw_only=True)
class PseudolabelSettings:
    """Which predictions of a teacher become labels, and how they are mixed with true ones."""

    threshold: float = key(
        "probability from which a pixel keeps its class; below, it is ignored",
        default=0.9, ge=0, le=1,
    )  # fmt: skip
    class_share: float | None = key(
        "share of the pixels predicted as a class that keep it, the surest ones: a threshold of "
        "its own for each class, at most `threshold`, which keeps rare classes; null for none",
        default=None, gt=0, le=1,
    )  # fmt: skip
    images: int | None = key(
        "unlabelled images to label, the first of the index; null labels all", default=None, ge=1
    )
    student: Literal["start", "teacher"] = key(
        "where the student starts: where its arm starts, or at its teacher's end", default="start"
    )
    repeat_labelled: int = key(
        "how often a pass over the images holds the labelled ones", default=1, ge=1
    )
