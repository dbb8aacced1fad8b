"""Geometry moves image and label together."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from cseg.datasets.samples import IGNORE
from cseg.images.transforms import random_crop, resize_label, resize_short_side
from cseg.settings.network import ImageSettings


def chosen(crop, scale=(1.0, 1.0), flip=False):
    return ImageSettings(short_side=None, crop=crop, scale=scale, flip=flip)


def pair(height, width):
    """An image whose red channel is its label, so that the two can be compared after a crop."""
    label = torch.arange(height * width, dtype=torch.int64).remainder(200).to(torch.uint8)
    label = label.view(height, width)
    return torch.stack([label] * 3), label


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(3, 40),
    width=st.integers(3, 40),
    crop=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    seed=st.integers(0, 1000),
)
def test_at_scale_one_every_pixel_keeps_its_label(height, width, crop, seed):
    image, label = random_crop(
        *pair(height, width), chosen(crop, flip=True), np.random.default_rng(seed)
    )
    assert tuple(image.shape) == (3, *crop) and tuple(label.shape) == crop
    inside = label != IGNORE
    assert (image[0][inside] == label[inside]).all()
    assert int(inside.sum()) == min(height, crop[0]) * min(width, crop[1])
    assert (image[0][~inside] == 128).all()


@settings(max_examples=40, deadline=None)
@given(low=st.floats(0.3, 1.0), high=st.floats(1.0, 3.0), seed=st.integers(0, 1000))
def test_scaled_crops_have_the_right_size_and_only_known_labels(low, high, seed):
    image, label = pair(20, 30)
    out, cut = random_crop(image, label, chosen((16, 12), (low, high)), np.random.default_rng(seed))
    assert tuple(out.shape) == (3, 16, 12) and out.dtype == torch.uint8
    assert set(cut.unique().tolist()) <= {*label.unique().tolist(), IGNORE}


def test_an_image_smaller_than_its_box_is_scaled_alone_and_put_into_the_middle():
    image, label = pair(20, 30)
    out, cut = random_crop(image, label, chosen((24, 18), (0.5, 0.5)), np.random.default_rng(0))
    assert torch.equal(out[:, 7:17, 1:16], F.resize(image, [10, 15], antialias=True))
    inside = torch.zeros(24, 18, dtype=torch.bool)
    inside[7:17, 1:16] = True
    assert (out[:, ~inside] == 128).all() and ((cut != IGNORE) == inside).all()


def test_same_generator_same_crop():
    first = random_crop(*pair(20, 30), chosen((8, 8), (0.5, 2.0), True), np.random.default_rng(5))
    again = random_crop(*pair(20, 30), chosen((8, 8), (0.5, 2.0), True), np.random.default_rng(5))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_short_side_is_reached_and_aspect_kept():
    image, label = pair(36, 48)
    small = resize_short_side(image, 18)
    assert tuple(small.shape) == (3, 18, 24)
    assert tuple(resize_label(label, (18, 24)).shape) == (18, 24)
    assert resize_short_side(image, None) is image
