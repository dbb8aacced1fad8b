"""A network applied to images of any size: windows, bands, and enough memory or a sentence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cseg.errors import ConfigError, TrainingError
from cseg.inference import load, predict
from cseg.inference.load import load_segmenter
from cseg.inference.predict import ProtocolSettings, predict_sure, score_bands

SIDES = st.integers(1, 40)


class Pixelwise(nn.Module):
    """Logits that depend on a pixel and on its place in what it is shown with."""

    mean = torch.zeros(1)

    def forward(self, images):
        rows = torch.linspace(0, 1, images.shape[-2])[:, None].expand(images.shape[-2:])
        return torch.cat([images * 5, rows.expand(1, 1, *rows.shape)], dim=1)


def noise(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def scores(image, size, protocol):
    bands = list(score_bands(Pixelwise(), image, size, protocol))
    return torch.cat(bands, dim=1), len(bands)


def by_hand(image, window, overlap=None):
    """Mean probabilities over all windows, whole maps at once, float64."""
    height, width = image.shape[-2:]
    total, weight = torch.zeros(4, height, width, dtype=torch.float64), torch.zeros(height, width)

    def starts(length, side):
        step = max(1, side // 2 if overlap is None else side - overlap, side // 2)
        places = [at for at in range(0, length, step) if at < length - side]
        return [*places, max(0, length - side)]

    for top in starts(height, window[0]):
        for left in starts(width, window[1]):
            place = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            total[place] += Pixelwise()(image[place][None] / 255)[0].softmax(0)
            weight[place[1:]] += 1
    return total / weight


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.none() | st.integers(0, 8),
    st.integers(0, 9),
)  # fmt: skip
def test_a_sliding_window_is_the_mean_over_its_windows(size, window, overlap, seed):
    image = noise(*size, seed)
    found, bands = scores(image, size, ProtocolSettings(None, window, overlap))
    assert torch.allclose(found.double(), by_hand(image, window, overlap), atol=1e-6)
    if window[0] < size[0]:
        assert bands > 1


@settings(max_examples=40, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(1, 500))
def test_resizing_in_bands_is_resizing_at_once(size, wanted, most):
    image = noise(*size)
    once = F.interpolate(Pixelwise()(image[None] / 255), wanted, mode="bilinear")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "MOST", most)
        found, _ = scores(image, wanted, ProtocolSettings(None, None))
    assert found.shape == once.shape and torch.allclose(found, once, atol=1e-5)


def test_bands_change_no_label(monkeypatch):
    image = noise(30, 21)
    protocol = ProtocolSettings(15, None)
    whole = predict.predict(Pixelwise(), image, (30, 21), protocol)
    sure = predict_sure(Pixelwise(), image, protocol)
    monkeypatch.setattr(predict, "MOST", 4 * 21 * 7)
    assert torch.equal(whole, predict.predict(Pixelwise(), image, (30, 21), protocol))
    again = predict_sure(Pixelwise(), image, protocol)
    assert torch.equal(again[0], sure[0]) and torch.allclose(again[1], sure[1], atol=1e-6)


def test_large_images_are_predicted_by_windows_unless_the_run_says_how(checkpoint, monkeypatch):
    loaded = load_segmenter(checkpoint)
    assert loaded.protocol((4095, 4096), None) == ProtocolSettings(None, None)
    assert loaded.protocol((4096, 4096), None) == ProtocolSettings(None, (1024, 1024), 128)
    assert loaded.protocol((4096, 4096), (512, 256)) == ProtocolSettings(None, (512, 256))
    usual = loaded.settings
    windowed = replace(usual, evaluate=replace(usual.evaluate, window=(64, 48)))
    small = replace(usual, image=replace(usual.image, short_side=512))
    chosen = replace(loaded, settings=windowed).protocol((30, 30), None)
    assert chosen == ProtocolSettings(None, (64, 48))
    chosen = replace(loaded, settings=small).protocol((40960, 40960), None)
    assert chosen == ProtocolSettings(512, None)
    monkeypatch.setattr(load, "LARGE", 1000)
    monkeypatch.setattr(load, "WINDOW", (16, 16))
    image = np.asarray(noise(40, 30).permute(1, 2, 0))
    assert (loaded.predict(image) == loaded.predict(image, window=(16, 16))).all()


@pytest.mark.parametrize(("overlap", "windows"), [(None, 6 * 9), (64, 6 * 9), (16, 4 * 6), (0, 20)])
def test_a_large_image_is_seen_once_but_for_the_overlap(overlap, windows):
    """No window is larger than asked for, and each but the last is `overlap` from its neighbour."""
    seen = []

    class Watched(Pixelwise):
        def forward(self, images):
            seen.append(tuple(images.shape[-2:]))
            return super().forward(images)

    protocol = ProtocolSettings(None, (128, 128), overlap)
    rows = [b.shape[1] for b in score_bands(Watched(), noise(400, 600), (400, 600), protocol)]
    assert seen == [(128, 128)] * windows
    assert sum(rows) == 400 and max(rows) <= 128


@pytest.mark.parametrize(
    ("length", "side", "overlap", "starts"),
    [
        (10, 4, None, [0, 2, 4, 6]),
        (10, 4, 0, [0, 4, 6]),
        (10, 4, 1, [0, 3, 6]),
        (10, 4, 3, [0, 2, 4, 6]),  # more than half a window is half
        (11, 5, None, [0, 2, 4, 6]),  # half of an odd side is rounded up
        (11, 5, 2, [0, 3, 6]),
        (9, 1, None, list(range(9))),
        (4, 4, None, [0]),
        (3, 4, 0, [0]),
    ],
)
def test_where_windows_start(length, side, overlap, starts):
    seen = []

    class Placed(Pixelwise):
        def forward(self, images):
            seen.append(round(images[0, 0, 0, 0].item() * 255))
            return super().forward(images)

    image = torch.arange(length, dtype=torch.uint8).expand(3, 2, length)  # a column's own number
    protocol = ProtocolSettings(None, (2, side), overlap)
    list(score_bands(Placed(), image, (2, length), protocol))
    assert seen == starts


def test_no_memory_is_one_sentence_with_the_remedy():
    class Greedy(Pixelwise):
        def forward(self, images):
            return torch.empty(2**50)

    with pytest.raises(TrainingError, match=r"image of 20x10 pixels needs more memory .*--window"):
        predict.predict(Greedy(), noise(20, 10), (20, 10), ProtocolSettings(None, None))


def test_an_empty_window_is_refused():
    with pytest.raises(ConfigError, match="a window of 0x8 is empty; give at least 1"):
        scores(noise(9, 9), (9, 9), ProtocolSettings(None, (0, 8)))
