import json
import subprocess
import sys

import pytest
from made_trees import make_camvid, write_list

from cseg.errors import ConfigError, CsegError, DataError
from cseg.stages.fetch import fetch

RELAXED = {"relax_counts": True}


def test_what_is_written_down(tmp_path):
    home = make_camvid(tmp_path)
    fetch("camvid", tmp_path, options=RELAXED, out=tmp_path / "out" / "fetch.json")
    written = json.loads((tmp_path / "out" / "fetch.json").read_text())
    assert list(written) == ["dataset", "root", "work_dir", "options", "info", "samples"]
    assert written["options"] == RELAXED
    assert written["work_dir"] == str(tmp_path / "out" / "prepared")
    assert [s["id"] for s in written["samples"] if s["split"] == "val"] == ["val_000", "val_001"]
    assert written["samples"][0] == {
        "id": "train_000",
        "split": "train",
        "image": str(home / "train" / "train_000.png"),
        "label": str(home / "trainannot" / "train_000.png"),
    }


def test_paths_stay_as_the_config_gives_them(tmp_path, monkeypatch):
    make_camvid(tmp_path / "my däta")
    monkeypatch.chdir(tmp_path)
    fetch("camvid", "my däta", options=RELAXED, out="fetch.json")
    first = json.loads((tmp_path / "fetch.json").read_text())["samples"][0]
    assert first["image"] == "my däta/CamVid/train/train_000.png"


def test_ids_can_be_left_out(tmp_path):
    make_camvid(tmp_path)
    options = RELAXED | {"exclude": ["train_001"]}
    fetch("camvid", tmp_path, options=options, out=tmp_path / "fetch.json")
    ids = [s["id"] for s in json.loads((tmp_path / "fetch.json").read_text())["samples"]]
    assert "train_001" not in ids
    assert "train_002" in ids
    for wrong, message in ((["nobody"], "exclude names nobody, which is no id"), ("x", "a list")):
        with pytest.raises(ConfigError, match=message):
            fetch(
                "camvid",
                tmp_path,
                options=RELAXED | {"exclude": wrong},
                out=tmp_path / "fetch.json",
            )


def test_sizes_are_compared_unless_relaxed(tmp_path):
    home = make_camvid(tmp_path)
    with pytest.raises(DataError, match=r"train list of camvid has 3 images instead of 367.*relax"):
        fetch("camvid", tmp_path, options={}, out=tmp_path / "fetch.json")
    write_list(home / "val.txt", [])
    with pytest.raises(DataError, match=r"val list of camvid is empty; restore it, or name"):
        fetch("camvid", tmp_path, options=RELAXED, out=tmp_path / "fetch.json")


def test_an_id_listed_twice_is_named_with_its_lists(tmp_path):
    home = make_camvid(tmp_path)
    lines = (home / "train.txt").read_text().splitlines()
    write_list(home / "val.txt", [*(home / "val.txt").read_text().splitlines(), lines[0]])
    with pytest.raises(DataError, match=r"more than once: train_000 \(train and val\); keep each"):
        fetch("camvid", tmp_path, options=RELAXED, out=tmp_path / "fetch.json")
    write_list(home / "train.txt", [*lines, lines[2]])
    with pytest.raises(DataError, match=r"lists 2 ids .*train_002 \(train and train\)"):
        fetch("camvid", tmp_path, options=RELAXED, out=tmp_path / "fetch.json")


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("camvidd", {}, "dataset is 'camvidd', which is unknown"),
        ("camvid", {"relax_count": True}, r"camvid\.relax_count is unknown; use one of relax_c"),
        ("camvid", {"val_split": "train"}, "val_split is 'train'; choose one of val, test"),
        ("voc2012", {"train_set": "trainaug"}, "choose one of train, train_aug"),
        ("cityscapes", {"download": "yes"}, "download is 'yes'; give true or false"),
        ("folder", {}, "description is missing; name the YAML file"),
        ("camvid", {}, "data_dir .*nowhere does not exist; correct data_dir"),
        ("voc2012", {}, "data_dir .*nowhere does not exist; correct data_dir"),
        ("cityscapes", {}, "data_dir .*nowhere does not exist; correct data_dir"),
    ],
)
def test_wrong_settings_are_one_sentence_and_leave_nothing(tmp_path, dataset, options, message):
    with pytest.raises(CsegError, match=message) as caught:
        fetch(dataset, tmp_path / "nowhere", options=options, out=tmp_path / "out" / "fetch.json")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", ["camvid", "voc2012", "cityscapes"])
def test_an_empty_data_dir_without_leave_to_download(tmp_path, dataset):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=rf"data_dir .*data.*dataset_options: {dataset}: download"):
        fetch(dataset, tmp_path / "data", options={"download": False}, out=tmp_path / "fetch.json")


def test_the_stages_do_not_load_torch():
    code = (
        "import sys, cseg.stages.fetch, cseg.stages.index, cseg.stages.subset, cseg.stages.audit\n"
        "from cseg.datasets import MODULES, dataset_module\n"
        "[dataset_module(name) for name in MODULES]\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
