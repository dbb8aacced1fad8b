"""Consistency: what is confident, how classes are aligned, what is mixed, what the teacher is."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import small_data, small_settings
from stage_runs import trained
from torch import nn

from cseg.errors import DataError
from cseg.model import checkpoint
from cseg.settings.training import ConsistencySettings
from cseg.stages.run import unlabelled_pairs
from cseg.storage.index_and_subset import read_index
from cseg.training.consistency import Consistency, cut_mix

CLASSES, B, H, W = 3, 2, 4, 6


class Pixelwise(nn.Module):
    """A network small enough to be computed by hand: the brightest channel is the class."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, CLASSES, 1), nn.BatchNorm2d(CLASSES, momentum=None)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])
            self.norm.weight.copy_(torch.tensor([1.0, 0.7, 0.5]))

    def forward(self, images: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
        return 2 * self.norm(self.conv(images))


def consistency(network: nn.Module, steps: int = 100, **changes) -> Consistency:
    values = {"weight": 1.0, "rise": 0.0, "distortion": 0.0, "cutmix": 0.0, "threshold": 0.8,
              "class_thresholds": False, "align": False, "feature_dropout": 0.0}  # fmt: skip
    settings = ConsistencySettings(**(values | changes))
    return Consistency(network, settings, classes=CLASSES, steps=steps).train()


@pytest.fixture
def batch():
    torch.manual_seed(0)
    images = torch.rand(B, 3, H, W)
    labels = torch.randint(0, CLASSES, (B, H, W))
    labels[0, 0] = 255
    valid = torch.ones(B, H, W, dtype=torch.bool)
    valid[1, :, :2] = False
    network = Pixelwise().train()
    network(torch.rand(64, 3, 8, 8))  # statistics of its own
    return network, labels, images, valid


def teach(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        probs = network.eval()(images).double().softmax(1)
    network.train()
    return probs


@pytest.mark.parametrize("teacher", ["network", "average"])
def test_the_loss_is_cross_entropy_to_the_confident_classes_over_all_valid_pixels(batch, teacher):
    network, labels, images, valid = batch
    criterion = consistency(network, teacher=teacher, weight=0.7)
    probs = teach(network, images)
    statistics = network.norm.running_mean.clone()
    loss, share = criterion(network, labels, images, valid, np.random.default_rng(0))
    assert not torch.equal(network.norm.running_mean, statistics)  # the strong view's, once
    logits = network(images).double()
    total, confident = 0.0, 0
    for b in range(B):
        for y in range(H):
            for x in range(W):
                best = probs[b, :, y, x].max()
                if valid[b, y, x] and best >= 0.8:
                    confident += 1
                    total -= logits[b, :, y, x].log_softmax(0)[probs[b, :, y, x].argmax()].item()
    assert 0 < confident < valid.sum()
    assert share.item() == pytest.approx(confident / int(valid.sum()))
    assert loss.item() == pytest.approx(0.7 * total / int(valid.sum()), rel=1e-5)
    assert network.training


def test_the_weight_rises_over_its_share_of_the_steps(batch):
    network, labels, images, valid = batch
    whole = consistency(network, weight=0.6, teacher="network")
    rising = consistency(network, weight=0.6, steps=40, rise=0.25, teacher="network")
    network.norm.momentum = 0.0  # the same targets each time
    found = []
    for _ in range(12):
        expected, _ = whole(network, labels, images, valid, np.random.default_rng(0))
        loss, _ = rising(network, labels, images, valid, np.random.default_rng(0))
        found.append((loss / expected).item())
        rising.after_step(network)
    assert found == pytest.approx([step / 10 for step in range(1, 11)] + [1.0, 1.0])


def test_aligned_predictions_have_the_classes_of_the_labels(batch):
    """Brute force of the alignment, after the running shares have moved one step."""
    network, labels, images, valid = batch
    labels[:, 1:] = 2  # mostly the third class
    criterion = consistency(network, align=True, threshold=0.0, teacher="network")
    probs = teach(network, images)
    guess = probs.argmax(1)[valid]
    shares = torch.tensor([(guess == c).double().mean() for c in range(CLASSES)])
    running = 0.99 / CLASSES + 0.01 * shares
    counts = np.array([(labels == c).sum() for c in range(CLASSES)], float)
    ratio = (torch.from_numpy(counts / counts.sum()) / running).clamp(max=10)
    aligned = probs * ratio[:, None, None]
    expected = (aligned / aligned.sum(1, keepdim=True)).argmax(1)
    targets = criterion.targets(network, labels, images, valid)
    assert torch.equal(targets[valid], expected[valid])
    assert not torch.equal(targets[valid], probs.argmax(1)[valid])  # the alignment changes some
    assert (targets[~valid] == 255).all()


def test_a_class_that_is_predicted_less_surely_gets_a_lower_threshold(batch):
    network, labels, images, valid = batch
    criterion = consistency(network, class_thresholds=True, teacher="network", threshold=0.95)
    probs = teach(network, images)
    best, guess = probs.max(1)
    for _ in range(2000):  # the running confidence arrives
        targets = criterion.targets(network, labels, images, valid)
    sure = torch.tensor([best[valid & (guess == c)].mean() for c in range(CLASSES)])
    assert sure.isfinite().all() and sure.max() - sure.min() > 0.02
    thresholds = 0.95 * sure / sure.max()
    expected = torch.where(valid & (best >= thresholds[guess]), guess, 255)
    assert torch.equal(targets, expected)
    fixed = consistency(network, teacher="network", threshold=0.95)
    kept = fixed.targets(network, labels, images, valid)
    assert (targets != 255).sum() > (kept != 255).sum()


def test_the_running_confidence_is_that_of_one_pixel_and_stays_where_there_is_none(batch):
    network, labels, images, valid = batch
    criterion = consistency(network, class_thresholds=True, teacher="network")
    best, guess = teach(network, images).max(1)
    one = (guess == 1) & valid
    one &= one.flatten().cumsum(0).view(one.shape) == 1  # the first pixel of class 1
    criterion.targets(network, labels, images, (guess == 0) & valid | one)
    means = [best[(guess == 0) & valid].mean().item(), best[one].item(), 1.0]  # from 1 at the start
    assert criterion.confidence.tolist() == pytest.approx([0.99 + 0.01 * m for m in means])


def test_the_teacher_is_the_moving_average_of_weights_and_statistics():
    torch.manual_seed(0)
    network = Pixelwise().train()
    criterion = consistency(network, teacher="average", decay=0.9)
    expected = {name: value.double() for name, value in network.state_dict().items()}
    for step in range(1, 31):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter)
        network(torch.rand(4, 3, 8, 8))
        criterion.after_step(network)
        keep = min(0.9, 1 - 1 / (1 + step))  # the first steps weigh alike
        for name, value in network.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * value.double()
    teacher = criterion.teacher.state_dict()
    for name in ("conv.weight", "norm.bias", "norm.running_var"):
        torch.testing.assert_close(teacher[name].double(), expected[name], rtol=1e-4, atol=1e-6)
    assert teacher["norm.num_batches_tracked"] == 30
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    criterion.targets(network, labels, torch.rand(1, 3, 2, 2), labels == 0)
    assert network.training and not criterion.teacher.training
    assert not any(p.requires_grad for p in criterion.teacher.parameters())


def test_cut_mix_puts_one_box_of_the_image_before_into_its_share_of_the_images():
    rng = np.random.default_rng(0)
    count, side = 400, 20
    images = torch.arange(count).view(-1, 1, 1, 1).expand(count, 3, side, side).float()
    targets = torch.arange(count).view(-1, 1, 1).expand(count, side, side)
    mixed, classes = cut_mix([images, targets], 0.5, rng)
    assert torch.equal(mixed[:, 0].long(), classes)  # image and target get the same box
    boxes = 0
    for number in range(count):
        inside = classes[number] != number
        if not inside.any():
            continue
        boxes += 1
        assert (classes[number][inside] == (number - 1) % count).all()
        rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
        assert inside.sum() == len(rows) * len(columns)  # a rectangle
        assert rows[-1] - rows[0] + 1 == len(rows) and columns[-1] - columns[0] + 1 == len(columns)
        assert inside.float().mean() <= 0.4
    assert 160 < boxes <= 205  # half of them; a box of less than a pixel is none
    same, as_before = cut_mix([images, targets], 0.0, np.random.default_rng(0))
    assert torch.equal(same, images) and torch.equal(as_before, targets)


def test_a_box_has_the_drawn_area_sides_and_place():
    """Brute force, one pixel at a time: 2 to 40 % of the image, sides 0.3 to 1 / 0.3."""
    count, height, width = 60, 14, 23
    targets = torch.arange(count).view(-1, 1, 1).expand(count, height, width)
    (mixed,) = cut_mix([targets], 0.7, np.random.default_rng(3))
    chosen, size, aspect, down, right = np.random.default_rng(3).random((5, count))
    seen = set()
    for number in range(count):
        area = height * width * (0.02 + 0.38 * size[number])
        ratio = 0.3 * (1 / 0.09) ** aspect[number]  # of height to width
        tall = int(min(math.sqrt(area * ratio), height))
        wide = int(min(math.sqrt(area / ratio), width))
        top, left = (
            int(down[number] * (height - tall + 1)),
            int(right[number] * (width - wide + 1)),
        )
        for row in range(height):
            for column in range(width):
                inside = top <= row < top + tall and left <= column < left + wide
                other = inside and chosen[number] < 0.7
                assert mixed[number, row, column] == (number - other) % count
        seen.add((tall == height, top + tall == height, left == 0, left + wide == width))
    assert len(seen) > 4  # boxes of full height, and boxes at the edges


WITH = {"steps": 12, "log_every": 4, "consistency": {"weight": 1.0, "threshold": 0.5}}


def test_nothing_of_a_hidden_label_reaches_training(tmp_path):
    """The same weights and curve, also if the labels of the unlabelled images do not exist."""
    data = small_data(tmp_path)
    settings = small_settings("scratch", finetune=WITH)
    index = read_index(data.index)
    hidden = index["id"].isin([pair.id for pair in unlabelled_pairs(data)])
    index.loc[hidden, ["label", "label_sha256"]] = str(tmp_path / "absent.png"), "0" * 64
    (tmp_path / "other").mkdir()
    index.to_csv(tmp_path / "other" / "index.csv", index=False)
    first = trained("finetune", data, settings, tmp_path / "true")
    other = replace(data, index=tmp_path / "other" / "index.csv")
    second = trained("finetune", other, settings, tmp_path / "absent")
    assert first.weights.read_bytes() == second.weights.read_bytes()
    curve = pd.read_csv(first.curve)
    assert list(curve) == ["step", "loss", "lr", "labelled_loss", "consistency_loss", "confident"]
    assert curve["loss"].to_numpy() == pytest.approx(
        (curve["labelled_loss"] + curve["consistency_loss"]).to_numpy()
    )
    assert curve["confident"].between(0, 1).all() and curve["confident"].iloc[-1] > 0
    assert (curve["consistency_loss"] > 0).any()


def test_consistency_without_an_unlabelled_image_is_a_sentence(tmp_path):
    data = small_data(tmp_path, n=24)
    with pytest.raises(DataError, match=r"none is left for finetune\.consistency; lower"):
        trained("finetune", data, small_settings("scratch", finetune=WITH), tmp_path / "run")


def test_a_student_may_start_at_its_teachers_end(tmp_path):
    data = small_data(tmp_path)
    taught = trained("finetune", data, small_settings("scratch"), tmp_path / "teacher")
    still = small_settings("scratch", finetune={"steps": 1, "lr": 1e-12, "weight_decay": 0.0})
    student = trained("finetune", data, still, tmp_path / "student", pretrained=taught.weights)
    before = checkpoint.load(taught.weights, "finetune")["network"]
    after = checkpoint.load(student.weights, "finetune")["network"]
    for key in ("encoder.net.conv_stem.weight", "classifier.weight"):
        assert torch.allclose(before[key], after[key], atol=1e-8)
