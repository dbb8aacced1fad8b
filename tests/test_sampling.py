"""Batches are a function of the step alone."""

import numpy as np
import pytest
import torch

from cseg.datasets import shapes
from cseg.settings.network import ImageSettings
from cseg.training.loader import iterate
from cseg.training.sampling import Pair, StepBatches, draw_order


@pytest.fixture
def batches(tmp_path):
    options = shapes.Options(size=24, train=5, val=1, seed=0)
    shapes.fetch(tmp_path, tmp_path, options)
    pairs = [
        Pair(s.id, s.image, s.label)
        for s in shapes.samples(tmp_path, tmp_path, options)
        if s.split == "train"
    ]
    image = ImageSettings(short_side=None, crop=(16, 16), scale=(0.5, 2.0), flip=True)
    info = shapes.info(options)

    def build(cache_mib=64):
        return StepBatches(pairs, info, image, 4, 3, 6, cache_mib)

    return build


def test_every_pass_visits_every_item_once():
    order = draw_order(seed=1, count=7, first=0, size=21)
    for turn in range(3):
        assert sorted(order[turn * 7 : turn * 7 + 7]) == list(range(7))
    assert order[:7] != order[7:14]


def test_starting_later_continues_the_same_order():
    whole = draw_order(seed=2, count=5, first=0, size=40)
    assert draw_order(seed=2, count=5, first=13, size=9) == whole[13:22]


def test_batches_do_not_depend_on_workers_cache_or_start(batches):
    plain = list(iterate(batches(), workers=0, pin=False))
    parallel = list(iterate(batches(), workers=2, pin=False))
    uncached = list(iterate(batches(cache_mib=0), workers=0, pin=False))
    late = list(iterate(batches(), workers=0, pin=False, first=4))
    for other in (parallel, uncached):
        for (image, label), (image_b, label_b) in zip(plain, other, strict=True):
            assert torch.equal(image, image_b) and torch.equal(label, label_b)
    assert torch.equal(plain[4][0], late[0][0]) and len(late) == 2


def test_ids_name_the_images_of_a_step(batches):
    source = batches()
    order = draw_order(3, 5, 2 * 4, 4)
    assert source.ids(2) == [source.pairs[i].id for i in order]


def test_seeds_give_other_batches(batches):
    source = batches()
    first = source[0][0]
    source.seed = 4
    assert not np.array_equal(first.numpy(), source[0][0].numpy())


def test_the_cache_keeps_as_many_images_as_it_has_room_for(batches):
    source = batches()
    pair = 24 * 24 * 4  # bytes of an image and its labels
    source.room = 2 * pair + 1
    for step in range(source.steps):
        source[step]
    assert len(source.cache) == 2 and source.room == 1
