"""What the two stages optimise, put together again from its parts."""

import numpy as np
import pytest
import torch
from small_runs import small_settings

from cseg.images.distortion import distort
from cseg.model.network import build_segmenter
from cseg.stages.finetune import FinetuneObjective, cross_entropy
from cseg.stages.pretrain import PretrainObjective
from cseg.training.contrast import Contrast

CLASSES = 7


def network_of(settings):
    torch.manual_seed(0)
    return build_segmenter(settings.model, CLASSES, settings.init).eval()


def batch(images=8, side=32):
    gen = torch.Generator().manual_seed(1)
    labels = torch.randint(0, CLASSES, (images, side, side), generator=gen)
    labels[:, 0] = 255
    return torch.rand(images, 3, side, side, generator=gen), labels


def contrast_of(settings, scope):
    return Contrast(
        settings.pretrain, scope=scope, channels=settings.model.projection_channels
    )  # fmt: skip


@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_fine_tuning_distorts_its_share_of_the_images(strength, share):
    changes = {"distortion": strength, "distortion_share": share}
    settings = small_settings("scratch", finetune=changes)
    network, (images, labels) = network_of(settings), batch()
    found = FinetuneObjective(network, settings.finetune)(images, labels, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    drawn = torch.from_numpy(rng.random(len(images)) < share)
    seen = torch.where(drawn[:, None, None, None], distort(images, strength, rng), images)
    assert torch.equal(found, cross_entropy(network(seen), labels))
    untouched = cross_entropy(network(images), labels)
    assert torch.equal(found, untouched) == (strength == 0 or share == 0)
    assert 0 < drawn.sum() < len(images) or share != 0.5


@pytest.mark.parametrize("anchors", ["all", "hard"])
@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_a_joint_loss_is_cross_entropy_plus_the_weighted_contrast(anchors, strength):
    changes = {"contrast_scope": "within", "contrast_weight": 0.3, "contrast_anchors": anchors}
    settings = small_settings("scratch", finetune={**changes, "distortion": strength})
    network, (images, labels) = network_of(settings), batch()
    contrast = contrast_of(settings, "within")
    objective = FinetuneObjective(network, settings.finetune, contrast)
    found = objective(images, labels, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    if strength:
        drawn = torch.from_numpy(rng.random(len(images)) < settings.finetune.distortion_share)
        images = torch.where(drawn[:, None, None, None], distort(images, strength, rng), images)
    projected = network.project(network.features(images), settings.pretrain.grid)
    logits = network(images)
    wrong = logits.argmax(1) != labels if anchors == "hard" else None
    added = contrast(projected, labels, None, rng, wrong)
    whole = cross_entropy(logits, labels) + 0.3 * added
    assert added > 0.1 and found.item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_pretraining_contrasts_a_batch_with_its_distorted_views(strength):
    settings = small_settings("within", pretrain={"distortion": strength})
    network, (images, labels) = network_of(settings), batch(images=4)
    contrast = contrast_of(settings, "within")
    objective = PretrainObjective(network, contrast, settings.pretrain.distortion)
    found = objective(images, labels, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    other = distort(images, strength, rng)
    views = [network.project(network.features(x), settings.pretrain.grid) for x in (images, other)]
    want = contrast(views[0], labels, views[1], rng)
    assert found.item() == pytest.approx(want.item(), rel=1e-5)
    assert torch.equal(other, images) == (strength == 0)
