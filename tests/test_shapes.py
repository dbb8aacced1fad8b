"""The painted scenes: a function of their key, every class present, colour no clue."""

from functools import partial

import numpy as np
import pytest

from cseg.datasets import shapes, typed_options
from cseg.datasets.painter import paint
from cseg.datasets.reading import read_image, read_label
from cseg.errors import ConfigError

painted = partial(paint, names=shapes.CLASS_NAMES)


def test_a_scene_is_a_function_of_its_key():
    image, label = painted(48, (0, 0, 5))
    again, label_again = painted(48, (0, 0, 5))
    other, _ = painted(48, (0, 0, 6))
    assert (image == again).all() and (label == label_again).all()
    assert (image != other).any()


def test_scenes_hold_every_class_and_nothing_else():
    labels = np.stack([painted(48, (0, 0, k))[1] for k in range(64)])
    assert set(np.unique(labels)) == set(range(len(shapes.CLASS_NAMES)))
    share = np.bincount(labels.ravel()) / labels.size
    assert share[0] < 0.8 and share[1:].min() > 0.01


def test_mean_colour_does_not_tell_the_class():
    """A nearest-mean classifier on colour is hardly better than guessing among the objects."""
    colours, classes = [], []
    for k in range(300):
        image, label = painted(32, (0, 0, k))
        for c in np.unique(label[label > 0]):
            colours.append(image[label == c].mean(axis=0))
            classes.append(c)
    colours, classes = np.array(colours), np.array(classes)
    half = len(classes) // 2
    means = np.stack([colours[:half][classes[:half] == c].mean(axis=0) for c in range(1, 7)])
    guess = 1 + ((colours[half:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (guess == classes[half:]).mean() < 2 / 6


def test_fetch_writes_what_paint_makes_and_does_not_repaint(tmp_path):
    options = shapes.Options(size=24, train=3, val=2, seed=4)
    shapes.fetch(tmp_path, tmp_path, options)
    listed = shapes.samples(tmp_path, tmp_path, options)
    assert [s.split for s in listed] == ["train"] * 3 + ["val"] * 2
    image, label = painted(24, (4, 1, 1))
    assert (read_image(listed[4].image) == image).all()
    assert (read_label(listed[4].label, shapes.info(options)) == label).all()
    before = [s.image.stat().st_mtime_ns for s in listed]
    shapes.fetch(tmp_path, tmp_path, options)
    assert [s.image.stat().st_mtime_ns for s in listed] == before


def test_an_unknown_option_is_named():
    with pytest.raises(ConfigError, match="colour"):
        typed_options("shapes", {"colour": 1})
