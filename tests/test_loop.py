"""The training loop's arithmetic: rates, steps of the optimiser, pieces, rows of the curve."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import small_data, small_settings

from cseg.datasets.samples import load_info
from cseg.settings.keys import plain
from cseg.settings.training import LoopSettings
from cseg.stages.finetune import cross_entropy
from cseg.stages.run import labelled_pairs, step_batches
from cseg.training.loop import Objective, Training, learning_rate, train


def loop(**changes) -> LoopSettings:
    values = {"steps": 100, "batch": 4, "lr": 0.2, "weight_decay": 0.0, "warmup_steps": 10}
    return LoopSettings(**(values | {"log_every": 5} | changes))


def test_rate_rises_linearly_then_follows_half_a_cosine():
    rates = [learning_rate(step, loop()) for step in range(100)]
    assert rates[0] == pytest.approx(0.02) and rates[9] == pytest.approx(0.2)
    assert rates[10] == pytest.approx(0.2) and rates[55] == pytest.approx(0.1)
    assert rates[99] < 0.001 and all(a >= b for a, b in pairwise(rates[10:]))


def test_poly_is_deeplabs_schedule():
    """(1 - step / steps)^0.9, after the warm-up."""
    rates = [learning_rate(step, loop(schedule="poly")) for step in range(100)]
    assert rates[0] == pytest.approx(0.02) and rates[10] == pytest.approx(0.2)
    assert rates[55] == pytest.approx(0.2 * 0.5**0.9) and rates[99] == pytest.approx(
        0.2 * (1 / 90) ** 0.9
    )


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    expected = [
        -logits[b, :, i, j].log_softmax(0)[labels[b, i, j]]
        for b in range(2) for i in range(4) for j in range(5)
        if labels[b, i, j] != 255
    ]  # fmt: skip
    mean = torch.stack(expected).mean().item()
    assert cross_entropy(logits, labels).item() == pytest.approx(mean, rel=1e-6)
    assert cross_entropy(logits, torch.full_like(labels, 255)).item() == 0.0


class PixelLoss(Objective):
    """A loss whose pieces count alike, of a network without batch norm."""

    def __init__(self, classes):
        super().__init__()
        self.network = torch.nn.Conv2d(3, classes, 3, padding=1)
        self.sizes = []

    def forward(self, images, labels, rng):
        self.sizes.append(len(images))
        total = F.cross_entropy(self.network(images), labels, ignore_index=255, reduction="sum")
        return total / labels.numel()  # however much of them is ignored


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Labelled images, what their dataset is, and a folder for states."""
    data = small_data(tmp_path_factory.mktemp("loop"))
    return labelled_pairs(data)[0], load_info(data.dataset), data.index.parent


def run_loop(painted, **changes):
    """Train a `PixelLoss` from the same start; gives it, its start, its curve and its batches."""
    pairs, info, folder = painted
    torch.manual_seed(0)
    objective = PixelLoss(info.num_classes)
    start = {name: value.detach().double() for name, value in objective.named_parameters()}
    training = Training(
        stage="finetune", settings=small_settings(finetune=plain(loop(**changes))), title="test",
        weights=folder / "x.pt", device=torch.device("cpu"), threads=1, data="data",
    )  # fmt: skip
    batches = step_batches(pairs, info, training)
    curve = train(objective, batches, training=training)
    return objective, start, curve, batches


def test_three_steps_are_those_of_momentum_and_weight_decay_in_the_gradient(painted):
    """Brute force in float64: g = gradient + decay w; m = 0.9 m + g; w = w - rate m."""
    decay = 0.3  # so large that leaving it out, or taking it off w itself, shows in every digit
    objective, weights, curve, batches = run_loop(
        painted, steps=3, log_every=2, weight_decay=decay, warmup_steps=2, momentum=0.9
    )
    network = torch.nn.Conv2d(3, len(weights["network.bias"]), 3, padding=1).double()
    moving = {name: torch.zeros_like(value) for name, value in weights.items()}
    losses = []
    for step, rate in enumerate((0.1, 0.2, 0.2)):
        images, labels = batches[step]
        network.load_state_dict({name.split(".")[1]: value for name, value in weights.items()})
        logits = network(images.double() / 255).log_softmax(1)
        labelled = labels != 255
        picked = logits.permute(0, 2, 3, 1)[labelled].gather(1, labels[labelled].long()[:, None])
        loss = -picked.sum() / labels.numel()
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        losses.append(loss.item())
        for (name, value), gradient in zip(weights.items(), gradients, strict=True):
            moving[name] = 0.9 * moving[name] + gradient + decay * value
            weights[name] = value - rate * moving[name]
    for name, value in objective.named_parameters():
        torch.testing.assert_close(value.double(), weights[name], rtol=1e-4, atol=1e-6)
    assert [row[0] for row in curve.rows] == [2, 3]
    assert [row[1] for row in curve.rows] == pytest.approx([np.mean(losses[:2]), losses[2]])
    assert [row[2] for row in curve.rows] == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("pieces", [2, 4])
def test_a_batch_in_pieces_gives_the_gradient_of_the_whole(painted, pieces):
    whole, _, curve, _ = run_loop(painted, steps=6, log_every=1)
    parts, _, other, _ = run_loop(painted, steps=6, log_every=1, accumulate=pieces)
    assert whole.sizes == [4] * 6 and parts.sizes == [4 // pieces] * 6 * pieces
    weights = [objective.network.weight for objective in (parts, whole)]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
    assert [row[1] for row in other.rows] == pytest.approx([row[1] for row in curve.rows], rel=1e-5)
