"""Which names `cseg init` takes from a file near the labels, and which it leaves."""

import pytest
from init_folders import PALETTE, masks, seen_in, write_folder
from PIL import Image

from cseg.init.look import look
from cseg.init.names import clean


@pytest.mark.parametrize(
    ("values", "names", "classes"),
    [
        ([0, 1], "soil\ncrop", ["soil", "crop"]),
        ([0, 1, 2], "crop\nweed", ["background", "crop", "weed"]),
        ([0, 255], "crack", ["background", "crack"]),
        ([0, 255], "road\ncrack", ["road", "crack"]),
        ([1, 2], "crop\nweed", ["crop", "weed"]),
        ([0, 1, 2], "__ignore__\n_background_\ncrop\nweed", ["_background_", "crop", "weed"]),
        ([0, 2], "background\na\nb\nc", ["background", "b"]),  # more than occur
        ([0, 3, 255], "crop\nweed\ntree", ["background", "tree"]),
        ([0, 255], "0: background\n255: crack", ["background", "crack"]),
        ([0, 255], "id,name\n0,road\n255,crack", ["road", "crack"]),
        ([0, 1, 2], "1 crop\n2\tweed", ["background", "crop", "weed"]),
        ([0, 1, 2], "crop,1\nweed,2", ["background", "crop", "weed"]),
        ([0, 1, 255], "0 soil\n1 crop\n255 weed", ["soil", "crop", "weed"]),
        ([0, 1], "# mine\n crop\x00 \r\nbig \x01weed\t\n", ["crop", "big  weed"]),
        ([0, 1, 2], "sky\n2 wheeler\n4 wheeler", ["sky", "2 wheeler", "4 wheeler"]),
        ([0, 1, 2], "sky\n2 wheels\n4 seats", ["sky", "2 wheels", "4 seats"]),
        ([0, 1, 2], "background\nzone:1\nzone:2", ["background", "zone:1", "zone:2"]),
        ([0, 1, 2], "background\nzone:1\narea:2", ["background", "zone", "area"]),
        ([0, 1], '0 0 0 0 0 0 0 "Clear"\n1 255 0 0 1 1 1 "Label 1"', ["Clear", "Label 1"]),
        ([0, 1, 2], "0 128 128 128 Sky\n1 0 0 0 Road\n2 9 9 9 Void", ["Sky", "Road"]),
    ],
)
def test_a_list_of_names_is_used_as_its_number_of_lines_or_its_values_say(
    tmp_path, values, names, classes
):
    seen = masks(tmp_path, values, names=names)
    assert list(seen.info.class_names) == classes


def test_a_background_that_no_line_names_is_said_to_be_a_guess(tmp_path):
    assert not masks(tmp_path / "a", [0, 1, 2], names="soil\ncrop\nweed").said
    for place, names in (("b", "crop\nweed"), ("c", "1 crop\n2 weed"), ("d", "1 a\n2 b\n3 c\n4 d")):
        (said,) = masks(tmp_path / place, [0, 1, 2], names=names).said
        assert "has no name for the value 0, so 0 was taken for background" in said


@pytest.mark.parametrize(("values", "names"), [([0, 2], "a\nb\nc"), ([0, 1, 4], "a\nb\nc\nd\ne")])
def test_lines_taken_for_values_of_which_some_are_missing_are_said_to_be_a_guess(
    tmp_path, values, names
):
    seen = masks(tmp_path, values, names=names)
    assert list(seen.info.class_names) == [names.split()[value] for value in values]
    assert "has more names than the labels have values" in " ".join(seen.said)


@pytest.mark.parametrize("line", ["Type {} {} {} {}", "Type {},{},{},{}"])
def test_a_number_at_the_end_of_a_name_is_no_value(tmp_path, line):
    write_folder(tmp_path, "index8")
    lines = [line.format(i, *colour) for i, colour in enumerate(PALETTE[:3], 1)]
    (tmp_path / "classes.txt").write_text("\n".join(lines))
    assert seen_in(tmp_path).info.class_names == ("Type 1", "Type 2", "Type 3")


def test_a_file_without_a_line_is_no_file_of_names(tmp_path):
    assert not masks(tmp_path, [0, 1, 2], names="# nothing\n \n").said


def test_names_numbered_from_1_are_not_used_for_labels_that_count_from_0(tmp_path):
    seen = masks(tmp_path, [0, 1, 2], names="1. person\n2. car\n3. dog")
    assert seen.info.class_names == ("class 0", "class 1", "class 2")
    assert "are not used, since it numbers as many" in " ".join(seen.said)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0, 1, 2], "a\nb\nc\nd\ne"),  # is a the background, or is it 1?
        ([1, 2, 3], "background\na\nb"),
        ([0, 1, 2], "a"),
        ([0, 1, 2], "7: a\n8: b"),
        ([0, 1, 2], "id,name\n7,a\n8,b"),
        ([0, 1, 2], "0 0 0 Void\n128 128 128 Sky\n128 0 0 Building"),
    ],
)
def test_names_that_do_not_fit_the_labels_are_not_used_and_the_report_says_so(
    tmp_path, values, names
):
    seen = masks(tmp_path, values, names=names)
    assert seen.info.class_names == tuple(f"class {value}" for value in values)
    assert seen.description["ignore"] == []
    assert f"not used, since they do not fit the values {', '.join(map(str, values))} of" in (
        " ".join(seen.said)
    )


def test_colours_name_indices_only_by_a_palette_that_has_them_all(tmp_path):
    for name, colours, classes in (
        ("same", PALETTE[:3], ["Sky", "Road"]),
        ("other", [*PALETTE[:2], (1, 2, 3)], ["class 0", "class 1", "class 2"]),
    ):
        write_folder(tmp_path / name, "index8")
        lines = [f"{r} {g} {b}\t{w}" for (r, g, b), w in zip(colours, ("Void", "Sky", "Road"))]
        (tmp_path / name / "label_colors.txt").write_text("\n".join(lines))
        assert list(seen_in(tmp_path / name).info.class_names) == classes


def test_lines_without_colours_name_no_colour(tmp_path):
    write_folder(tmp_path, "rgb")
    (tmp_path / "classes.txt").write_text("void\nsky\nroad\n")
    seen = seen_in(tmp_path)
    assert all(name.startswith("colour ") for name in seen.info.class_names)
    assert "do not fit the colours of the labels" in seen.said[0]


def test_255_in_the_colour_of_voc_is_ignored_although_it_has_a_name_or_the_values_are_even(
    tmp_path,
):
    for name, middle in (("named", 1), ("even", 127)):
        root = tmp_path / name
        masks(root, [0, middle, 255])
        shown = [(i, 0, 0) for i in range(255)] + [(224, 224, 192)]
        for path in (root / "labels").iterdir():
            label = Image.open(path)
            label.putpalette([level for colour in shown for level in colour])
            label.save(path)
        if name == "named":
            lines = "0 0 0 sky\n1 0 0 road\n224 224 192 border\n"
            (root / "label_colors.txt").write_text(lines)
        seen = look(root, None, name="mine", work=root / "work")
        assert seen.info.num_classes == 2 and seen.description["ignore"] == [255]


def test_255_that_is_a_class_since_the_values_are_even_is_said_to_be_a_guess(tmp_path):
    (said,) = masks(tmp_path / "a", [0, 127, 255]).said
    assert "is a class by a guess" in said and "write ignore: [255]" in said
    assert not masks(tmp_path / "b", [0, 127, 255], names="0 a\n127 b\n255 c").said


@pytest.mark.parametrize("sign", ["\t", "\x00", "\u2028", "\u2029", "\ud800"])
def test_a_name_is_cleaned_of_every_sign_that_a_description_refuses(sign):
    assert clean(f"{sign} crop{sign}row {sign}") == "crop row"
