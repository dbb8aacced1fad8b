"""What a description says of values, colours and files, and what it must not say."""

import pytest

from cseg.datasets.description import Options, read_description
from cseg.datasets.samples import TRANSPARENT
from cseg.errors import ConfigError

TWO = [{"name": "soil"}, {"name": "crop"}]


def read(**keys):
    return read_description(Options(description={"classes": TWO, "val_share": 0.5, **keys}))


def test_255_is_ignored_by_default_unless_a_class_or_ignore_says_otherwise():
    assert read().info.label_map == {0: 0, 1: 1, 255: 255}
    assert read().info.ignore_default
    white = read(classes=[TWO[0], {"name": "crop", "values": [255]}]).info
    assert white.label_map == {0: 0, 255: 1} and not white.ignore_default
    for ignore, wanted in (([], {}), (-1, {-1: 255}), ([7, 255], {7: 255, 255: 255})):
        info = read(ignore=ignore).info
        assert info.label_map == {0: 0, 1: 1, **wanted} and not info.ignore_default


def test_values_are_numbers_colours_transparent_or_names_of_polygons():
    found = read(
        classes=[
            {
                "name": "soil",
                "colour": [1, 2, 3],
                "values": [-5, 2147483647, [255, 0, 0], "dirt", "soil"],
            },
            {"name": "crop"},
        ],
        ignore=["transparent", "crowd", 9],
    )
    assert found.info.label_map == {-5: 0, 2147483647: 0, 1: 1, 9: 255}
    assert found.info.colour_map == {0x010203: 0, 0xFF0000: 0, TRANSPARENT: 255}
    assert found.label_names == {"soil": 0, "crop": 1, "dirt": 0, "crowd": 255}


def test_the_background_is_stated_or_the_class_of_that_name():
    assert read().background is None
    assert read(background="crop").background == 1
    assert read(background="ignore").background == 255
    assert read(classes=[{"name": "crop"}, {"name": "background"}]).background == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"classes": [{"name": f"c{i}"} for i in range(255)]}, "255 classes, more than 254"),
        ({"ignore": 2**31}, "ignore has the label value 2147483648, which is no whole number"),
        ({"ignore": [[0, 0]]}, "ignore must be three whole numbers"),
        ({"ignore": 1}, r"classes\.1 claims the label value 1, which is taken"),
        (
            {"classes": [{"name": "a", "colour": [1, 2, 3]}, {"name": "b", "colour": [1, 2, 3]}]},
            r"classes\.1\.colour claims the label value \[1, 2, 3\], which is taken",
        ),
        (
            {"classes": [{"name": "a", "values": ["b"]}, {"name": "b"}]},
            r"classes\.0 claims the label value 'b', which is taken",
        ),
        (
            {"classes": [{"name": "a"}, {"name": "b", "values": ["a", 1]}]},
            r"classes\.1 claims the label value 'a', which is taken",
        ),
        ({"ignore": ["crop"]}, r"ignore claims the label value 'crop', which is taken"),
        ({"ignore": "crop"}, r"ignore claims the label value 'crop', which is taken"),
        ({"labels_by": "index"}, "labels_by is 'index'; choose one of stored, shown"),
        ({"orientation": "left"}, "orientation is 'left'; choose one of upright, stored"),
        ({"image_range": [5, 5]}, "image_range must be two numbers, the lower one first"),
        ({"background": "sky"}, "background is 'sky'; it must be a class or ignore"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(keys, message):
    with pytest.raises(ConfigError, match=message):
        read(**keys)


@pytest.mark.parametrize(
    "labels", [[], None, ["a", "b"], ["a", "b.json"], ["b.json", "a"], ["a.json", 1]]
)
def test_labels_are_one_folder_or_coco_files_alone(labels):
    with pytest.raises(ConfigError, match=r"labels is .*; it must be one folder, or COCO files"):
        read(labels=labels)
    for possible in ("masks", 2024, ["masks"], "a.json", ["a.json", "b.json"]):
        assert read(labels=possible).keys.labels == possible


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a\r", "a\tb", "\x00", "a\x7f", "a\x85b", "a\u2028b", " a", "a ", "\u00a0a", " "],
)
def test_names_are_one_line_without_outer_blanks(name):
    said = "it must be without control characters, line ends and outer blanks"
    with pytest.raises(ConfigError, match=rf"classes\.1\.name is .*; {said}"):
        read(classes=[TWO[0], {"name": name}])
    with pytest.raises(ConfigError, match=rf"description: name is .*; {said}"):
        read(name=name)


@pytest.mark.parametrize("name", ["bare soil", "Stra\u00dfe", "\u0645\u06cc\u200c\u062e", "a,b|c"])
def test_names_of_any_language_are_kept(name):
    assert read(classes=[TWO[0], {"name": name}], name=name).info.class_names[1] == name


def test_a_label_with_outer_blanks_is_a_value_of_its_class():
    found = read(classes=[TWO[0], {"name": "crop", "values": ["crop ", 1]}])
    assert found.label_names == {"soil": 0, "crop": 1, "crop ": 1}


def test_a_description_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("classes: [{name: a}, {name: b}]\nval_share: 0.5\n")
    assert read_description(Options(description="~/mine.yaml")).info.class_names == ("a", "b")
