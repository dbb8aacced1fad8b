"""A file that is not as its stage wrote it is refused by name, wherever it is read."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from small_runs import small_data

from cseg.datasets.samples import load_info
from cseg.errors import DataError, TrainingError
from cseg.model import checkpoint
from cseg.paper.results import read_results
from cseg.stages.run import labelled_pairs
from cseg.stages.summary import summary
from cseg.storage.files import check_unchanged, write_checksums
from cseg.storage.index_and_subset import read_index, read_subset
from cseg.training.sampling import load_pair


@pytest.fixture
def data(tmp_path):
    return small_data(tmp_path)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.fault
def test_any_altered_byte_of_an_index_is_found(data, tried):
    index_csv = data.index
    assert len(read_index(index_csv)) == 32
    places = range(0, index_csv.stat().st_size, 97)
    for place in places:
        flip(index_csv, place)
        with pytest.raises(DataError, match=r"index\.csv has changed since it was written"):
            read_index(index_csv)
        flip(index_csv, place)
    tried("Damaged files", "index.csv: a bit altered anywhere", len(places), "refused by name")


@pytest.mark.parametrize("damage", ["", "split,id\n", 'split,id\n"', "\0"])
def test_an_index_without_a_checksum_must_still_be_one(tmp_path, damage):
    (tmp_path / "index.csv").write_text(damage)
    if damage == "split,id\n":
        assert read_index(tmp_path / "index.csv").empty
        return
    with pytest.raises(DataError, match=r"cannot read the index .*index\.csv"):
        read_index(tmp_path / "index.csv")


def test_ids_that_pandas_takes_for_missing_values_stay_ids(tmp_path):
    (tmp_path / "index.csv").write_text("split,id\ntrain,NA\ntrain,001\n")
    assert list(read_index(tmp_path / "index.csv")["id"]) == ["NA", "001"]


@pytest.mark.fault
def test_an_altered_subset_is_found(data, tried):
    subset_csv = data.subset
    text = subset_csv.read_text()
    rows = text.splitlines(keepends=True)
    ids, _ = read_subset(subset_csv)
    altered = ["".join(rows[:-1]), "".join([*rows[:1], *rows[2:]]), "".join(rows[:2] + rows[:0:-1]),
               text.replace(ids[0], ids[1]), text[:-30], text[:60]]  # fmt: skip
    for content in altered:
        subset_csv.write_text(content)
        with pytest.raises(DataError, match=r"subset .*n4_seed0\.csv.*delete it and run again"):
            read_subset(subset_csv)
    tried("Damaged files", "a subset: rows gone, doubled, reordered or cut", len(altered),
          "refused by name")  # fmt: skip


@pytest.mark.parametrize("kind", ["image", "label"])
def test_an_image_that_changed_since_it_was_indexed_is_not_trained_on(data, kind):
    pair = labelled_pairs(data)[0][0]
    path = getattr(pair, kind)
    with Image.open(path) as picture:
        sound = picture.copy()
    shown = sound.getpixel((0, 0))
    sound.putpixel((0, 0), (shown + 1) % 7 if kind == "label" else (1, 2, 3))
    sound.save(path)
    with pytest.raises(DataError, match=rf"{kind} .*{path.name} has changed since it was indexed"):
        load_pair(pair, load_info(data.dataset), None)


@pytest.mark.fault
def test_an_altered_bit_of_a_network_is_found(tmp_path, tried):
    path = tmp_path / "a.pt"
    weights = {f"layer{i}": torch.randn(30, 30) for i in range(3)}
    checkpoint.save(path, "finetune", {"network": weights})
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 41):
        flip(path, place)
        try:
            loaded = checkpoint.load(path, "finetune")["network"]
            # what is left is the padding between the records
            assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
        except TrainingError as error:
            refused += 1
            assert "a.pt" in str(error)
        path.write_bytes(whole)
    assert refused > 0.9 * 3 * 30 * 30 * 4 / 41
    tried("Damaged files", "a checkpoint: a bit altered anywhere", len(range(0, len(whole), 41)),
          "refused by name wherever it would change a weight")  # fmt: skip


def test_a_result_file_that_changed_is_refused_and_one_without_a_checksum_is_not(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("x\n1\n")
    write_checksums([tmp_path / "a.csv"])
    for name in ("a.csv", "b.csv"):
        check_unchanged(tmp_path / name)
        (tmp_path / name).write_text("x\n2\n")
    with pytest.raises(DataError, match=r"a\.csv has changed since it was written; delete it"):
        check_unchanged(tmp_path / "a.csv")
    check_unchanged(tmp_path / "b.csv")


def test_rows_that_were_edited_are_neither_collected_nor_shown(tmp_path):
    run = tmp_path / "scratch" / "n4" / "seed0"
    run.mkdir(parents=True)
    (run / "metrics.csv").write_text("dataset,arm,n,seed,miou\nshapes,scratch,4,0,0.5\n")
    write_checksums([run / "metrics.csv"])
    summary([run], tmp_path)
    assert read_results(tmp_path).mean_std("scratch", 4)[0] == 0.5
    for path, read in ((tmp_path / "summary.csv", lambda: read_results(tmp_path)),
                       (run / "metrics.csv", lambda: summary([run], tmp_path))):  # fmt: skip
        path.write_text(path.read_text().replace("0.5", "0.9"))
        with pytest.raises(DataError, match=rf"{path.name} has changed since it was written"):
            read()
