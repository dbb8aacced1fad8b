"""Feature space before fine-tuning: the numbers by hand, the same pixels for every arm."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import small_data, small_settings

from cseg.model import checkpoint
from cseg.model.network import build_segmenter
from cseg.settings.keys import plain
from cseg.stages.features import (
    FeaturesOutputs,
    Start,
    features,
    principal_components,
    project,
    separability,
)


def test_separability_by_hand():
    # class 0: directions 0 and 90 degrees, centre at 45; class 1: twice 180 degrees
    units = np.array([[1, 0], [0, 1], [-1, 0], [-1, 0]], float)
    found = separability(units, np.array([0, 0, 1, 1]))
    half = 0.5**0.5
    assert found["intra_class"] == pytest.approx(((1 - half) + 0) / 2)
    assert found["inter_class"] == pytest.approx(1 + half)
    assert found["ratio"] == pytest.approx((1 + half) / ((1 - half) / 2))


def test_one_class_has_no_distance_between_classes():
    found = separability(np.eye(3), np.zeros(3, int))
    assert np.isnan(found["inter_class"]) and np.isnan(found["ratio"])


def test_principal_components_are_those_of_the_covariance():
    rows = np.random.default_rng(0).normal(size=(50, 4)) * [5, 3, 1, 0.1]
    xy = principal_components(rows)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    for i in (0, 1):
        axis = vectors[:, -1 - i]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        assert xy[:, i] == pytest.approx((rows - rows.mean(0)) @ axis)
    assert xy.var(axis=0, ddof=1) == pytest.approx(values[::-1][:2])


def test_tsne_keeps_apart_what_is_apart_and_repeats_itself():
    rng = np.random.default_rng(0)
    units = np.repeat(np.eye(3), 20, axis=0) + rng.normal(0, 0.02, (60, 3))
    first, second = project(units)["tsne"], project(units)["tsne"]
    assert (first == second).all()
    groups = first.reshape(3, 20, 2)
    centres = groups.mean(axis=1)
    within = np.linalg.norm(groups - centres[:, None], axis=2).max()
    assert within < min(
        np.linalg.norm(centres[a] - centres[b]) for a, b in [(0, 1), (0, 2), (1, 2)]
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return folder, small_data(folder), small_data(folder, n=8)


def start(arm, inputs, folder, weights=None, seed=0):
    settings = small_settings(arm, seed)
    if weights:
        torch.manual_seed(5)
        network = build_segmenter(settings.model, 6, "random")
        content = {"network": network.state_dict(), "start": plain(network.start)}
        checkpoint.save(folder / weights, "pretrain", content)
        inputs = replace(inputs, pretrained=folder / weights)
    return Start(arm=arm, inputs=inputs, settings=settings)


def run(data, starts, name):
    outputs = data[0] / f"{name}.csv", data[0] / f"{name}_separability.csv"
    out = FeaturesOutputs(features=outputs[0], separability=outputs[1])
    features(starts, out=out, threads=1)
    return [pd.read_csv(path) for path in outputs], [path.read_bytes() for path in outputs]


def test_every_run_is_measured_and_the_scarcest_projected(data):
    folder, small, large = data
    starts = [
        start("scratch", large, folder),
        start("scratch_distorted", small, folder),
        start("scratch", small, folder),
        start("scratch", small, folder, seed=1),
        start("cross", small, folder, "cross.pt"),
    ]
    (points, measured), first = run(data, starts, "a")
    assert list(measured.columns) == [
        "dataset", "arm", "n", "seed", "intra_class", "inter_class", "ratio",
    ]  # fmt: skip
    assert list(measured["n"]) == [8, 4, 4, 4, 4]
    by_arm = measured.set_index(["arm", "n", "seed"])["ratio"]
    assert by_arm["scratch", 8, 0] == by_arm["scratch", 4, 0]  # a fresh network knows no n
    assert by_arm["scratch", 4, 0] != by_arm["scratch", 4, 1]
    assert by_arm["scratch", 4, 0] != by_arm["cross", 4, 0]
    assert set(points["n"]) == {4} and set(points["seed"]) == {0}
    assert set(points["arm"]) == {"scratch", "scratch_distorted", "cross"}
    assert set(points["method"]) == {"pca", "tsne"} and np.isfinite(points[["x", "y"]]).all().all()
    pixels = [
        cell[["image_id", "class_id"]].reset_index(drop=True)
        for _, cell in points.groupby(["arm", "method"])
    ]
    assert all(pixels[0].equals(other) for other in pixels[1:])  # the same ones for every arm
    assert len(pixels[0]) <= 600 and len(set(pixels[0]["image_id"])) > 1
    assert run(data, starts, "b")[1] == first  # the same bytes again


def test_the_classes_drawn_are_those_of_the_images(data):
    folder, small, _ = data
    (points, _), _ = run(data, [start("scratch", small, folder)], "c")
    rows = pd.read_csv(small.index).set_index("id")
    for image, cell in points.groupby("image_id"):
        assert (rows.loc[image, [f"pixels_{c}" for c in cell["class_id"].unique()]] > 0).all()
