"""Evaluation: its rows agree with each other and with a prediction made by hand."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_runs import small_data, small_settings
from stage_runs import evaluated, trained

from cseg.datasets.reading import read_image, read_label
from cseg.datasets.samples import load_info
from cseg.inference import load_segmenter
from cseg.inference.metrics import confusion_matrix, mean_iou
from cseg.inference.predict import ProtocolSettings, predict
from cseg.stages.run import labelled_pairs, validation_pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    data = small_data(folder)
    settings = small_settings("scratch", finetune={"steps": 20})
    weights = trained("finetune", data, settings, folder / "run").weights
    return data, weights, evaluated(data, settings, weights, folder)


def test_the_row_follows_from_the_confusion_matrix(run):
    _, _, out = run
    row = pd.read_csv(out.metrics).iloc[0]
    matrix = pd.read_csv(out.confusion).pivot(index="truth", columns="predicted", values="pixels")
    assert row["miou"] == pytest.approx(mean_iou(matrix.to_numpy()), abs=1e-12)
    assert list(pd.read_csv(out.metrics).columns[:5]) == ["dataset", "arm", "n", "seed", "miou"]
    assert (row["dataset"], row["arm"], row["n"], row["seed"]) == ("shapes", "scratch", 4, 0)
    assert row["total_steps"] == row["finetune_steps"] == 20 and row["pretrain_steps"] == 0


def test_a_row_counts_both_views_of_pretraining(run, tmp_path):
    data, weights, _ = run
    own = small_settings("cross", pretrain={"steps": 7, "batch": 3}, finetune={"steps": 20})
    row = pd.read_csv(evaluated(data, own, weights, tmp_path, "cross").metrics).iloc[0]
    assert (row["pretrain_steps"], row["finetune_steps"], row["total_steps"]) == (7, 20, 27)
    assert row["image_views"] == 2 * 7 * 3 + 20 * own.finetune.batch


def test_images_add_up_to_the_whole(run):
    _, _, out = run
    images, classes = pd.read_csv(out.per_image), pd.read_csv(out.per_class)
    for c in classes["class_id"]:
        assert images[f"truth_{c}"].sum() == classes["pixels"][c]
        union = images[f"truth_{c}"] + images[f"predicted_{c}"] - images[f"intersection_{c}"]
        if classes["pixels"][c]:
            expected = images[f"intersection_{c}"].sum() / union.sum()
            assert classes["iou"][c] == pytest.approx(expected)


def test_predictions_are_the_networks_and_give_the_same_miou(run):
    data, weights, out = run
    loaded, info = load_segmenter(weights), load_info(data.dataset)
    total = np.zeros((info.num_classes,) * 2, np.int64)
    with zipfile.ZipFile(out.predictions) as archive:
        for pair in validation_pairs(data.index):
            saved = np.array(Image.open(io.BytesIO(archive.read(f"{pair.id}.png"))))
            image = torch.from_numpy(read_image(pair.image)).permute(2, 0, 1)
            truth = read_label(pair.label, info)
            with torch.inference_mode():
                logits = loaded.network(image[None].float() / 255)
            assert (saved == logits[0].argmax(0).numpy()).mean() > 0.999
            total += confusion_matrix(truth, saved, info.num_classes)
    assert pd.read_csv(out.metrics)["miou"][0] == pytest.approx(mean_iou(total), abs=1e-12)


def test_the_training_miou_is_measured_on_the_labelled_images(run):
    data, weights, out = run
    loaded, info = load_segmenter(weights), load_info(data.dataset)
    total = np.zeros((info.num_classes,) * 2, np.int64)
    for pair in labelled_pairs(data)[0]:
        image = torch.from_numpy(read_image(pair.image)).permute(2, 0, 1)
        truth = read_label(pair.label, info)
        guess = predict(loaded.network, image, truth.shape, ProtocolSettings(None, None))
        total += confusion_matrix(truth, guess.numpy(), info.num_classes)
    row = pd.read_csv(out.metrics).iloc[0]
    assert row["train_miou"] == pytest.approx(mean_iou(total), abs=1e-6) != row["miou"]


def test_every_row_carries_its_provenance(run):
    row = pd.read_csv(run[2].metrics, dtype=str).iloc[0]  # a hash may look like a number: 2e46...
    columns = (
        "git_revision", "source_fingerprint", "subset_fingerprint", "index_fingerprint",
        "settings_fingerprint", "torch_version", "protocol", "device", "budget",
    )  # fmt: skip
    for column in columns:
        assert isinstance(row[column], str) and row[column]


def test_a_sliding_window_over_the_whole_image_is_the_whole_image(run):
    data, weights, _ = run
    loaded = load_segmenter(weights)
    image = torch.from_numpy(read_image(validation_pairs(data.index)[0].image)).permute(2, 0, 1)
    size = (32, 32)
    whole = predict(loaded.network, image, size, ProtocolSettings(None, None))
    one = predict(loaded.network, image, size, ProtocolSettings(None, (32, 32)))
    many = predict(loaded.network, image, size, ProtocolSettings(None, (16, 16)))
    assert torch.equal(whole, one) and tuple(many.shape) == size


def test_answers_come_at_the_asked_resolution(run):
    loaded = load_segmenter(run[1])
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    out = predict(loaded.network, image, (101, 141), ProtocolSettings(32, None))
    assert tuple(out.shape) == (101, 141) and out.dtype == torch.uint8
