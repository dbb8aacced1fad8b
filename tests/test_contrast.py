"""The contrast of a training step: grids are averaged, a memory holds earlier batches."""

import numpy as np
import pytest
import torch
from loss_cases import brute_force
from small_runs import SMOKE, small_data, small_settings
from stage_runs import NAMES, trained

from cseg import experiment
from cseg.errors import ConfigError
from cseg.losses import PixelContrastLoss, pixel_contrast_loss
from cseg.losses.checks import checked_partner
from cseg.model import checkpoint
from cseg.training.contrast import Contrast


def contrast(scope, batch=3, **changes):
    block = {"grid": [3, 4], "backend": "dense", "batch": batch, **changes}
    settings = small_settings(scope, pretrain=block).pretrain
    return Contrast(settings, scope=scope, channels=5)


def batch(seed, images=3, height=6, width=8):
    gen = torch.Generator().manual_seed(seed)
    feats, other = torch.randn(2, images, 5, height, width, generator=gen)
    labels = torch.randint(0, 3, (images, height, width), generator=gen)
    labels[:, 0, 0] = 255
    return feats, labels, other


@pytest.mark.parametrize("scope", ["within", "cross", "batch"])
def test_the_losses_on_all_grids_are_averaged_over_the_same_pairs(scope):
    feats, labels, other = batch(0)
    module = contrast(scope, coarse_grids=[[2, 2], [6, 8]])
    got = module(feats, labels, other, np.random.default_rng(4))
    want = []
    for grid in [(3, 4), (2, 2), (6, 8)]:
        pairing = torch.Generator()
        pairing.manual_seed(int(np.random.default_rng(4).integers(2**63)))
        one = PixelContrastLoss(grid, scope=scope, generator=pairing, backend="dense")
        want.append(one(feats, labels, other))
    assert got.item() == pytest.approx(torch.stack(want).mean().item(), rel=1e-6)


@pytest.mark.parametrize("two_views", [True, False])
def test_a_memory_adds_the_pixels_of_the_last_batches_as_candidates(two_views):
    module = contrast("batch", memory_images=6)
    rng = np.random.default_rng(0)
    seen_feats, seen_labels = [], []
    for step in range(4):
        feats, labels, other = batch(step)
        other = other if two_views else None
        got = module(feats, labels, other, rng)
        anchors, truth = module.losses[0].on_grid(feats, labels)
        candidates = anchors if other is None else module.losses[0].on_grid(other, labels)[0]
        pixels = [t.flatten(2).mT.double().tolist() for t in (anchors, candidates)]
        truth = truth.flatten(1).tolist()
        recent = slice(max(0, len(seen_feats) - 2 * 3), None)
        want = brute_force(
            pixels[0], truth, pixels[1] + seen_feats[recent], truth + seen_labels[recent],
            "batch", "all", 0.07, None,
        )  # fmt: skip
        assert got.item() == pytest.approx(want, rel=1e-5), step
        seen_feats += pixels[1]
        seen_labels += truth


@pytest.mark.parametrize(
    ("scope", "memory"), [("within", 0), ("cross", 0), ("batch", 0), ("batch", 3)]
)
@pytest.mark.parametrize("two_views", [True, False])
def test_only_chosen_pixels_are_anchors_and_all_are_candidates(scope, memory, two_views):
    feats, labels, other = batch(0)
    other = other if two_views else None
    chosen = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    module = contrast(scope, memory_images=memory)
    got = module(feats, labels, other, np.random.default_rng(4), chosen)
    criterion = module.losses[0]
    pairing = torch.Generator().manual_seed(int(np.random.default_rng(4).integers(2**63)))
    partner = checked_partner(None, 3, pairing).tolist() if scope == "cross" else None
    views = [criterion.on_grid(f, labels)[0] for f in (feats, feats if other is None else other)]
    truths = [criterion.on_grid(feats, t)[1] for t in (labels.masked_fill(~chosen, 255), labels)]
    pixels = [v.flatten(2).mT.double().tolist() for v in views]
    truths = [t.flatten(1).tolist() for t in truths]
    want = brute_force(pixels[0], truths[0], pixels[1], truths[1], scope, "all", 0.07, partner)
    assert got.item() == pytest.approx(want, rel=1e-5)


def test_the_memory_has_its_images_whatever_the_pieces_of_a_batch():
    """Six images remembered: the last three pieces of two images, or two batches of three."""
    for size in (2, 3):
        module = contrast("batch", batch=size, memory_images=6)
        for step in range(4):
            feats, labels, _ = batch(step, images=size)
            module(feats, labels, None, np.random.default_rng(0))
        last = [batch(step, images=size) for step in range(3, 3 - 6 // size, -1)]
        wanted = [module.losses[0].on_grid(feats, labels) for feats, labels, _ in last]
        assert torch.equal(module.remembered, torch.cat([feats for feats, _ in wanted]))
        assert torch.equal(module.remembered_labels, torch.cat([labels for _, labels in wanted]))


def test_what_is_remembered_has_no_gradient_and_is_part_of_a_saved_state():
    module = contrast("batch", memory_images=3)
    feats, labels, other = batch(0)
    module(feats, labels, other.requires_grad_(), np.random.default_rng(0))
    later = batch(1)
    loss = module(later[0].requires_grad_(), *later[1:], np.random.default_rng(0))
    state = module.state_dict()
    loss.backward()
    assert later[0].grad.abs().sum() > 0 and other.grad is None
    for value in state.values():  # a view of more would be saved whole
        assert value.untyped_storage().nbytes() == value.nbytes
    restored = contrast("batch", memory_images=3)
    restored.load_state_dict(state)
    again = batch(2)
    with torch.no_grad():
        losses = [m(*again, np.random.default_rng(0)) for m in (module, restored)]
    assert losses[0] == losses[1]


def test_bfloat16_features_meet_a_memory_that_is_kept_in_float32():
    module = contrast("batch", memory_images=3, backend="tiled")
    feats, labels, other = batch(0)
    for seed in (0, 1):  # the first meets an empty memory
        feats, labels, other = (t.bfloat16() if t.is_floating_point() else t for t in batch(seed))
        loss = module(feats.requires_grad_(), labels, other, np.random.default_rng(0))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert feats.grad.dtype == torch.bfloat16 and feats.grad.abs().sum() > 0
    assert module.remembered.dtype == torch.float32
    assert torch.equal(module.remembered, module.remembered.bfloat16().float())


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("backend", ["dense", "tiled"])
def test_one_bag_may_hold_more_images_than_there_are_anchors(denominator, backend):
    feats, labels, _ = batch(0)
    more, more_labels, _ = batch(1, images=5)
    got = pixel_contrast_loss(
        feats, labels, more, more_labels, scope="batch", denominator=denominator, backend=backend,
        temperature=1.0,
    )  # fmt: skip
    lists = [t.flatten(2).mT.double().tolist() for t in (feats, more)]
    truths = [t.flatten(1).tolist() for t in (labels, more_labels)]
    want = brute_force(lists[0], truths[0], lists[1], truths[1], "batch", denominator, 1.0, None)
    assert got.item() == pytest.approx(want, rel=1e-5)


def test_a_joint_loss_moves_the_features_and_leaves_no_projection_head(tmp_path):
    data = small_data(tmp_path)
    kept = {}
    for name, changes in {
        "plain": {},
        "joint": {"contrast_scope": "cross", "contrast_weight": 1.0},
        "hard": {"contrast_scope": "cross", "contrast_weight": 1.0, "contrast_anchors": "hard"},
        "weightless": {"contrast_scope": "cross", "contrast_weight": 0.0},
    }.items():
        settings = small_settings("scratch", finetune=changes)
        trained("finetune", data, settings, tmp_path / name)
        kept[name] = checkpoint.load(tmp_path / name / NAMES[0], "finetune")["network"]
    assert set(kept["plain"]) == set(kept["joint"])
    key = "encoder.net.conv_stem.weight"
    assert not torch.equal(kept["plain"][key], kept["joint"][key])
    assert not torch.equal(kept["joint"][key], kept["hard"][key])
    assert torch.allclose(kept["plain"][key], kept["weightless"][key], atol=1e-7)


@pytest.mark.parametrize(
    ("arm", "changes", "words"),
    [
        ("cross", {"pretrain": {"memory_images": 2}}, r"memory_images is 2 \(arm cross\)"),
        ("batch", {"pretrain": {"memory_images": 2, "coarse_grids": [[4, 4]]}}, r"no coarse_grids"),
        (
            "scratch",
            {"finetune": {"contrast_scope": "batch", "trained": "classifier"}},
            r"finetune\.contrast_scope is batch \(arm scratch\), but only the classifier learns",
        ),
        (
            "scratch",
            {"pretrain": {"memory_images": 1}, "finetune": {"contrast_scope": "within"}},
            r"pretrain\.memory_images is 1 \(arm scratch\)",
        ),
        ("scratch", {"finetune": {"contrast_scope": ["batch"]}}, r"finetune\.contrast_scope is"),
        (
            "scratch",
            {"pretrain": {"denominator": "negatives"}, "finetune": {"contrast_anchors": "hard"}},
            r"finetune\.contrast_anchors is hard \(arm scratch\)",
        ),
    ],
)
def test_settings_that_cannot_serve_are_refused(arm, changes, words):
    with pytest.raises(ConfigError, match=words):
        experiment.load([SMOKE], {"run_arms": [arm], "arms": {arm: {"overrides": changes}}})


def test_a_teacher_that_runs_for_others_only_is_checked_as_the_arms_that_run():
    teacher = {"init": "random", "scope": "cross", "overrides": {"pretrain": {"memory_images": 2}}}
    arms = {"tutor": teacher, "tutor_pseudo": {**teacher, "teacher": "tutor", "overrides": {}}}
    with pytest.raises(ConfigError, match=r"pretrain\.memory_images is 2 \(arm tutor\)"):
        experiment.load([SMOKE], {"run_arms": ["tutor_pseudo"], "arms": arms})
