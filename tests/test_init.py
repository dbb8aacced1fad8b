"""`cseg init`: classes, values, geometry and split of folders as people have them."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from init_folders import PALETTE, RGB, masks, truth, write_folder
from PIL import Image, ImageFont
from shared_data import shared_data
from written_kinds import RANGES, write_image_kind, write_label_kind

from cseg import experiment
from cseg.cli import main
from cseg.datasets.reading import read_image, read_label, write_image, write_label
from cseg.datasets.samples import DatasetInfo, Sample
from cseg.errors import DataError
from cseg.estimate.calibrate import ArmCost
from cseg.images.overlay import choose_pairs, contact_sheet, font_for
from cseg.init import proposal
from cseg.init.files import label_suffix
from cseg.init.look import choose_split, look
from cseg.init.proposal import Data, Machine, fit, fit_steps, propose
from cseg.init.write import config_text

COST = ArmCost(0.1, 0.05, 0.01, 2.0, 800.0, 4.0, 0.001, "made up")


def seen_as(seen, known):
    """Every pair that was opened has the truth's image, as a grey, and class ids."""
    assert {pair.id for pair in seen.pairs} == set(known)
    for pair in seen.pairs:
        grey, ids = known[pair.id]
        assert (read_label(pair.label, seen.info) == ids).all(), pair.id
        found = read_image(pair.image, seen.info).astype(int)
        assert np.abs(found - grey[..., None]).max() <= 2, pair.id


@pytest.fixture
def fast(monkeypatch):
    """Costs of all arms that were not measured."""

    def costs(config, arms, **_):
        return dict.fromkeys(arms, COST)

    monkeypatch.setattr(proposal, "calibrate", costs)


KINDS = ("grey1", "grey8", "grey16", "index2", "index8", "int32", "tiff", "webp", "rgb", "rgba",
         "0 and 255")  # fmt: skip
LAYOUTS = (
    {"images": "images", "labels": "labels"},
    {"images": "imgs", "labels": "masks", "suffix": "_mask"},
    {"images": "all", "labels": "all", "suffix": "_L"},
)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(KINDS), st.sampled_from(list(RANGES)), st.sampled_from(LAYOUTS),
    st.sampled_from([1, 6, 8]),
)  # fmt: skip
def test_classes_and_pixels_are_the_truth_in_every_kind_of_folder(kind, depth, layout, tag):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        suffix = ".tif" if depth in ("int", "float", "12") else ".png"
        known = write_folder(root, kind, depth, image_suffix=suffix, tag=tag, **layout)
        given = root if layout["images"] != "all" else root / "all"
        (root / "work").mkdir()
        seen = look(given, None, name="mine", work=root / "work")
        assert not seen.problems
        seen_as(seen, known)


def labelme(path, size, shapes):
    listed = [{"label": name, "points": points, "shape_type": "polygon"} for name, points in shapes]
    content = {"shapes": listed, "imageHeight": size[0], "imageWidth": size[1], "imagePath": "x"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_outlines_of_labelme_and_of_coco(tmp_path):
    square = [[4, 4], [20, 4], [20, 20], [4, 20]]
    coco = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "leaf"}]}
    for number in range(4):
        grey, _ = truth(number)
        for folder in ("a", "b/images"):
            path = tmp_path / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image_kind(path, grey, "8")
        labelme(tmp_path / "a" / f"{number}.json", grey.shape, [("leaf", square)])
        coco["images"].append(
            {"id": number, "file_name": f"{number}.png", "height": 24, "width": 32}
        )
        coco["annotations"].append({
            "id": number, "image_id": number, "category_id": 7, "area": 256,
            "segmentation": [[v for point in square for v in point]],
        })  # fmt: skip
    (tmp_path / "b" / "annotations").mkdir()
    (tmp_path / "b" / "annotations" / "instances.json").write_text(json.dumps(coco))
    for folder in ("a", "b"):
        (tmp_path / f"work_{folder}").mkdir()
        seen = look(tmp_path / folder, None, name="mine", work=tmp_path / f"work_{folder}")
        assert seen.info.class_names == ("background", "leaf")
        for pair in seen.pairs:
            ids = read_label(pair.label, seen.info)
            assert ids[12, 12] == 1 and ids[2, 2] == 0 and abs((ids == 1).sum() - 256) <= 33


def test_names_of_outlines_lose_control_characters_and_blanks_around_them(tmp_path):
    """One class for names that are the same without them; the files keep theirs."""
    square = [[4, 4], [20, 4], [20, 20], [4, 20]]
    for number, label in enumerate(("leaf", " leaf\r", "leaf\t", "\n")):
        grey, _ = truth(number)
        write_image_kind(tmp_path / "a" / f"{number}.png", grey, "8")
        labelme(tmp_path / "a" / f"{number}.json", grey.shape, [(label, square)])
    seen = look(tmp_path / "a", None, name="mine", work=tmp_path / "a")
    assert not seen.problems
    assert sorted(seen.info.class_names) == ["background", "leaf", "no name"]
    leaf = seen.info.class_names.index("leaf")
    assert sorted(pair.pixels[leaf] > 0 for pair in seen.pairs) == [False, True, True, True]


def test_255_is_ignored_among_several_values_and_a_class_beside_one(tmp_path):
    for name, values, classes, ignored in (
        ("two", [0, 255], ["background", "object"], []),
        ("many", [0, 3, 255], ["background", "object"], [255]),
        ("negative", [-1, 1, 2, 3], ["class 1", "class 2", "class 3"], [-1]),
    ):
        for number in range(4):
            grey, ids = truth(number, len(values))
            write_image_kind(tmp_path / name / "images" / f"{number}.png", grey, "8")
            label = np.array(values, np.int32)[ids]
            path = tmp_path / name / "labels" / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(label if name == "negative" else label.astype(np.uint8)).save(path)
        (tmp_path / name / "work").mkdir()
        seen = look(tmp_path / name, None, name="mine", work=tmp_path / name / "work")
        assert list(seen.info.class_names) == classes
        assert seen.description["ignore"] == ignored
        asked = "255 covers" in " ".join(seen.said)
        assert asked == (255 in ignored)


@pytest.mark.parametrize("values", [(0, 85, 170, 255), (0, 127, 255), (0, 128, 255)])
def test_255_is_a_class_if_it_is_the_last_of_evenly_spaced_shades(tmp_path, values):
    seen = masks(tmp_path, values)
    assert seen.info.class_names == tuple(f"class {value}" for value in values)
    assert seen.description["ignore"] == [] and "a class by a guess" in seen.said[0]


def test_255_that_is_ignored_by_a_guess_is_named_with_its_share(tmp_path, fast):
    """Following what the report says makes it a class."""
    seen = masks(tmp_path, [0, 1, 255])
    share = 100 * seen.kinds.pixels[255] / sum(seen.kinds.pixels.values())
    assert f"255 covers {share:.2g} % of all pixels and is ignored by a guess" in seen.said[0]
    assert "add {name: NAME, values: 255} to classes" in seen.said[0]
    out = tmp_path / "mine.yaml"
    assert main(["init", str(tmp_path), "--out", str(out)]) == 0
    assert seen.said[0] in out.read_text()
    config = yaml.safe_load(out.read_text())
    described = config["dataset_options"]["folder"]["description"]
    described["classes"].append({"name": "NAME", "values": 255})
    described["ignore"].remove(255)
    out.write_text(yaml.safe_dump(config))
    assert experiment.load([out]).info.class_names[2] == "NAME"


def test_names_of_classes_come_from_a_file_near_the_labels(tmp_path):
    write_folder(tmp_path, "rgb")
    lines = [f"{r} {g} {b}\t{name}" for (r, g, b), name in zip(RGB, ("Sky", "Road", "Void"))]
    (tmp_path / "label_colors.txt").write_text("\n".join(lines))
    (tmp_path / "work").mkdir()
    seen = look(tmp_path, None, name="mine", work=tmp_path / "work")
    assert seen.info.class_names == ("Sky", "Road")
    assert seen.description["ignore"] == [list(RGB[2])]


def test_images_without_label_and_labels_without_image_are_told_apart(tmp_path, fast):
    write_folder(tmp_path, "grey8", count=8)
    (tmp_path / "labels" / "north" / "001.png").unlink()
    (tmp_path / "images" / "south" / "002.png").unlink()
    (tmp_path / "images" / "north" / "twin.png").write_bytes(
        (tmp_path / "images" / "north" / "003.png").read_bytes()
    )
    (tmp_path / "labels" / "north" / "twin.png").write_bytes(
        (tmp_path / "labels" / "north" / "003.png").read_bytes()
    )
    (tmp_path / "images" / "south" / "004.png").write_bytes(b"broken")
    out = tmp_path / "mine.yaml"
    assert main(["init", str(tmp_path), "--out", str(out)]) == 0
    names = {"south/000", "north/003", "north/005", "south/006", "north/007"}
    lists = [out.with_name(f"mine_{split}.txt").read_text().split() for split in ("train", "val")]
    assert {name.removesuffix(".png") for split in lists for name in split} == names
    assert len(lists[1]) == 1 and not set(lists[0]) & set(lists[1])
    assert out.with_name("mine_unlabelled.txt").read_text().split() == ["north/001.png"]
    text = out.read_text()
    for said in (
        "1 images without a label: north/001.png",
        "1 labels without an image: south/002.png",
        "1 images left out that are there twice: twin.png",
        "south/004.png cannot be decoded",
    ):
        assert said in text


def test_the_config_is_one_that_loads_and_says_what_was_found(tmp_path, fast, capsys):
    known = write_folder(tmp_path, "rgb", count=20)
    out = tmp_path / "fields of mine.yaml"
    assert main(["init", str(tmp_path / "images"), "--labels", str(tmp_path / "labels"),
                 "--out", str(out)]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 50 and "20 images, all 32x24 pixels" in said
    loaded = experiment.load([out])
    assert loaded.name == "fields_of_mine" and loaded.info.num_classes == 3
    assert [list(c) for c in loaded.info.palette] == [list(c) for c in RGB]
    assert loaded.image.short_side is None and loaded.image.crop == (32, 32)
    assert loaded.label_counts == (4, "all")
    assert f"With {loaded.finetune.steps} steps a stage" in said
    sheet = np.array(Image.open(out.with_suffix(".png")))
    assert sheet.shape[0] > 600 and len(known) == 20


@pytest.mark.parametrize("name", ["mine.yaml", "mine.png", "mine_val.txt"])
def test_no_file_is_replaced(tmp_path, name, capsys):
    write_folder(tmp_path, "grey8")
    (tmp_path / name).write_bytes(b"my own")
    before = sorted(tmp_path.rglob("*"))
    assert main(["init", str(tmp_path), "--out", str(tmp_path / "mine.yaml")]) == 1
    assert f"{name} exists already; move it" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / name).read_bytes() == b"my own"


def spoil(root, how):
    labels = sorted((root / "labels").rglob("*.png"))
    for path in labels:
        if how == "jpeg":
            Image.open(path).save(path.with_suffix(".jpg"))
            path.unlink()
        elif how == "one value":
            Image.fromarray(np.full((24, 32), 3, np.uint8)).save(path)
        elif how == "shades":
            Image.fromarray(
                np.arange(24 * 32, dtype=np.uint16).reshape(24, 32).astype(np.uint8)
            ).save(path)
        elif how == "other names":
            path.rename(path.with_name(f"x{path.name}"))
        elif how == "two" and path in labels[2:]:
            path.unlink()
        elif how == "other size":
            Image.fromarray(np.eye(30, dtype=np.uint8)).save(path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("jpeg", "is a JPEG file, a format that changes values .*; save labels as PNG"),
        ("one value", r"all pixels of the labels have one value \(3\).*; give labels"),
        ("shades", "the labels hold 256 values, too many for classes; save masks as PNG"),
        ("other names", r"no label in .*labels has the name of an image .*; name labels as their"),
        ("two", "2 images of .* have a label that can be used, .* needs 3; add labels"),
        ("other size", "is 30x30 but its image .* is 32x24; put in the label"),
    ],
)
def test_a_folder_that_cannot_be_used_ends_in_one_sentence(tmp_path, how, message):
    write_folder(tmp_path, "grey8")
    spoil(tmp_path, how)
    (tmp_path / "work").mkdir()
    with pytest.raises(DataError, match=message):
        look(tmp_path, None, name="mine", work=tmp_path / "work")


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist; give the folder"):
        look(tmp_path / "nowhere", None, name="mine", work=tmp_path)
    with pytest.raises(DataError, match=r"holds no image \(\.jpg"):
        look(tmp_path, None, name="mine", work=tmp_path)


@pytest.mark.parametrize(
    ("ids", "labels", "same", "suffix"),
    [
        (["a", "b/c"], ["a.png", "b/c.png"], False, ".png"),
        (["a", "ab"], ["a_mask.png", "ab_mask.png"], False, "_mask.png"),
        (["1", "10", "11"], ["1.png", "10.png", "11.png"], False, ".png"),
        (["a", "a_L", "b", "b_L"], ["a.png", "a_L.png", "b.png", "b_L.png"], True, "_L.png"),
        (["a", "b"], ["a.png", "b.png"], True, ""),
        (["a", "b"], ["a.json", "a.png", "b.json", "b.png"], True, ".json"),
        (["a"], ["x.png"], False, ""),
    ],
)
def test_the_ending_of_labels_is_learned_from_their_names(ids, labels, same, suffix):
    assert label_suffix(ids, labels, same) == suffix


def test_every_class_is_on_both_sides_of_the_split(tmp_path):
    """Of ten images two have the rare class: one of each has to be on either side."""
    for number in range(10):
        grey, ids = truth(number, 2)
        ids[5, 5] = 2 if number in (3, 8) else 0
        write_image_kind(tmp_path / "images" / f"{number}.png", grey, "8")
        write_label_kind(tmp_path / "labels" / f"{number}.png", ids, "grey8", PALETTE)
    (tmp_path / "work").mkdir()
    seen = look(tmp_path, None, name="mine", work=tmp_path / "work")
    val = {int(path.stem) for path in choose_split(seen).val}
    assert len(val) == 2 and len(val & {3, 8}) == 1


def test_lists_that_are_there_are_kept(tmp_path, fast):
    write_folder(tmp_path, "grey8")
    (tmp_path / "train.txt").write_text("south/000\nnorth/001\nsouth/002\nnorth/003\n")
    (tmp_path / "val.txt").write_text("south/004\nnorth/005\n")
    assert main(["init", str(tmp_path), "--out", str(tmp_path / "mine.yaml")]) == 0
    assert not list(tmp_path.glob("mine_*.txt"))
    described = experiment.load([tmp_path / "mine.yaml"]).options["description"]
    assert (described["train"], described["val"]) == ("train.txt", "val.txt")


def data(**changes):
    usual = {"train": 80, "val": 20, "unlabelled": 0, "height": 480, "width": 640, "classes": 5}
    return Data(**{**usual, **changes})


CPU, GPU = Machine(cores=2, gpu=""), Machine(cores=16, gpu="H100")


def test_labelling_images_without_label_takes_time(fast):
    """Of two counts and two seeds each, a pupil labels 60,000 images in ten minutes."""
    described = {"classes": [{"name": "a"}, {"name": "b"}], "val_share": 0.5, "unlabelled": "more"}
    folder = {"dataset": "folder", "dataset_options": {"folder": {"description": described}}}
    settings = propose(data(unlabelled=1), CPU, 96)
    few, many = (fit_steps(folder, settings, data(unlabelled=n), CPU) for n in (0, 60_000))
    assert few.steps > many.steps == 200
    assert few.minutes <= 10 and 20 < many.minutes < 30


@pytest.mark.parametrize(
    ("given", "machine", "most", "side", "crop", "counts"),
    [
        (data(), CPU, 96, 96, [96, 128], [20, "all"]),
        (data(), CPU, 64, 64, [64, 80], [20, "all"]),
        (data(height=64, width=50), CPU, 96, None, [64, 48], [20, "all"]),
        (data(train=3, val=1), CPU, 96, 96, [96, 128], ["all"]),
        (data(), GPU, 512, None, [480, 640], [20, "all"]),
        (data(height=3000, width=4000), GPU, 512, 512, [512, 672], [20, "all"]),
        (data(height=20, width=20), CPU, 96, None, [32, 32], [20, "all"]),
    ],
)
def test_settings_fit_images_counts_and_machine(given, machine, most, side, crop, counts):
    settings = propose(given, machine, most)
    assert settings["image"]["short_side"] == side and settings["image"]["crop"] == crop
    assert settings["label_counts"] == counts
    assert settings["pretrain"]["grid"] == [length // 4 for length in crop]
    assert ("model" in settings) == bool(machine.gpu)
    assert "cross_pseudo" in propose(data(unlabelled=9), machine, most)["run_arms"]


@pytest.mark.parametrize(("val", "machine", "seeds"), [(9, CPU, 3), (10, CPU, 2), (10, GPU, 3)])
def test_images_too_few_to_be_resampled_get_a_third_seed(val, machine, seeds):
    assert propose(data(val=val), machine, 96)["seeds"] == list(range(seeds))


@pytest.mark.parametrize("machine", [CPU, GPU])
def test_steps_fill_the_time_that_there_is(monkeypatch, fast, machine):
    settings = propose(data(), machine, 96)
    fitted = fit_steps({}, settings, data(), machine)
    limit = proposal.GPU_MINUTES if machine.gpu else proposal.CPU_MINUTES
    assert limit * 0.8 < fitted.minutes <= limit
    monkeypatch.setattr(proposal, "CPU_MINUTES", 0)
    monkeypatch.setattr(proposal, "GPU_MINUTES", 0)
    assert fit_steps({}, settings, data(), machine).steps == proposal.LEAST_STEPS


@pytest.mark.parametrize(("minutes", "side"), [(30, 96), (3, 64)])
def test_a_slow_machine_gets_smaller_images_not_too_few_steps(monkeypatch, fast, minutes, side):
    monkeypatch.setattr(proposal, "CPU_MINUTES", minutes)
    fitted = fit({}, data(), CPU)
    assert fitted.settings["image"]["short_side"] == side
    assert fitted.settings["finetune"]["steps"] == fitted.settings["pretrain"]["steps"]
    small = fit_steps({}, propose(data(), CPU, 64), data(), CPU)
    wider = 96 * 128 / (64 * 80)
    assert (side == 96) == (small.steps / wider >= proposal.ENOUGH_STEPS)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True), NAMES,
    st.lists(st.integers(-5, 300) | st.just("transparent"), max_size=3),
)  # fmt: skip
def test_the_text_of_a_config_holds_what_was_given(names, folder, ignored):
    described = {
        "name": "mine", "classes": [{"name": name, "values": 3} for name in names],
        "ignore": ignored, "images": folder, "image_range": [0.5, 4095.0],
    }  # fmt: skip
    text = config_text(
        head=["said\nof the folder"], data_dir=folder, description=described,
        notes={"classes": "note", f"class {names[0]}": "a\nb", "images": "x # y"},
        settings={"seeds": [0, 1], "image": {"short_side": None, "crop": [32, 48]}},
    )  # fmt: skip
    assert yaml.safe_load(text) == {
        "dataset": "folder", "data_dir": folder,
        "dataset_options": {"folder": {"description": described}},
        "seeds": [0, 1], "image": {"short_side": None, "crop": [32, 48]},
    }  # fmt: skip


def test_a_contact_sheet_shows_rare_classes_and_lays_labels_over_images(tmp_path):
    pixels = [[100, 0, 0]] * 6 + [[50, 50, 0], [90, 0, 10]]
    assert {6, 7} < set(choose_pairs(pixels, 3)) and choose_pairs(pixels, 99) == list(range(8))
    image, classes = np.full((40, 60, 3), 200, np.uint8), np.zeros((40, 60), np.uint8)
    classes[:, 30:] = 1
    info = DatasetInfo("", ("a", "b"), ((0, 0, 0), (0, 0, 200)), {0: 0, 1: 1}, {}, "", "")
    pair = Sample("a", "train", tmp_path / "image.png", tmp_path / "label.png")
    write_image(pair.image, image)
    write_label(pair.label, classes, info.palette)
    sheet = np.array(contact_sheet([pair], info))
    top = 6 + 18
    assert (sheet[top + 100, 6 + 150] == 200).all()  # the image, then its overlay
    assert (sheet[top + 100, 6 + 302 + 75] == 100).all()
    assert sheet[top + 100, 6 + 302 + 225].tolist() == [100, 100, 200]


def test_letters_beyond_ascii_are_drawn_and_not_as_boxes():
    """A letter that a font lacks looks like any other that it lacks."""
    lacking = "\U0010fffe"
    for text in ("дерево", "ślimak", "Straße", "αβγ"):
        font = font_for(text, 13)
        box = bytes(font.getmask(lacking))
        assert all(bytes(font.getmask(letter)) != box for letter in text), text
    default = ImageFont.load_default(13).getname()
    assert font_for("road", 13).getname() == font_for("道", 13).getname() == default


def test_real_images_are_understood(tmp_path):
    root = shared_data("camvid") / "CamVid"
    seen = look(root / "val", root / "valannot", name="mine", work=tmp_path)
    assert len(seen.pairs) == 101 and seen.info.num_classes == 12 and not seen.problems
    root = shared_data("drosophila_vnc")
    (tmp_path / "w").mkdir()
    seen = look(root, None, name="mine", work=tmp_path / "w")
    assert len(seen.pairs) == 320 and seen.files.more == root / "unlabelled"
    assert len(choose_split(seen).val) == 80  # sections 15 to 19, by its lists
