"""Pseudo labels: confident predictions of a teacher, which nothing of the hidden truth enters."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from small_runs import SMOKE, changed, small_data, small_settings
from stage_runs import trained
from workflow_runs import overlay, snakemake

from cseg import experiment
from cseg.datasets.reading import PLAIN, read_image, read_label
from cseg.datasets.samples import load_info
from cseg.errors import ConfigError, DataError
from cseg.inference import load_segmenter
from cseg.inference.metrics import confusion_matrix, mean_iou
from cseg.inference.predict import ProtocolSettings, predict, predict_sure
from cseg.stages.pseudolabel import PseudolabelOutputs, class_thresholds, pseudolabel
from cseg.stages.run import training_pairs, unlabelled_pairs
from cseg.storage.files import sha256_file
from cseg.storage.index_and_subset import read_index
from cseg.training.sampling import load_pair

THRESHOLD = 0.6


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Small data and a teacher that has learned a little."""
    folder = tmp_path_factory.mktemp("taught")
    data = small_data(folder)
    settings = small_settings("scratch", finetune={"steps": 20})
    return data, trained("finetune", data, settings, folder / "teacher").weights


def label(taught, folder: Path, index: Path | None = None, **block) -> tuple[Path, Path, Path]:
    data, teacher = taught
    settings = small_settings("cross_pseudo", pseudolabel={"threshold": THRESHOLD, **block})
    paths = folder / "pseudo_labels", folder / "pseudo_labels.csv", folder / "pseudo.csv"
    out = PseudolabelOutputs(labels=paths[0], listing=paths[1], quality=paths[2])
    inputs = replace(data, index=index or data.index)
    pseudolabel(inputs, settings, teacher=teacher, out=out, threads=1)
    return paths


def test_every_unlabelled_image_gets_its_confident_pixels(taught, tmp_path):
    data, teacher = taught
    _, listing, quality = label(taught, tmp_path)
    table, info = pd.read_csv(listing, dtype={"id": str}), load_info(data.dataset)
    labelled = set(pd.read_csv(data.subset, dtype=str)["id"])
    train = read_index(data.index).query("split == 'train'")
    assert set(table["id"]) == set(train["id"]) - labelled and len(labelled) == 4
    network = load_segmenter(teacher).network
    total, known, pixels = np.zeros((info.num_classes,) * 2, np.int64), 0, 0
    for row in table.itertuples():
        files = train.set_index("id").loc[row.id]
        image = torch.from_numpy(read_image(files["image"])).permute(2, 0, 1)
        with torch.inference_mode():
            best, guess = network(image[None].float() / 255)[0].softmax(0).max(0)
        written = np.array(Image.open(row.label))
        sure = (best - THRESHOLD).abs().numpy() > 1e-4
        expected = np.where(best.numpy() >= THRESHOLD, guess.numpy(), 255)
        assert (written == expected)[sure].all() and sure.mean() > 0.99
        assert row.kept == pytest.approx((written != 255).mean(), abs=1e-6)
        truth = read_label(files["label"], info)
        total += confusion_matrix(np.where(written == 255, 255, truth), written, info.num_classes)
        known += int(((written != 255) & (truth != 255)).sum())
        pixels += int((truth != 255).sum())
    assert 0 < known < pixels  # the threshold does something
    row = pd.read_csv(quality).iloc[0]
    assert row["miou"] == pytest.approx(mean_iou(total))
    assert row["kept"] == pytest.approx(known / pixels) and row["images"] == len(table)


def test_the_hidden_truth_changes_the_measurement_only(taught, tmp_path):
    index = read_index(taught[0].index)
    hidden = index["id"].isin([pair.id for pair in unlabelled_pairs(taught[0])])
    blank = tmp_path / "blank.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(blank)
    index.loc[hidden, ["label", "label_sha256"]] = str(blank), sha256_file(blank)
    index.to_csv(tmp_path / "index.csv", index=False)
    for name in ("true", "false"):
        (tmp_path / name).mkdir()
    folder, listing, quality = label(taught, tmp_path / "true")
    other = label(taught, tmp_path / "false", tmp_path / "index.csv")
    assert pd.read_csv(listing)["fingerprint"].equals(pd.read_csv(other[1])["fingerprint"])
    for path in folder.iterdir():
        assert path.read_bytes() == (other[0] / path.name).read_bytes()
    assert pd.read_csv(quality)["miou"][0] != pd.read_csv(other[2])["miou"][0]


def test_pseudo_labels_join_the_labelled_images_as_class_ids(taught, tmp_path):
    inputs = replace(taught[0], pseudo=label(taught, tmp_path, images=3)[1])
    settings = small_settings("cross_pseudo")
    pairs, mark = training_pairs(inputs, settings)
    alone, plain = training_pairs(taught[0], settings)
    assert pairs[:4] == alone and [p.pseudo for p in pairs] == [False] * 4 + [True] * 3
    assert mark != plain
    thrice = changed(settings, pseudolabel={"repeat_labelled": 3})
    repeated, other = training_pairs(inputs, thrice)
    assert repeated == alone * 3 + pairs[4:] and other != mark
    turned = {0: 5, 1: 0, **{c: c for c in range(2, 256)}}  # what a dataset's values may mean
    _, labels = load_pair(pairs[4], replace(load_info(inputs.dataset), label_map=turned), None)
    assert (labels.numpy() == np.array(Image.open(pairs[4].label))).all()


def test_a_run_with_pseudo_labels_is_another_run(taught, tmp_path):
    data, _ = taught
    _, listing, _ = label(taught, tmp_path)
    settings = small_settings("cross_pseudo")
    weights = {}
    for name, pseudo in (("with", listing), ("without", None)):
        inputs = replace(data, pseudo=pseudo)
        start = trained("pretrain", inputs, settings, tmp_path / f"{name}_a").weights
        final = trained("finetune", inputs, settings, tmp_path / f"{name}_b", start).weights
        weights[name] = load_segmenter(final).network.state_dict()["classifier.weight"]
        assert torch.load(final, weights_only=True)["n"] == 4  # labels, not images
    assert not torch.equal(weights["with"], weights["without"])


def test_a_label_that_is_missing_or_a_list_that_is_damaged_is_named(taught, tmp_path):
    folder, listing, _ = label(taught, tmp_path, images=2)
    shutil.rmtree(folder)
    inputs, settings = replace(taught[0], pseudo=listing), small_settings("cross_pseudo")
    pairs, _ = training_pairs(inputs, settings)
    with pytest.raises(DataError, match=r"000000\.png"):
        load_pair(pairs[4], PLAIN, None)
    listing.write_text("id\nfoo\n")
    with pytest.raises(DataError, match=r"cannot read .*pseudo_labels.csv: .*; delete it"):
        training_pairs(inputs, settings)
    listing.write_text("id,label,kept,fingerprint\nfoo,a.png,1,x\n")
    with pytest.raises(DataError, match="labels foo, which is no unlabelled image"):
        training_pairs(inputs, settings)


def test_a_class_keeps_the_surest_share_of_its_pixels():
    rng = np.random.default_rng(0)
    guess = rng.integers(0, 3, (4, 30, 40)).astype(np.uint8)
    sure = (rng.random(guess.shape) ** (1 + guess)).astype(np.float32)  # surer in class 0
    found = class_thresholds(zip(guess, sure, strict=True), 4, 0.3)
    for c in range(3):
        kept = (sure[guess == c] >= found[c]).mean()
        assert 0.3 <= kept < 0.3 + 0.01, c  # a thousandth of probability holds few pixels
        assert found[c] == pytest.approx(np.quantile(sure[guess == c], 0.7), abs=0.002)
    assert found[0] > found[1] > found[2]


def test_a_share_of_each_class_lowers_the_threshold_and_never_raises_it(taught, tmp_path):
    """Of each class the surest 30 % are kept, and whatever reaches the threshold."""
    data, teacher = taught
    _, listing, _ = label(taught, tmp_path, threshold=0.8, class_share=0.3, images=6)
    table, network = pd.read_csv(listing, dtype={"id": str}), load_segmenter(teacher).network
    files = read_index(data.index).set_index("id")["image"]
    answers = [
        predict_sure(
            network, torch.from_numpy(read_image(files[name])).permute(2, 0, 1),
            ProtocolSettings(None, None),
        )
        for name in table["id"]
    ]  # fmt: skip
    guess, sure = (np.stack([part.numpy() for part in parts]) for parts in zip(*answers))
    thresholds = np.minimum(0.8, class_thresholds(zip(guess, sure), 7, 0.3))
    assert len(table) == 6 and 0 < thresholds.min() < thresholds[np.unique(guess)].max() <= 0.8
    written = np.stack([np.array(Image.open(path)) for path in table["label"]])
    assert (written == np.where(sure >= thresholds[guess], guess, 255)).all()


def test_sure_predictions_are_the_predictions(taught):
    _, teacher = taught
    network, image = load_segmenter(teacher).network, torch.randint(0, 256, (3, 40, 56)).byte()
    for protocol in (ProtocolSettings(None, None), ProtocolSettings(36, (24, 24))):
        whole = predict(network, image, (40, 56), protocol)
        found, sure = predict_sure(network, image, protocol)
        assert torch.equal(found, whole)
        assert sure.min() >= 1 / 7 - 1e-6 and sure.max() <= 1 + 1e-6  # the best of seven


@pytest.mark.parametrize(
    "arm, words",
    [
        ({"crossed": {"init": "random", "scope": "cross", "teacher": "cross"}}, "end in _pseudo"),
        ({"within_pseudo": {"init": "random", "scope": "within"}}, "end in _pseudo"),
        ({"within_pseudo": {"init": "random", "scope": "within", "teacher": "me"}}, "'me'"),
        (
            {"within_pseudo": {"init": "random", "scope": "within", "teacher": "cross_pseudo"}},
            "has no teacher itself",
        ),
    ],
)  # fmt: skip
def test_wrong_teachers_are_refused(tmp_path, arm, words):
    with pytest.raises(ConfigError, match=words):
        experiment.load([SMOKE, overlay(tmp_path, yaml.safe_dump({"arms": arm}))])


def test_other_arms_know_nothing_of_pseudo_labels():
    assert small_settings("cross").pseudolabel is None
    assert small_settings("cross_pseudo").pseudolabel.threshold == 0.9


@pytest.mark.slow
def test_pseudo_arms_become_a_table(tmp_path):
    plan = {"run_arms": ["cross", "cross_pseudo"], "pseudolabel": {"threshold": 0.2, "images": 5}}
    done = snakemake(
        tmp_path, "--configfile", str(SMOKE), overlay(tmp_path, yaml.safe_dump(plan))
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "smoke" / "shapes"
    quality = pd.read_csv(results / "pseudo.csv").iloc[0]
    assert (quality["arm"], quality["n"], quality["images"]) == ("cross_pseudo", 4, 5)
    table = pd.read_csv(results / "tables" / "semi_supervised.csv").set_index("arm")
    assert table.loc["cross", ["pseudo_miou", "pseudo_kept"]].isna().all()
    table = table.loc["cross_pseudo"]
    assert table["pseudo_miou"] == pytest.approx(quality["miou"])
    assert table["pseudo_kept"] == pytest.approx(quality["kept"])
    assert len(list((results / "cross_pseudo/n4/seed0/pseudo_labels").glob("*.png"))) == 5
