"""Each image gets the outlines that were drawn on it, or a sentence says why it cannot."""

import json

import pytest
from made_trees import paint_image, write_list

from cseg.datasets import folder
from cseg.datasets.polygons import read_coco
from cseg.datasets.reading import read_class_ids
from cseg.errors import DataError

IMAGES = ["train/a.png", "train/b.png", "val/a.png", "val/b.png"]


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(IMAGES):
        paint_image(tmp_path / "images" / name, i)
    write_list(tmp_path / "train.txt", IMAGES[:2])
    write_list(tmp_path / "val.txt", IMAGES[2:])
    return tmp_path


def write_coco(path, names, label):
    """Each image has one outline, the whole of it; `names` are those of the images."""
    content = {
        "images": [
            {"id": i, "file_name": name, "height": 16, "width": 24} for i, name in enumerate(names)
        ],
        "categories": [{"id": 7, "name": label}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 7,
             "segmentation": [[0, 0, 24, 0, 24, 16, 0, 16]]}
            for i in range(len(names))
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return content


def drawn(root, *files, images="images"):
    """The class of the whole of each image, by id."""
    described = {
        "classes": [{"name": "background"}, {"name": "road"}, {"name": "tree"}],
        "images": images, "labels": list(files), "train": "train.txt", "val": "val.txt",
    }  # fmt: skip
    options = folder.Options(description=described)
    folder.fetch(root, root / ".work", options)
    found = {}
    for sample in folder.samples(root, root / ".work", options):
        (found[sample.id],) = set(read_class_ids(sample.label).ravel().tolist())
    return found


def test_a_file_per_split_with_paths_below_the_folder_of_images(root):
    write_coco(root / "train.json", IMAGES[:2], "road")
    write_coco(root / "val.json", IMAGES[2:], "tree")
    assert drawn(root, "train.json", "val.json") == {
        "train/a": 1, "train/b": 1, "val/a": 2, "val/b": 2,
    }  # fmt: skip


def test_a_bare_name_is_the_image_beside_the_file(root):
    write_coco(root / "images" / "train" / "made.json", ["a.png", "b.png"], "road")
    write_coco(root / "images" / "val" / "made.json", ["a.png", "b.png"], "tree")
    for images, below in (("images", ""), (".", "images/")):
        assert drawn(root, "images/train/made.json", "images/val/made.json", images=images) == {
            f"{below}train/a": 1, f"{below}train/b": 1, f"{below}val/a": 2, f"{below}val/b": 2,
        }  # fmt: skip


def test_a_name_that_several_images_have_is_refused(root):
    write_coco(root / "train.json", ["a.png", "b.png"], "road")
    write_coco(root / "val.json", ["a.png", "b.png"], "tree")
    said = r"train\.json has the file_name a\.png, which may mean train/a\.png or val/a\.png; write"
    with pytest.raises(DataError, match=said):
        drawn(root, "train.json", "val.json")


def test_images_that_no_list_names_count_for_what_a_name_may_mean(root):
    write_coco(root / "all.json", ["a.png", "train/b.png", "val/b.png"], "road")
    write_list(root / "val.txt", ["val/b.png"])
    with pytest.raises(DataError, match=r"file_name a\.png, which may mean"):
        drawn(root, "all.json")


def test_an_image_that_two_files_describe_is_refused(root):
    write_coco(root / "road.json", IMAGES, "road")
    write_coco(root / "tree.json", IMAGES, "tree")
    said = r"train/a\.png is described twice, in .*road\.json and in .*tree\.json; gather"
    with pytest.raises(DataError, match=said):
        drawn(root, "road.json", "tree.json")
    write_coco(root / "road.json", ["train/a.png", "./train/a.png"], "road")
    with pytest.raises(DataError, match=r"described twice, in \S*road\.json; gather"):
        drawn(root, "road.json")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("images", "id", 0), ("categories", "id", 7), ("images", "file_name", "a.png")],
)
def test_what_a_coco_file_has_twice_is_refused(tmp_path, part, key, value):
    path = tmp_path / "mine.json"
    content = write_coco(path, ["a.png", "b.png"], "road")
    first = content[part][0]
    other = {"images": {"id": 9, "file_name": "c.png"}, "categories": {"id": 9, "name": "tree"}}
    content[part].append({**first, **other[part], key: first[key]})
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"mine\.json has 2 {part} of the {key} {value!r}; give"):
        read_coco(path)
