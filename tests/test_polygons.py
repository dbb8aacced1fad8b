"""Outlines become the label maps that one would draw by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cseg.datasets.polygons import Drawing, draw, read_coco, read_labelme
from cseg.errors import DataError

CLASSES = {"soil": 0, "crop": 1, "weed": 2, "crowd": 255}


def coco(path, annotations, images=1):
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 6, "width": 8} for i in range(images)
        ],
        "categories": [{"id": 10 + c, "name": name} for name, c in CLASSES.items()],
        "annotations": [{"id": i, "image_id": 0, **a} for i, a in enumerate(annotations)],
    }
    path.write_text(json.dumps(content))
    return read_coco(path)


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def boxes(*parts):
    """Class ids drawn by hand: (class, left, top, right, bottom), later ones on top."""
    ids = np.zeros((6, 8), np.uint8)
    for c, left, top, right, bottom in parts:
        ids[top:bottom, left:right] = c
    return ids


sides = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 6), st.integers(0, 6))
areas = sides.filter(lambda s: s[0] != s[1] and s[2] != s[3]).map(
    lambda s: (min(s[:2]), min(s[2:]), max(s[:2]), max(s[2:]))
)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), areas), max_size=4))
def test_boxes_of_whole_pixels_are_those_pixels(parts):
    names = {1: "crop", 2: "weed"}
    outlines = tuple((names[c], [box(*area)]) for c, area in parts)
    drawn = draw(Drawing("f", 6, 8, outlines), CLASSES, 0)
    assert (drawn == boxes(*((c, *area) for c, area in parts))).all()


def test_the_smaller_outline_of_a_coco_file_is_on_top(tmp_path):
    small = {"category_id": 12, "segmentation": [box(2, 2, 4, 4)], "area": 4}
    large = {"category_id": 11, "segmentation": [box(0, 0, 8, 6)], "area": 48}
    for order in ([small, large], [large, small]):
        for areas_given in (True, False):
            entries = [dict(e) if areas_given else {**e, "area": None} for e in order]
            drawing = coco(tmp_path / "c.json", entries)["0.png"]
            assert (draw(drawing, CLASSES, 255) == boxes((1, 0, 0, 8, 6), (2, 2, 2, 4, 4))).all()


def test_coco_run_lengths_and_parts(tmp_path):
    # Run lengths go down the columns: 6 empty, 3 of the class, and so on.
    runs = {"size": [6, 8], "counts": [6, 3, 39]}
    parts = [box(4, 0, 5, 1), box(6, 0, 7, 1)]
    drawing = coco(
        tmp_path / "c.json",
        [{"category_id": 11, "segmentation": runs, "iscrowd": 1},
         {"category_id": 265, "segmentation": parts}],
    )["0.png"]  # fmt: skip
    wanted = boxes((1, 1, 0, 2, 3), (255, 4, 0, 5, 1), (255, 6, 0, 7, 1))
    assert (draw(drawing, CLASSES, 0) == wanted).all()


def test_an_image_without_outline_is_all_background(tmp_path):
    found = coco(tmp_path / "c.json", [], images=2)
    assert (draw(found["1.png"], CLASSES, 2) == 2).all()


def labelme(path, *shapes):
    path.write_text(
        json.dumps({"shapes": list(shapes), "imageHeight": 6, "imageWidth": 8, "imageData": None})
    )
    return read_labelme(path)


def test_labelme_draws_in_the_order_of_the_file(tmp_path):
    whole = {"label": "crop", "shape_type": "rectangle", "points": [[0, 0], [8, 6]]}
    part = {"label": "weed", "points": [[2, 2], [4, 2], [4, 4], [2, 4]]}
    up = draw(labelme(tmp_path / "a.json", whole, part), CLASSES, 0)
    assert (up == boxes((1, 0, 0, 8, 6), (2, 2, 2, 4, 4))).all()
    down = draw(labelme(tmp_path / "a.json", part, whole), CLASSES, 0)
    assert (down == boxes((1, 0, 0, 8, 6))).all()
    # corners in the other order are the same rectangle
    turned = {**whole, "points": [[8, 6], [0, 0]]}
    assert (draw(labelme(tmp_path / "a.json", turned), CLASSES, 0) == 1).all()


def test_a_labelme_circle_has_the_pixels_whose_centres_are_inside(tmp_path):
    shape = {"label": "crop", "shape_type": "circle", "points": [[4, 3], [4, 5.6]]}
    drawn = draw(labelme(tmp_path / "a.json", shape), CLASSES, 0)
    y, x = np.mgrid[:6, :8] + 0.5
    inside = np.hypot(x - 4, y - 3)
    assert (drawn[inside < 2.4] == 1).all() and (drawn[inside > 2.8] == 0).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"label": "tree", "points": [[0, 0], [1, 0], [1, 1]]}, r"no class: 'tree'; add them"),
        ({"label": "crop", "points": [[0, 0], [1, 0]]}, r"outline of 'crop' .*three points"),
        (
            {"label": "crop", "points": [[0, 0], [1, 0], [1, float("nan")]]},
            r"outline of 'crop' .*a point that is no number",
        ),
        (
            {"label": "crop", "shape_type": "line", "points": [[0, 0], [1, 0]]},
            r"a line labelled 'crop', which has no area; remove it",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, shape, message):
    with pytest.raises(DataError, match=rf"a\.json .*{message}"):
        draw(labelme(tmp_path / "a.json", shape), CLASSES, 0)


def test_files_of_another_kind_are_named(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match=r"a\.json is no COCO annotation file .*; give one"):
        read_coco(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"a\.json is no file of labelme .*; give one"):
        read_labelme(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"cannot read .*a\.json"):
        read_coco(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"annotation 0 without an outline .*a box is no outline"):
        coco(tmp_path / "a.json", [{"category_id": 11, "bbox": [0, 0, 2, 2]}])
    wrong = {"category_id": 11, "segmentation": {"size": [5, 5], "counts": [25]}}
    with pytest.raises(DataError, match=r"outline of 'crop' .*an image of 5x5"):
        draw(coco(tmp_path / "a.json", [wrong])["0.png"], CLASSES, 0)
