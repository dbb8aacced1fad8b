"""Colour distortion: per image, repeatable, and equal to its steps done one by one."""

import numpy as np
import pytest
import torch

from cseg.images import distortion


def images(count=6, seed=0):
    return torch.rand(count, 3, 5, 4, generator=torch.Generator().manual_seed(seed))


WIDTHS = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue: SimCLR's at strength 1
LUMA = np.array([0.299, 0.587, 0.114])
RGB_TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def one_by_one(image_3HW, strength, count, index, seed):
    """The draws of `colour_maps`, applied to one image step after step, in float64."""
    rng = np.random.default_rng(seed)
    jittered = rng.random(count) < 0.8
    amounts = rng.uniform(-1, 1, (4, count)) * jittered * strength
    order = rng.permuted(np.tile(np.arange(4), (count, 1)), axis=1)[index]
    grey = rng.random(count)[index] < 0.2
    x = image_3HW.astype(np.float64).reshape(3, -1)
    for step in order:
        amount = amounts[step, index] * WIDTHS[step]
        luma = LUMA @ x
        gain = max(0.0, 1 + amount)
        if step == 0:
            x = gain * x
        elif step == 1:
            x = gain * x + (1 - gain) * luma.mean()
        elif step == 2:
            x = gain * x + (1 - gain) * luma
        else:
            y, i, q = RGB_TO_YIQ @ x
            turned = (i + 1j * q) * np.exp(2j * np.pi * amount)
            x = np.linalg.inv(RGB_TO_YIQ) @ np.stack([y, turned.real, turned.imag])
    if grey:
        x = np.tile(LUMA @ x, (3, 1))
    return np.clip(x, 0, 1).reshape(image_3HW.shape)


@pytest.mark.parametrize("seed", range(8))
def test_folded_map_equals_the_steps_one_by_one(seed):
    batch = images()
    out = distortion.distort(batch, 1.0, np.random.default_rng(seed))
    for index in range(len(batch)):
        expected = one_by_one(batch[index].numpy(), 1.0, len(batch), index, seed)
        np.testing.assert_allclose(out[index].numpy(), expected, atol=2e-6)


def test_strength_zero_changes_nothing():
    batch = images()
    assert distortion.distort(batch, 0.0, np.random.default_rng(0)) is batch


def test_images_of_a_batch_are_distorted_differently():
    batch = images(1).expand(8, -1, -1, -1)
    out = distortion.distort(batch, 1.0, np.random.default_rng(3))
    assert len({tuple(image.flatten().tolist()) for image in out}) >= 5


def test_values_stay_in_range_and_input_is_untouched():
    batch = images()
    copy = batch.clone()
    out = distortion.distort(batch, 2.0, np.random.default_rng(1))
    assert out.min() >= 0 and out.max() <= 1 and out.shape == batch.shape
    assert (batch == copy).all()


def test_autocast_changes_no_bit():
    plain = distortion.distort(images(), 1.0, np.random.default_rng(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distortion.distort(images(), 1.0, np.random.default_rng(0)), plain)


def test_jitter_and_grey_have_simclrs_probabilities():
    """0.8 and 0.2: a fifth is not jittered, and four fifths of those keep their colours."""
    pixel, mean = distortion.colour_maps(4000, 1.0, np.random.default_rng(0))
    kept = (np.abs(pixel - np.eye(3)) < 1e-9).all(axis=(1, 2)) & (mean == 0).all(axis=(1, 2))
    grey = (np.abs(pixel - pixel[:, :1]) < 1e-9).all(axis=(1, 2))
    assert kept.mean() == pytest.approx(0.2 * 0.8, abs=0.02)
    assert grey.mean() == pytest.approx(0.2, abs=0.02)
