"""`cseg plan --teraflops`: work is counted, not done; the network of every config can be built."""

import re

import pytest
import torch
from small_runs import ROOT, SMOKE, small_settings, used_with
from torch import nn

from cseg import experiment
from cseg.cli import main
from cseg.estimate.flops import counted_costs, kernel_flops, loss_flops, step_work
from cseg.model.network import build_segmenter

PLACE = ROOT / "workflow" / "configs"
CONFIGS = [
    pytest.param(path, marks=[] if path.parent == PLACE else pytest.mark.slow)
    for path in sorted(PLACE.glob("**/*.yaml"))
]


@pytest.fixture(scope="module")
def works():
    """Work of the networks that were built, by what they are: configs share them."""
    return {}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_network_of_every_config_can_be_built(config, works):
    loaded = experiment.load(used_with(config))
    settings = loaded.run_settings(loaded.run_arms[0], 0)
    network = repr((settings.model, settings.image.crop))
    if network not in works:
        works[network] = step_work("finetune", settings, 21)
    flops, held = works[network]
    assert flops > 0 and held > 0


def multiply_adds(network: nn.Module, image: torch.Tensor) -> int:
    """Of all convolutions, from the shapes that pass through them."""
    counts = []

    def count(conv: nn.Conv2d, inputs: tuple, output: torch.Tensor) -> None:
        per_output = conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
        counts.append(output.numel() * per_output)

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(image)
    return sum(counts)


def test_flops_of_a_step_are_three_passes_of_two_per_multiply_add():
    settings = small_settings("scratch", finetune={"batch": 6})
    network = build_segmenter(settings.model, 7, "random").eval()
    once = multiply_adds(network, torch.rand(1, 3, *settings.image.crop))
    assert step_work("finetune", settings, 7)[0] == 6 * once * 2 * 3


def test_a_joint_step_also_passes_the_projection_head():
    settings = small_settings("scratch", finetune={"batch": 6, "contrast_scope": "within"})
    plain = small_settings("scratch", finetune={"batch": 6})
    network = build_segmenter(settings.model, 7, "random").eval()
    image = torch.rand(1, 3, *settings.image.crop)
    head = multiply_adds(network.projector, network.features(image))
    flops, held = step_work("finetune", settings, 7)
    assert flops == step_work("finetune", plain, 7)[0] + 6 * head * 2 * 3
    assert held > step_work("finetune", plain, 7)[1]


def test_memory_follows_the_batch_the_pieces_and_the_precision():
    def held(**changes):
        block = {"batch": 8, **changes.pop("finetune", {})}
        return step_work("finetune", small_settings("scratch", finetune=block, **changes), 7)[1]

    assert held(finetune={"accumulate": 2}) == held() / 2 == held(precision="bf16")


def test_the_loss_sees_as_many_pairs_as_its_scope_says():
    def flops(arm, **changes):
        settings = small_settings(arm, pretrain={"batch": 4, "grid": [3, 5], **changes})
        return loss_flops(settings, "pretrain")

    channels = small_settings("within").model.projection_channels
    # float32: three products of half the width for each
    assert flops("within") == 3 * 8 * 4 * 15**2 * channels
    # half of a partner's pixels are taken to be of the anchor's class
    assert flops("cross") == 1.5 * flops("within") and flops("batch") == 4 * flops("within")
    assert flops("scratch") == 0 and flops("batch", memory_images=8) == 3 * flops("batch")
    assert flops("batch", accumulate=2) == flops("batch") / 2  # a piece at a time
    assert flops("within", coarse_grids=[[3, 5]]) == 2 * flops("within")


def test_flops_of_the_loss_are_those_of_its_kernels():
    size = {"images": 4, "pixels": 10, "channels": 8, "alike": 0.25}
    half = {"half": True, "second_view": True}
    paper = [kernel_flops(scope, "all", **size, **half) for scope in ("within", "cross", "batch")]
    assert paper == [8 * 8 * 4 * 100 * others for others in (1, 1.25, 4)]
    released = [kernel_flops(scope, "negatives", **size, **half)
                for scope in ("within", "cross", "batch")]  # fmt: skip
    # bags of one view, of an image and its partner, and of all pixels of both views
    assert released == [6.5 * 8 * pixels for pixels in (8 * 10**2, 4 * 20**2, 80**2)]
    full = kernel_flops("within", "negatives", **size, half=False, second_view=False)
    assert full == 3 * released[0] / 2


@pytest.mark.slow
def test_twice_the_speed_takes_half_the_time():
    config = experiment.load([SMOKE])
    slow, fast = (
        counted_costs(config, ["cross"], size_HW=(32, 32), teraflops=speed)["cross"]
        for speed in (1, 2)
    )
    assert slow.pretrain_step == pytest.approx(2 * fast.pretrain_step)
    assert slow.finetune_step == pytest.approx(2 * fast.finetune_step)
    assert slow.memory_mib == fast.memory_mib


@pytest.mark.slow
def test_the_paper_grid_is_planned_for_a_device_that_is_not_here(capsys):
    files = ["--configfile", str(ROOT / "workflow" / "configs" / "voc2012.yaml")]
    assert main(["plan", *files, "--size", "375", "500", "--teraflops", "100"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"device-hours on a device of 100 TFLOP/s", said)
