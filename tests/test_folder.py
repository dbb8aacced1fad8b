import re
from dataclasses import replace
from pathlib import Path

import kind_folders
import pandas as pd
import pytest
import yaml
from made_trees import paint_image, paint_label, write_list

from cseg.datasets import description_files, folder, outlines_state
from cseg.errors import ConfigError, CsegError, DataError
from cseg.stages.fetch import fetch
from cseg.stages.index import index

LISTS = """
name: fields
classes:
  - {name: soil, colour: [120, 80, 40]}
  - {name: crop, colour: [60, 180, 60]}
  - {name: weed, colour: [200, 30, 30], values: [2, 7]}
ignore: 255
labels_by: stored
train: train.txt
val: val.txt
licence: mine
citation: me
"""
SHARE = LISTS.replace("train: train.txt\nval: val.txt\n", "val_share: 0.25\nsplit_seed: 3\n")
NAMES = ["a", "north field/b", "north field/ü", "c", "d.e", "f", "g", "h"]


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(NAMES):
        suffix = (".jpg", ".png", ".PNG", ".tif")[i % 4]
        paint_image(tmp_path / "images" / f"{name}{suffix}", i)
        paint_label(tmp_path / "labels" / f"{name}.png", [0, 1, 2, 7, 255], palette=bool(i % 2))
    write_list(tmp_path / "train.txt", ["h.tif", "a.jpg", "north field/b"], "\r\n")
    write_list(tmp_path / "val.txt", ["north field/ü.PNG", "d.e"])
    return tmp_path


def options(root, text):
    (root / "fields.yaml").write_text(text, encoding="utf-8")
    return {"description": str(root / "fields.yaml")}


def described(root, text):
    return folder.Options(**options(root, text))


def test_lists_name_images_with_or_without_suffix(root):
    found = folder.samples(root, root, described(root, LISTS))
    assert [(s.id, s.split) for s in found] == [
        ("h", "train"), ("a", "train"), ("north field/b", "train"),
        ("north field/ü", "val"), ("d.e", "val"),
    ]  # fmt: skip
    assert all(s.image.is_file() and s.label.is_file() for s in found)


def test_a_description_may_stand_in_the_config(root):
    keys = yaml.safe_load(LISTS)
    written, inline = options(root, LISTS), {"description": keys}
    typed = [folder.Options(**own) for own in (inline, written)]
    assert folder.info(typed[0]) == folder.info(typed[1])
    assert folder.samples(root, root, typed[0]) == folder.samples(root, root, typed[1])
    assert description_files("folder", root, inline) == [
        str(root / "train.txt"),
        str(root / "val.txt"),
    ]
    assert description_files("folder", root, written)[0] == written["description"]
    with pytest.raises(ConfigError, match=r"folder: description\.colour is unknown"):
        folder.info(folder.Options(description={**keys, "colour": 1}))


@pytest.mark.parametrize("key", ["train", "val", "unlabelled", "labels"])
def test_files_that_the_workflow_watches_have_no_braces(root, key):
    keys = {**yaml.safe_load(LISTS), key: "mine_{a}.json"}
    with pytest.raises(ConfigError, match=f"{key} has braces, which Snakemake takes for wildcards"):
        folder.info(folder.Options(description=keys))


def test_the_state_of_outlines_follows_each_edit(tmp_path):
    own = {"description": {**kind_folders.labelme(tmp_path), "val_share": 0.4}}
    states = [outlines_state("folder", tmp_path, own)]
    edited = tmp_path / "images" / "b.json"
    edited.write_text(edited.read_text() + " ")
    states.append(outlines_state("folder", tmp_path, own))
    edited.rename(edited.with_name("c.json"))
    states.append(outlines_state("folder", tmp_path, own))
    assert len({*states, ""}) == 4
    assert outlines_state("folder", tmp_path, own) == states[-1]
    images = {"description": {**own["description"], "label_suffix": ".png"}}
    assert outlines_state("folder", tmp_path, images) == ""  # the outlines are not what counts
    assert outlines_state("shapes", tmp_path, {}) == ""


def test_classes_colours_and_values(root):
    info = folder.info(described(root, LISTS))
    assert info.class_names == ("soil", "crop", "weed")
    assert info.palette[2] == (200, 30, 30)
    assert info.label_map == {0: 0, 1: 1, 2: 2, 7: 2, 255: 255}
    assert (info.name, info.licence, info.citation) == ("fields", "mine", "me")
    short = folder.info(described(root, "classes: [{name: a}, {name: b}]\nval_share: 0.5"))
    assert short.palette == ((0, 0, 0), (128, 0, 0))
    assert short.label_map == {0: 0, 1: 1, 255: 255}


def test_a_share_divides_the_same_way_everywhere(root):
    found = folder.samples(root, root, described(root, SHARE))
    assert sorted(s.id for s in found) == sorted(NAMES)
    assert [s.id for s in found if s.split == "val"] == ["c", "d.e"]
    (root / "images" / "notes.txt").write_text("no image")
    (root / "images" / "._a.jpg").write_text("what some systems leave beside a copied file")
    assert folder.samples(root, root, described(root, SHARE)) == found
    other = folder.samples(root, root, described(root, SHARE.replace("split_seed: 3", "")))
    assert {s.id for s in other if s.split == "val"} != {"c", "d.e"}


def test_it_runs_through_to_the_index(root):
    fetch("folder", root, options=options(root, LISTS), out=root / "fetch.json")
    index(root / "fetch.json", root / "index.csv", dataset_json=root / "dataset.json", workers=2)
    table = pd.read_csv(root / "index.csv")
    assert table["id"].tolist() == ["h", "a", "north field/b", "north field/ü", "d.e"]
    # Five bars on 24 columns: 0, 1, {2, 7} together, 255.
    assert table.loc[0, ["pixels_0", "pixels_1", "pixels_2", "pixels_ignored"]].tolist() == [
        5 * 16, 5 * 16, 10 * 16, 4 * 16,
    ]  # fmt: skip


def test_labels_can_have_another_suffix_and_folder(root):
    (root / "labels").rename(root / "masks")
    for path in (root / "masks").rglob("*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    text = LISTS + "labels: masks\nlabel_suffix: _mask.png\n"
    assert all(s.label.is_file() for s in folder.samples(root, root, described(root, text)))


@pytest.mark.parametrize("below", ["", "masks/", "{root.name}/masks/", "{root}/masks/", "/masks/"])
def test_a_label_that_a_list_names_is_of_the_data_wherever_one_stands(root, monkeypatch, below):
    for name in ("a", "d.e"):
        paint_label(root / "masks" / f"{name}.png", [1, 2])
        paint_label(root / "elsewhere" / "masks" / f"{name}.png", [0, 1])  # of other data
        paint_label(root / "elsewhere" / f"{name}.png", [0, 1])
    below = below.format(root=root)
    write_list(root / "train.txt", [f"images/a.jpg {below}a.png"])
    write_list(root / "val.txt", [f"images/d.e.jpg {below}d.e.png"])
    for place, data_dir in ((root, Path()), (root.parent, Path(root.name)), (root, root),
                            (root / "elsewhere", Path(".."))):  # fmt: skip
        own = described(root, LISTS + "labels: masks\n")
        monkeypatch.chdir(place)
        found = folder.samples(data_dir, data_dir, own)
        assert [s.label.resolve() for s in found] == [
            root / "masks" / f"{name}.png" for name in ("a", "d.e")
        ]


@pytest.mark.parametrize("above", ["", "{root.name}/"])
def test_a_list_may_name_labels_beside_data_dir_or_by_the_aim_of_a_link(root, above):
    above = above.format(root=root)
    for name in ("a", "d.e"):
        paint_label(root / "masks" / f"{name}.png", [1, 2])
    for split, name in (("train", "a"), ("val", "d.e")):
        line = f"{above}images/{name}.jpg {above}masks/{name}.png"
        write_list(root / "images" / f"{split}.txt", [line])
        write_list(root / f"{split}.txt", [line])
    (root / "link").symlink_to(root)
    beside, below = "images: .\nlabels: ../masks\n", "labels: masks\n"
    for data_dir, folders in ((root / "images", beside), (root / "link", below)):
        found = folder.samples(data_dir, data_dir, described(root, LISTS + folders))
        assert [s.label.resolve() for s in found] == [
            root / "masks" / f"{name}.png" for name in ("a", "d.e")
        ]


def test_list_lines_that_match_nothing_are_all_named(root):
    write_list(root / "val.txt", ["south field/b", "zz", "d.e"])
    named = r"val\.txt names 2 images that are not in .*: south field/b, zz;"
    with pytest.raises(DataError, match=named):
        folder.samples(root, root, described(root, LISTS))


def test_two_images_of_one_name_are_noticed(root):
    paint_image(root / "images" / "a.png", 99)
    with pytest.raises(DataError, match=r"two images have the name a: a\.jpg and a\.png in"):
        fetch("folder", root, options=options(root, SHARE), out=root / "fetch.json")


def test_relaxed_counts_leave_out_what_is_not_there(root):
    write_list(root / "train.txt", ["h.tif", "gone"])
    found = folder.samples(root, root, replace(described(root, LISTS), relax_counts=True))
    assert [s.id for s in found if s.split == "train"] == ["h"]
    with pytest.raises(DataError, match="gone"):
        folder.samples(root, root, replace(described(root, LISTS), relax_counts=False))


def test_missing_folders_are_named_with_their_key(root):
    (root / "labels").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"labels does not exist; correct .* the key labels"):
        folder.fetch(root, root, described(root, LISTS))


def test_absent_data_are_named_with_what_to_put_there(root):
    said = r"absent does not exist; .* or put images, labels, train\.txt, val\.txt there, from: me$"
    with pytest.raises(DataError, match=said):
        folder.fetch(root / "absent", root, described(root, LISTS))
    with pytest.raises(DataError, match=r"or put images, labels there$"):
        text = SHARE.replace("citation: me\n", "")
        folder.fetch(root / "absent", root, described(root, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", r"is no mapping of keys; see docs/datasets\.md"),
        ("classes: [", r"cannot read .*fields\.yaml"),
        ("train: a\nval: b", "classes is missing"),
        (LISTS + "color: 1", "color is unknown; use one of name, classes"),
        (
            LISTS.replace("colour: [60", "color: [60"),
            r"classes\.1\.color is unknown; use one of name, colour, values",
        ),
        (LISTS.replace("ignore: 255", "ignore: 7"), "label value 7, which is taken"),
        (
            LISTS.replace("values: [2, 7]", "values: [2, 1]"),
            r"classes\.2 claims .* value 1",
        ),
        (LISTS.replace("name: weed", "name: crop"), "names a class twice"),
        (
            LISTS.replace("[60, 180, 60]", "[60, 180]"),
            r"classes\.1\.colour is \[60, 180\]; give a list of 3",
        ),
        (
            LISTS.replace("[60, 180, 60]", "[60, 180, 256]"),
            r"classes\.1\.colour\.2 is 256; .* from 0 to 255",
        ),
        (LISTS.replace("val: val.txt", ""), "train and val are missing"),
        (LISTS + "val_share: 0.5", "val_share stands beside a list"),
        (SHARE.replace("0.25", "1.5"), "val_share is 1.5; give a number above 0 to below 1"),
        (SHARE.replace("0.25", "few"), "val_share is 'few'; give a number above 0"),
        (
            LISTS.replace("ignore: 255", "ignore: 1.5"),
            "ignore has the label value 1.5, which is no whole number",
        ),
        ("classes: []\nval_share: 0.5", "classes is missing or empty"),
        ("classes: [soil]\nval_share: 0.5", r"classes\.0 is 'soil'; give a mapping of keys"),
    ],
)
def test_a_wrong_description_is_one_sentence(root, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        folder.info(described(root, text))
    assert "\n" not in str(caught.value)


def test_a_missing_description_names_the_key():
    with pytest.raises(CsegError, match=r"cannot read nowhere\.yaml .*folder: description"):
        folder.info(folder.Options(description="nowhere.yaml"))


def test_the_worked_example_of_the_documentation_works(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    described = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "crop" in b)
    for i, name in enumerate(("north/0001", "north/0002", "south/0001")):
        paint_image(tmp_path / "images" / f"{name}.jpg", i)
        paint_label(tmp_path / "labels" / f"{name}.png", [0, 1, 2, 7, 255])
    write_list(tmp_path / "train.txt", ["north/0001.jpg", "north/0002"])
    write_list(tmp_path / "val.txt", ["south/0001"])
    fetch("folder", tmp_path, options=options(tmp_path, described), out=tmp_path / "fetch.json")
    index(
        tmp_path / "fetch.json",
        tmp_path / "index.csv",
        dataset_json=tmp_path / "dataset.json",
        workers=1,
    )
    assert pd.read_csv(tmp_path / "index.csv")["id"].tolist() == [
        "north/0001", "north/0002", "south/0001",
    ]  # fmt: skip
