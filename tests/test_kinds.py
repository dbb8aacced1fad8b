"""Whatever kind of file the truth is in, training, the prepared cache and predict see the truth."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import kind_folders
import kinds
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import KINDS as KINDS_OF_TABLE
from small_runs import ROOT
from written_kinds import (
    LABEL_SUFFIX,
    RANGES,
    as_stored,
    png,
    write_image_kind,
    write_label_kind,
)

from cseg.datasets.reading import PLAIN
from cseg.datasets.samples import load_info
from cseg.errors import DataError
from cseg.inference.load import image_pixels
from cseg.stages.fetch import fetch
from cseg.stages.index import index
from cseg.stages.prepare import prepare
from cseg.stages.run import pairs_of
from cseg.storage.index_and_subset import read_index, read_index_rows
from cseg.training.prepared_cache import read_places
from cseg.training.sampling import load_pair

CLASSES = 4
PALETTE = [(40 + 7 * i % 200, (90 * i) % 256, 255 - i) for i in range(256)]  # all different
FORMATS = {  # by depth: suffixes that hold it
    "8": (".png", ".PNG", ".jpg", ".jpeg", ".webp", ".tif", ".bmp"),
    "16": (".png", ".tif"), "12": (".png", ".tiff"), "int": (".tif",), "float": (".tif",),
}  # fmt: skip
TAGGED = (".png", ".PNG", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
KINDS = (
    "grey1", "grey2", "grey4", "grey8", "grey16", "index1", "index2", "index4", "index8", "int32",
    "bmp", "tiff", "webp",
)  # fmt: skip
FORMS = (  # how a list writes an image (name without suffix, suffix, folder of images)
    lambda name, suffix, folder: f"{name}{suffix}",
    lambda name, suffix, folder: name,
    lambda name, suffix, folder: f"./images/{name}{suffix}",
    lambda name, suffix, folder: f"{folder}/{name}{suffix}",
    lambda name, suffix, folder: f"images\\{name}{suffix}".replace("/", "\\"),
    lambda name, suffix, folder: f"/elsewhere/images/{name}{suffix}",
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")


@st.composite
def files(draw, name):
    """One image and its label: kinds, size, tag, and the seed of its pixels."""
    depth = draw(st.sampled_from(list(FORMATS)))
    suffix = draw(st.sampled_from(FORMATS[depth]))
    tags = (1, 5, 6, 7, 8) if suffix in TAGGED else (1,)
    return {
        "name": name, "depth": depth, "suffix": suffix, "tag": draw(st.sampled_from(tags)),
        "kind": draw(st.sampled_from(KINDS)), "seed": draw(st.integers(0, 10**6)),
        "size": (draw(st.sampled_from([8, 16])), 24), "form": draw(st.sampled_from(FORMS)),
    }  # fmt: skip


def truth(file):
    """The upright image, grey blocks of 8x8 so that JPEG keeps them, and its class ids."""
    rng = np.random.default_rng(file["seed"])
    height, width = file["size"]
    blocks = rng.integers(0, 256, (height // 8, width // 8), dtype=np.uint8)
    blocks[0, 0] = 255  # a deep image uses its range
    most = 2 if file["kind"].endswith("1") else CLASSES
    ids = rng.integers(0, most, (height, width)).astype(np.uint8)
    ids[0, :most] = range(most)  # two classes at least
    return np.kron(blocks, np.ones((8, 8), np.uint8)), ids


def described(depth, **more):
    classes = [{"name": f"c{c}"} for c in range(CLASSES)]
    ranges = {"image_range": RANGES[depth]} if RANGES[depth] else {}
    lists = {"train": "train.txt", "val": "val.txt"}
    return {"description": {"classes": classes, "ignore": [9], **lists, **ranges, **more}}


def run(root, options):
    fetch("folder", root, options=options, out=root / "fetch.json")
    index(root / "fetch.json", root / "index.csv", dataset_json=root / "dataset.json", workers=1)
    return load_info(root / "dataset.json")


def views(root, info):
    """By id: what training reads, what the prepared cache holds, what predict gets."""
    prepare(
        root / "index.csv", root / "dataset.json", short_side=None, workers=1,
        pixels=root / "c" / "pixels.bin", places=root / "c" / "places.csv",
    )  # fmt: skip
    places = read_places(root / "c" / "places.csv", root / "c" / "pixels.bin")
    for pair in pairs_of(read_index_rows(root / "index.csv")):
        yield pair.id, image_pixels(pair.image, info).numpy(), None
        if pair.label is not None:
            image, label = load_pair(pair, info, None)
            yield pair.id, image.numpy(), label.numpy()
        if pair.id in places:
            stored = type(pair)(pair.id, pair.image, None, places[pair.id])
            image, label = load_pair(stored, info, None)
            yield pair.id, image.numpy(), label.numpy()


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_the_pixels_are_the_truth_whatever_the_kinds(data):
    depth = data.draw(st.sampled_from(list(FORMATS)))
    drawn = [data.draw(files(name)) for name in ("north/0001", "south/0001", "a b.c/ü 1")]
    for i, file in enumerate(drawn):
        file["seed"] = 3 * file["seed"] + i  # no picture twice
        if file["depth"] != depth and file["depth"] not in ("8", depth):
            file["depth"], file["suffix"], file["tag"] = "8", ".png", 1
    with tempfile.TemporaryDirectory() as folder:
        root, lines, expected = Path(folder), [], {}
        for file in drawn:
            grey, ids = truth(file)
            path = root / "images" / f"{file['name']}{file['suffix']}"
            write_image_kind(path, grey, file["depth"], file["tag"])
            end = LABEL_SUFFIX.get(file["kind"], ".png")
            write_label_kind(root / "labels" / f"{file['name']}{end}", ids, file["kind"], PALETTE)
            lines.append(file["form"](file["name"], file["suffix"], root / "images"))
            expected[file["name"]] = grey, ids, 3 if file["suffix"] in (".jpg", ".jpeg") else 0
        code, end = (
            data.draw(st.sampled_from(ENCODINGS)),
            data.draw(st.sampled_from(["\n", "\r\n"])),
        )
        for split, part in (("train", lines[:2]), ("val", lines[2:])):
            text = end.join(["# a comment", "", *part, ""])
            (root / f"{split}.txt").write_bytes(text.encode(code))
        info = run(root, described(depth))
        seen = list(views(root, info))
        assert len(seen) == 3 * 2 + 2
        for name, image, label in seen:
            grey, ids, tolerance = expected[name]
            assert image.shape == (3, *grey.shape)
            assert np.abs(image.astype(int) - grey).max() <= tolerance
            assert label is None or (label == ids).all()
        table = read_index(root / "index.csv").set_index("id")
        for name, (_, ids, _) in expected.items():
            counted = [int(table.loc[name, f"pixels_{c}"]) for c in range(CLASSES)]
            assert counted == [int((ids == c).sum()) for c in range(CLASSES)]


COLOURS = [(0, 0, 0), (255, 255, 255), (200, 30, 30), (85, 85, 85)]
STATED = [
    {"name": f"c{c}", "colour": list(colour), "values": [list(colour)]}
    for c, colour in enumerate(COLOURS)
]


def recompressed(colours_HW3, way):
    """An RGB label as programs store it when they compress it again without loss."""
    flat = colours_HW3.reshape(-1, 3)
    used, places = np.unique(flat, axis=0, return_inverse=True)
    if way == "backwards":
        used, places = used[::-1], len(used) - 1 - places
    grey = bool((flat == flat[:, :1]).all())
    levels = set(flat[:, 0].tolist())
    if grey and way == "grey":
        bits = 1 if levels <= {0, 255} else 2 if levels <= {0, 85, 170, 255} else 8
        step = 255 // (2**bits - 1)
        return png((colours_HW3[..., 0] // step), bits)
    bits = 1 if len(used) <= 2 else 2
    padded = [tuple(map(int, c)) for c in used]
    return png(places.reshape(colours_HW3.shape[:2]).astype(np.uint8), bits, padded)


@settings(max_examples=30, deadline=None)
@given(
    ways=st.lists(st.sampled_from(["palette", "backwards", "grey", "rgb"]), min_size=4, max_size=4),
    subsets=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=4, max_size=4),
    stated=st.booleans(), ignored=st.booleans(), told=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_recompressed_labels_are_right_or_refused(ways, subsets, stated, ignored, told, seed):
    """Labels of colours (stated or not), or of grey numbers, as recompressed files of any form.

    Told that what is shown counts, nothing is refused but labels of fewer than two classes.
    """
    rng = np.random.default_rng(seed)
    if stated:
        colours = np.array(COLOURS, np.uint8)
        description = {"classes": STATED}
    else:  # grey numbers 0, 1, 2 and 255
        colours = np.array([[v] * 3 for v in (0, 1, 2, 255)], np.uint8)
        classes = [{"name": f"c{c}"} for c in range(3)]
        description = {"classes": classes} | ({"ignore": 255} if ignored else {})
    meaning = np.array([0, 1, 2, 3 if stated else 255], np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        root, expected = Path(folder), {}
        for i, (way, subset) in enumerate(zip(ways, subsets)):
            ids = rng.choice(sorted(subset), (16, 24)).astype(np.uint8)
            grey, _ = truth({"seed": i, "kind": "grey8", "size": (16, 24)})
            write_image_kind(root / "images" / f"{i}.png", grey, "8")
            path = root / "labels" / f"{i}.png"
            if way == "rgb":
                write_label_kind(path, ids, "rgb", [tuple(map(int, c)) for c in colours])
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(recompressed(colours[ids], way))
            expected[str(i)] = meaning[ids]
        lists = {"train": "train.txt", "val": "val.txt"}
        told_by = {"labels_by": "shown"} if told else {}
        options = {"description": {**description, **lists, **told_by}}
        (root / "train.txt").write_text("0\n1\n")
        (root / "val.txt").write_text("2\n3\n")
        try:
            info = run(root, options)
        except DataError as error:
            assert not told or "at least two are needed" in str(error)
            return
        for name, _, label in views(root, info):
            assert label is None or (label == expected[name]).all()


@pytest.mark.parametrize("tag", range(1, 9))
def test_the_stored_pixels_of_a_tag_are_turned_upright(tmp_path, tag):
    grey = np.arange(6 * 24, dtype=np.uint8).reshape(6, 24)
    for suffix in (".png", ".tif", ".webp"):
        write_image_kind(tmp_path / f"i{suffix}", grey, "8", tag)
        assert (image_pixels(tmp_path / f"i{suffix}").numpy() == grey).all()
    stored = replace(PLAIN, orientation="stored")
    assert (image_pixels(tmp_path / "i.tif", stored).numpy() == as_stored(grey, tag)).all()
    assert (image_pixels(tmp_path / "i.png", stored).numpy() == as_stored(grey, tag)).all()


@pytest.mark.parametrize("kind", KINDS_OF_TABLE, ids=lambda kind: kind.what)
def test_each_kind_of_the_table(tmp_path, capsys, kind):
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("v\n")
    options = kind.make(tmp_path)
    if "val_share" not in options:
        options |= {"train": "train.txt", "val": "val.txt"}
    if kind.refused:
        with pytest.raises(DataError, match=kind.refused):
            run(tmp_path, {"description": options})
        return
    info = run(tmp_path, {"description": options})
    assert re.search(kind.said, capsys.readouterr().err)
    most = len(info.class_names) if len(info.class_names) < 3 else 3
    seen = list(views(tmp_path, info))
    assert len(seen) >= 6
    for name, image, label in seen:
        assert np.abs(image.astype(int) - kind_folders.grey(name)).max() <= 3
        assert label is None or (label == kind_folders.ids(name, most)).all()


def test_the_documentation_has_the_table():
    page = (ROOT / "docs" / "kinds.md").read_text(encoding="utf-8")
    assert page.endswith(kinds.table()), "run: python tests/kinds.py"
