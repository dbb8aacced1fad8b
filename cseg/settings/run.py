"""Keys that every arm reads, and the resolved settings of one run."""

from dataclasses import dataclass
from typing import Any, Literal

from cseg.settings.keys import key, plain
from cseg.settings.network import INIT, SIDE, ImageSettings, Init, ModelSettings, Size
from cseg.settings.training import (
    FinetuneSettings,
    PretrainSettings,
    PseudolabelSettings,
    ScopeOrNone,
)

Budget = Literal["equal_steps", "equal_time", "equal_finetune"]
Stage = Literal["pretrain", "finetune"]  # those that train
TEACHER_SUFFIX = "_pseudo"  # what names of arms with a teacher end in
SEED = {"ge": 0, "le": 1_000_000}


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A seed that names its parts; the plain seed n is Seed(subset=n, init=n)."""

    subset: int = key("seed of the labelled subsets", **SEED)
    init: int = key("seed of all else: initial weights, order, geometry, distortion", **SEED)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """What is measured, and how."""

    window: Size | None = key(
        "height and width of a sliding window; null evaluates whole images", default=None, **SIDE
    )
    train_images: int = key(
        "labelled images that the training mIoU is measured on, at most", default=64, ge=1
    )


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """What all arms of an experiment share, overrides aside."""

    budget: Budget = key(
        "steps of an arm without pretraining: those of both stages (equal_steps), as many as take "
        "the time of both (equal_time), or finetune.steps (equal_finetune)",
        default="equal_steps",
    )
    image: ImageSettings = ImageSettings()
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    device: Literal["auto", "cpu", "cuda"] = key(
        "where to compute; auto takes a GPU if there is one", default="auto"
    )
    precision: Literal["fp32", "bf16"] = key(
        "number format of the network: bf16 by autocast, or fp32, in which convolutions on a GPU "
        "may round what they multiply to TF32",
        default="fp32",
    )
    deterministic: bool = key(
        "make GPU results reproducible bit for bit (slower); a CPU's are anyway", default=False
    )
    compile: bool = key(
        "compile the network with torch.compile; needs a C++ compiler", default=False
    )
    tensorboard: bool = key(
        "write curves for TensorBoard into the runs' folders; needs TensorBoard", default=False
    )


@dataclass(frozen=True, kw_only=True)
class RunSettings(SharedSettings):
    """The resolved settings of one run: overrides, budget and seed applied."""

    init: Init = key("start of the encoder", wants=INIT)
    scope: ScopeOrNone = key("scope of the contrastive pretraining; none for no pretraining")
    seed: int = key("seed of initial weights, order, geometry and distortion", ge=0)
    pseudolabel: PseudolabelSettings | None = key(
        "pseudo labels, if the arm has a teacher", default=None
    )

    @property
    def trainings(self) -> tuple[Stage, ...]:
        """The stages in which the run trains, in order."""
        return ("finetune",) if self.scope == "none" else ("pretrain", "finetune")


def pretraining(settings: RunSettings) -> dict[str, Any]:
    """The plain values of all that shapes a run's pretraining.

    They are what the job is given, what its saved state is known by, and what two arms must have in
    common if they share a pretraining.
    """
    values = plain(settings)
    return {
        name: value for name, value in values.items()
        if name not in ("budget", "finetune", "evaluate")
    }  # fmt: skip
