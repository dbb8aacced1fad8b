"""Images that nobody has labelled: arms with a teacher learn from them, and nothing else does."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from kind_folders import NAMES, PLAIN, grey, ids, of
from small_runs import small_settings
from stage_runs import trained
from written_kinds import write_image_kind

from cseg.datasets.reading import read_class_ids
from cseg.datasets.samples import load_info
from cseg.errors import DataError
from cseg.stages.fetch import fetch
from cseg.stages.index import index
from cseg.stages.pseudolabel import PseudolabelOutputs, pseudolabel
from cseg.stages.run import (
    RunInputs,
    labelled_pairs,
    training_pairs,
    unlabelled_pairs,
    validation_pairs,
)
from cseg.stages.subset import subset
from cseg.storage.index_and_subset import read_index
from cseg.training.sampling import load_pair

MORE = ("c", "d", "e")


@pytest.fixture
def root(tmp_path):
    """Two labelled training images, one for validation, three without label."""
    of()(tmp_path)
    for name in MORE:
        write_image_kind(tmp_path / "more" / f"{name}.png", grey(name), "8")
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("v\n")
    return tmp_path


def indexed(root, n="all", **keys):
    described = {"classes": PLAIN, "train": "train.txt", "val": "val.txt", "unlabelled": "more"}
    options = {"description": {**described, **keys}}
    data = RunInputs(
        index=root / "index.csv", dataset=root / "dataset.json", subset=root / "subset.csv"
    )
    fetch("folder", root, options=options, out=root / "fetch.json")
    index(root / "fetch.json", data.index, dataset_json=data.dataset, workers=1)
    subset(data.index, data.dataset, n=n, seed=0, out=data.subset)
    return data


def labelled_by_a_teacher(root, data):
    """Labels, listing and quality that a teacher of two steps writes, and the settings."""
    settings = small_settings("scratch", finetune={"steps": 2, "validate_every": 0})
    teacher = trained("finetune", data, settings, root / "teacher").weights
    labelling = small_settings("cross_pseudo", pseudolabel={"threshold": 0.0, "images": None})
    paths = root / "pseudo", root / "pseudo_labels.csv", root / "pseudo.csv"
    out = PseudolabelOutputs(labels=paths[0], listing=paths[1], quality=paths[2])
    pseudolabel(data, labelling, teacher=teacher, out=out, threads=1)
    return pd.read_csv(paths[1]), pd.read_csv(paths[2]).iloc[0], labelling


def test_they_have_rows_of_their_own_and_no_pixels(root):
    data = indexed(root)
    table = read_index(data.index).set_index("id")
    assert list(table["split"]) == ["train", "train", "val", *["unlabelled"] * 3]
    more = table.loc[[f"more/{name}" for name in MORE]]
    assert (more["label"] == "").all() and (more["label_sha256"] == "").all()
    assert (more[[c for c in table if c.startswith("pixels")]] == 0).all(axis=None)
    assert (more["width"] == 24).all() and (more["image_sha256"].str.len() == 64).all()
    facts = json.loads(data.dataset.read_text())
    assert [facts[f"{s}_size"] for s in ("train", "val", "unlabelled")] == [2, 1, 3]
    assert {p.id for p in labelled_pairs(data)[0]} == {"a", "b"}
    assert [p.id for p in validation_pairs(data.index)] == ["v"]
    found = unlabelled_pairs(data)
    assert [(p.id, p.label) for p in found] == [(f"more/{name}", None) for name in MORE]
    with pytest.raises(DataError, match=r"more/c\.png has no label; take it off"):
        load_pair(found[0], load_info(data.dataset), None)


def test_hidden_labels_come_before_them(root):
    data = indexed(root, n=1)
    found = unlabelled_pairs(data)
    assert [p.label is None for p in found] == [False, True, True, True]


def test_a_list_names_them_among_the_images(root):
    for name in MORE:
        (root / "more" / f"{name}.png").rename(root / "images" / f"{name}.png")
    (root / "more").rmdir()
    (root / "more.txt").write_text("images/d.png\nc\n")
    data = indexed(root, unlabelled="more.txt")
    assert [p.id for p in unlabelled_pairs(data)] == ["d", "c"]
    (root / "more.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"more than once: a \(train and unlabelled\)"):
        indexed(root, unlabelled="more.txt")


def test_a_validation_image_is_not_to_be_learned_from_either(root):
    write_image_kind(root / "more" / "f.png", grey("v"), "8")
    with pytest.raises(DataError, match=r"v\.png \(val\) is the same .*f\.png \(unlabelled\)"):
        indexed(root)


def test_a_teacher_labels_them_and_training_reads_its_labels(root):
    data = indexed(root, n=1)
    listing, quality, labelling = labelled_by_a_teacher(root, data)
    hidden = next(name for name in NAMES[:2] if name in set(listing["id"]))
    assert list(listing["id"]) == [hidden, *(f"more/{name}" for name in MORE)]
    assert quality["images"] == 4 and quality["kept"] == 1
    # measured on the one image that has a label, and on no other
    guess = read_class_ids(listing.set_index("id").loc[hidden, "label"])
    assert quality["pixel_accuracy"] == pytest.approx((guess == ids(hidden)).mean())
    pairs, _ = training_pairs(replace(data, pseudo=root / "pseudo_labels.csv"), labelling)
    assert [pair.id for pair in pairs[-3:]] == [f"more/{name}" for name in MORE]
    image, label = load_pair(pairs[-1], load_info(data.dataset), None)
    assert (image.numpy() == grey("e")).all()
    assert (label.numpy() == read_class_ids(pairs[-1].label)).all()


def test_without_any_hidden_label_there_is_no_quality(root):
    _, quality, _ = labelled_by_a_teacher(root, indexed(root))
    assert quality["images"] == 3
    assert np.isnan([quality[name] for name in ("miou", "pixel_accuracy", "kept")]).all()
