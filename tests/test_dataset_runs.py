"""Every dataset through the same DAG; published lists, the audit and the prepared cache."""

import csv

import pandas as pd
import pytest
import yaml
from made_trees import make_camvid, make_cityscapes, make_sbd, make_voc, paint_image, paint_label
from made_trees import write_list as write
from shared_data import shared_data
from small_runs import SMOKE
from workflow_runs import overlay, snakemake

FIELDS = {"name": "fields", "classes": [{"name": "soil"}, {"name": "crop"}, {"name": "weed"}]}


def run(folder, config, *targets):
    """Run the smoke experiment with `config` on top; returns the dataset's results folder."""
    path = overlay(folder, yaml.safe_dump(config, allow_unicode=True))
    done = snakemake(folder, *targets, "--configfile", str(SMOKE), path)
    assert done.returncode == 0, done.stderr
    name = config.get("dataset", "shapes")
    return folder / "results" / "smoke" / (FIELDS["name"] if name == "folder" else name)


def voc_animals(folder):
    return {
        "dataset": "voc2012",
        "data_dir": str(shared_data("voc2012_animals")),
        "dataset_options": {
            "voc2012": {
                "lists": "workflow/resources/voc2012_animals",
                "relax_counts": True,
                "download": False,
            }
        },
        "image": {"short_side": 36},
    }, 437


def sbd_fixture(folder):
    make_sbd(folder / "data", make_voc(folder / "data"))
    options = {"train_set": "train_aug", "relax_counts": True, "download": False}
    return {"dataset": "voc2012", "dataset_options": {"voc2012": options}}, 7


def street_tree(folder):
    pytest.importorskip("cityscapesscripts")
    make_cityscapes(folder / "data", train=5, val=2)
    return {"dataset": "cityscapes", "dataset_options": {"cityscapes": {"relax_counts": True}}}, 5


def own_folder(folder):
    """Names with spaces and beyond ASCII, lists with CRLF, in folders of such names."""
    root = folder / "Äcker im Norden"
    names = [f"Süd feld/bild {i}" for i in range(6)]
    for i, name in enumerate(names):
        paint_image(root / "images" / f"{name}.jpg", i)
        paint_label(root / "labels" / f"{name}.png", [0, 1, 2, 255])
    write(root / "train.txt", names[:4], "\r\n")
    write(root / "val.txt", names[4:], "\r\n")
    described = FIELDS | {"train": "train.txt", "val": "val.txt"}
    text = yaml.safe_dump(described, allow_unicode=True)
    (root / "Felder 1.yaml").write_text(text, encoding="utf-8")
    options = {"description": f"{root.name}/Felder 1.yaml"}
    return {"dataset": "folder", "data_dir": root.name, "dataset_options": {"folder": options}}, 4


@pytest.mark.slow
@pytest.mark.parametrize("made", [voc_animals, sbd_fixture, street_tree, own_folder])
def test_every_dataset_trains(tmp_path, made):
    config, size = made(tmp_path)
    results = run(tmp_path, {**config, "run_arms": ["cross"]})
    row = pd.read_csv(results / "summary.csv").iloc[0]
    assert (row["n"], row["n_train"]) == (4, size) and 0 <= row["miou"] <= 1
    assert len(pd.read_csv(results / "index.csv")) > size
    assert (results / "figures" / "qualitative.png").is_file()


@pytest.mark.slow
def test_an_edited_description_or_list_is_noticed(tmp_path):
    config, _ = own_folder(tmp_path)
    fetched = "results/smoke/fields/fetch.json"
    run(tmp_path, config, fetched)
    again = ["-n", "--quiet", "host", "--configfile", str(SMOKE), str(tmp_path / "overlay.yaml")]
    assert "Nothing to be done" in snakemake(tmp_path, fetched, *again).stdout
    for name in ("train.txt", "Felder 1.yaml"):
        path = tmp_path / config["data_dir"] / name
        path.write_bytes(path.read_bytes() + b"\r\n")
        done = snakemake(tmp_path, fetched, *again)
        assert done.returncode == 0 and "Updated input files" in done.stdout, done.stdout
        run(tmp_path, config, fetched)


@pytest.fixture
def listed(tmp_path):
    """The smoke experiment with a published list of five known lines and an unknown one."""
    lines = [f"images/train_{i:05d}.png labels/train_{i:05d}.png" for i in (9, 3, 4, 20, 7)]
    write(tmp_path / "five images.txt", [*lines, "images/nobody.png labels/nobody.png"], "\r\n")
    return {
        "label_counts": [4, "published", "1/4"],
        "label_lists": {"published": "five images.txt"},
        "audit_lists": ["five images.txt"],
        "dataset_options": {"shapes": {"relax_counts": True}},  # the unknown line is meant
    }


@pytest.mark.slow
def test_a_published_list_is_a_subset_and_is_audited_beside_ours(tmp_path, listed):
    results = run(tmp_path, listed, "audit")
    chosen = pd.read_csv(results / "subsets" / "npublished_seed0.csv")
    assert list(chosen["id"]) == [f"train_{i:05d}" for i in (9, 3, 4, 20, 7)]
    lost = results / "subsets" / "npublished_seed0.unmatched.txt"
    assert lost.read_text() == "images/nobody.png labels/nobody.png\n"
    log = (results / "logs" / "subset" / "npublished_seed0.log").read_text()
    assert "1 lines of five images.txt match no training image:\nimages/nobody.png" in log
    with (results / "audit.csv").open(newline="") as stream:
        rows = {row["list"].split("/")[-1]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"n4_seed0.csv", "n1of4_seed0.csv", "npublished_seed0.csv",
                         "five images.txt"}  # fmt: skip
    assert rows["n4_seed0.csv"]["not_in_next"] == "0"
    assert "1 of 6 lines match no training image" in (results / "audit.txt").read_text()
    for kind in ("png", "pdf"):
        assert (results / "figures" / f"audit.{kind}").stat().st_size > 0


@pytest.mark.slow
def test_runs_on_a_list_and_from_the_cache_agree_with_plain_ones(tmp_path, listed):
    config = listed | {
        "label_counts": ["published"],
        "run_arms": ["cross"],
        "image": {"short_side": 24, "crop": [16, 16]},
    }
    results = run(tmp_path, config, "summary")
    plain = pd.read_csv(results / "summary.csv")
    assert list(plain["n"]) == [5]
    run(tmp_path, config | {"prepared_cache": True, "results_dir": "cached"}, "summary")
    cached = tmp_path / "cached" / "shapes"
    columns = ["n", "seed", "miou", "pixel_accuracy", "train_miou", "subset_fingerprint"]
    again = pd.read_csv(cached / "summary.csv")
    assert plain[columns].equals(again[columns])
    size = (cached / "cache" / "pixels.bin").stat().st_size
    assert f": {size / 2**20:.1f} MiB" in (cached / "logs" / "prepare.log").read_text()


@pytest.mark.slow
def test_a_list_for_another_dataset_is_one_sentence(tmp_path, listed):
    write(tmp_path / "five images.txt", ["2007_000032"])
    path = overlay(tmp_path, yaml.safe_dump(listed))
    done = snakemake(tmp_path, "audit", "--configfile", str(SMOKE), path)
    assert done.returncode != 0
    assert "error: no line of five images.txt names a training image" in done.stderr


@pytest.mark.slow
def test_windows_lists_of_camvid_go_through(tmp_path):
    home = make_camvid(tmp_path / "data")
    for path in home.glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    config = {"dataset": "camvid", "dataset_options": {"camvid": {"relax_counts": True}}}
    results = run(tmp_path, config, "results/smoke/camvid/index.csv")
    assert len(pd.read_csv(results / "index.csv")) == 5
