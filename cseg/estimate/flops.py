"""Costs on a device that is not at hand: the network's flops, counted on torch's meta device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cseg.estimate.calibrate import MIB, ArmCost, job_seconds
from cseg.experiment import Experiment
from cseg.model.network import Segmenter, build_segmenter
from cseg.settings.network import ModelSettings
from cseg.settings.run import RunSettings, Stage

IMAGES = 2  # counted, and then multiplied
PREDICTED_SHARE = 1 / 20  # bytes of a predicted map, compressed, per pixel
PRODUCTS = 3  # of float16 parts, for one product to float32's accuracy, in kernels of the loss
ALIKE = 0.5  # share of the pairs of pixels that have one class; about that of photographs


def counted_costs(
    experiment: Experiment, arms: Sequence[str], *, size_HW: tuple[int, int], teraflops: float
) -> dict[str, ArmCost]:
    """Costs by arm on a device that reaches `teraflops` on these networks; nothing is computed.

    Memory is that of the weights, gradients, momenta and of what the backward pass needs; an
    allocator takes more. The time between jobs is this machine's. Sizes are in pixels, and
    `teraflops` are those reached in training (a multiply-add is two flops).
    """
    job, classes, rate = job_seconds(), experiment.info.num_classes, teraflops * 1e12
    costs = {}
    for arm in arms:
        settings = experiment.run_settings(arm, 0)
        network = _network(settings.model, classes)
        weights = sum(p.numel() * 4 for p in network.parameters()) / MIB
        works = {stage: step_work(stage, settings, classes) for stage in settings.trainings}
        seconds = {
            stage: (flops + loss_flops(settings, stage)) / rate
            for stage, (flops, _) in works.items()
        }
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.empty(1, 3, *size_HW, device="meta"))
        costs[arm] = ArmCost(
            pretrain_step=seconds.get("pretrain", 0.0),
            finetune_step=seconds["finetune"],
            image=counter.get_total_flops() / rate,
            job=job,
            memory_mib=3 * weights + max(held for _, held in works.values()) / MIB,
            weights_mib=weights * len(works),
            prediction_mib=size_HW[0] * size_HW[1] * PREDICTED_SHARE / MIB,
            device=f"a device of {teraflops:g} TFLOP/s",
        )
    return costs


def step_work(stage: Stage, settings: RunSettings, classes: int) -> tuple[float, float]:
    """Flops of the network in an optimiser step, and the bytes its backward pass needs to hold.

    Pretraining sees two views of every image; fine-tuning with consistency also a weak and a strong
    view of each unlabelled image.
    """
    network = _network(settings.model, classes)
    images = torch.empty(IMAGES, 3, *settings.image.crop, device="meta")
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage._cdata] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks:
        features = network.features(images)
        if stage == "finetune":
            network.classify(features, (images.shape[2], images.shape[3]))
        if _contrast_scope(settings, stage) != "none":
            network.projector(features)
    # Times of the forward pass: torch counts the backward of depthwise convolutions too high.
    probe = stage == "finetune" and settings.finetune.trained == "classifier"
    flops = (1 if probe else 3) * counter.get_total_flops()
    views = 2.0 if stage == "pretrain" else 1.0
    consistency = settings.finetune.consistency
    if stage == "finetune" and consistency.weight:  # the teacher's pass has no backward
        views += consistency.ratio * (1 + counter.get_total_flops() / flops)
    loop = settings.pretrain if stage == "pretrain" else settings.finetune
    whole = loop.batch * views / IMAGES
    piece = whole / loop.accumulate
    wide = 0.5 if settings.precision == "bf16" else 1
    return flops * whole, sum(held.values()) * piece * wide


def loss_flops(settings: RunSettings, stage: Stage) -> float:
    """Flops of the contrastive loss in a step, as its CUDA kernels do them."""
    scope = _contrast_scope(settings, stage)
    if scope == "none":
        return 0.0
    pretrain = settings.pretrain
    loop = pretrain if stage == "pretrain" else settings.finetune
    hard = stage == "finetune" and settings.finetune.contrast_anchors == "hard"
    return loop.accumulate * sum(
        kernel_flops(
            scope,
            pretrain.denominator,
            images=loop.batch // loop.accumulate,
            pixels=height * width,
            channels=settings.model.projection_channels,
            half=settings.precision == "bf16",
            second_view=stage == "pretrain" or hard or pretrain.memory_images > 0,
            alike=ALIKE,
            remembered=pretrain.memory_images,
        )
        for height, width in [pretrain.grid, *pretrain.coarse_grids]
    )


def kernel_flops(
    scope: str,
    denominator: str,
    *,
    images: int,
    pixels: int,
    channels: int,
    half: bool,
    second_view: bool,
    alike: float,
    remembered: int = 0,
) -> float:
    """Flops of the loss's CUDA kernels for value and gradients (a multiply-add is two).

    In the paper's form, each pair of an anchor and a candidate costs 8 flops per channel: there are
    two passes, each with a product for the similarity and one for the gradient. An anchor meets
    only those pixels of its partner image that have its class. In the released form, each pair of
    pixels in a bag costs 6 flops per channel, and 2 more if both have the same class. Pairs that do
    not count, such as some across the views, are computed all the same and masked.

    `half` features are bfloat16; others take three products for one. `alike` is the share of the
    pairs of pixels that have one class, `second_view` whether the loss sees a second view of each
    image, and `remembered` the number of further images that the scope batch has as candidates.
    """
    if denominator == "all":
        others = {"within": 1, "cross": 1 + alike, "batch": images + remembered}[scope]
        pairs, each = images * others, 8.0
    else:
        seen = images * (2 if second_view else 1)
        sides = {"within": seen, "cross": 4 * images, "batch": (seen + remembered) ** 2}
        pairs, each = sides[scope], 6.0 + 2.0 * alike
    return each * (1 if half else PRODUCTS) * channels * pairs * pixels**2


def _contrast_scope(settings: RunSettings, stage: Stage) -> str:
    return settings.scope if stage == "pretrain" else settings.finetune.contrast_scope


def _network(model: ModelSettings, classes: int) -> Segmenter:
    with torch.device("meta"):
        return build_segmenter(model, classes, "random")
