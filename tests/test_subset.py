import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cseg.errors import ConfigError, DataError
from cseg.settings.label_counts import count_token, parse_token, resolve_count
from cseg.stages.subset import nested_order, subset, subset_from_list
from cseg.storage.index_and_subset import read_subset

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PRESENCE = st.dictionaries(
    NAMES, st.frozensets(st.integers(0, 6), max_size=4), min_size=1, max_size=30
)
SEEDS = st.integers(-5, 1000)


@given(PRESENCE, SEEDS)
def test_order_holds_every_id_once_whatever_the_order_given(presence, seed):
    order = nested_order(presence, seed)
    assert sorted(order) == sorted(presence)
    assert nested_order(dict(reversed(presence.items())), seed) == order


@given(PRESENCE, SEEDS)
def test_order_follows_the_stated_algorithm(presence, seed):
    hashed = sorted(presence, key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).hexdigest())
    left, expected = list(hashed), []
    missing = set().union(*presence.values())
    while missing:
        rarest = min(missing, key=lambda c: (sum(c in shown for shown in presence.values()), c))
        chosen = next(i for i in left if rarest in presence[i])
        left.remove(chosen)
        expected.append(chosen)
        missing -= presence[chosen]
    assert nested_order(presence, seed) == expected + left


@given(PRESENCE, SEEDS)
def test_every_class_is_covered_within_as_many_images_as_there_are_classes(presence, seed):
    classes = set().union(*presence.values())
    head = nested_order(presence, seed)[: len(classes)]
    assert set().union(*(presence[i] for i in head)) == classes


def test_order_never_changes_between_releases():
    presence = {f"img{i}": frozenset({i % 3}) for i in range(6)} | {"é x": frozenset({7})}
    assert nested_order(presence, 0) == ["é x", "img3", "img4", "img2", "img1", "img0", "img5"]
    assert nested_order(presence, 1) != nested_order(presence, 0)


def test_order_does_not_depend_on_the_hash_seed_of_the_process():
    code = (
        "from cseg.stages.subset import nested_order\n"
        "print(nested_order({f'i{k}': frozenset({k % 5, k % 7}) for k in range(40)}, 3))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, text=True,
            capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        ("1/30", 2975, 100), ("1/16", 10582, 662), ("1/8", 10582, 1323), ("1/4", 2975, 744),
        (0.05, 367, 19), ("0.05", 367, 19), (0.1, 10, 1), (0.3, 10, 3), ("all", 367, 367),
        (1, 1, 1), ("16", 367, 16), (0.0001, 10, 1),
    ],
)  # fmt: skip
def test_counts_are_rounded_up_as_in_the_published_lists(n, size, expected):
    assert resolve_count(n, size) == expected


@given(st.integers(1, 500), st.integers(2, 500), st.integers(1, 3000))
def test_a_fraction_is_the_smallest_count_of_at_least_that_share(above, below, size):
    if above < below:
        count = resolve_count(f"{above}/{below}", size)
        assert count * below >= above * size > (count - 1) * below


@pytest.mark.parametrize(
    "n", [0, -3, "", "few", 1.5, 1.0, "3/2", "1/0", True, None, float("nan"), float("inf"), "0.0"]
)
def test_a_malformed_count_is_refused_by_name(n):
    with pytest.raises(ConfigError, match=r"label_counts: .* is no count"):
        resolve_count(n, 100)


def test_more_than_there_are_and_none_at_all():
    with pytest.raises(ConfigError, match=r"label_counts: 368 is more than the 367"):
        resolve_count(368, 367)


@pytest.mark.parametrize(
    ("n", "token"),
    [
        (16, "16"),
        ("16", "16"),
        ("all", "all"),
        ("1/30", "1of30"),
        (0.05, "0.05"),
        (1e-5, "0.00001"),
    ],
)
def test_path_tokens_lead_back_to_the_count(n, token):
    assert count_token(n) == token
    assert resolve_count(parse_token(token), 1000) == resolve_count(n, 1000)
    assert count_token(parse_token(token)) == token


def write_index(
    folder: Path, rows: list[tuple], mark: str = "abc", partial: bool = False
) -> tuple[Path, Path]:
    index_csv, dataset_json = folder / "index.csv", folder / "dataset.json"
    table = pd.DataFrame(rows, columns=["split", "id", "pixels_0", "pixels_1", "pixels_ignored"])
    table.insert(2, "image", "data/img/" + table["id"] + ".jpg")
    table.to_csv(index_csv, index=False)
    dataset_json.write_text(json.dumps({"index_fingerprint": mark, "partial": partial}))
    return index_csv, dataset_json


ROWS = [("train", f"{i:03d}", 5, int(i == 7), 0) for i in range(20)] + [("val", "v", 1, 1, 0)]


def test_files_of_one_seed_are_nested_and_leave_out_validation_images(tmp_path):
    index_csv, dataset_json = write_index(tmp_path, ROWS)
    ids = {}
    for n in (1, 4, "1/2", "all"):
        subset(index_csv, dataset_json, n=n, seed=5, out=tmp_path / f"{n}.csv".replace("/", "of"))
        ids[n] = read_subset(tmp_path / f"{n}.csv".replace("/", "of"))[0]
    assert [len(found) for found in ids.values()] == [1, 4, 10, 20]
    assert all(ids["all"][: len(found)] == found for found in ids.values())
    assert ids[1] == ["007"]  # the only image with class 1; its id stays text
    assert "v" not in ids["all"]


def test_the_fingerprint_changes_with_n_seed_and_index_and_with_nothing_else(tmp_path):
    def mark(n, seed, index="abc"):
        index_csv, dataset_json = write_index(tmp_path, ROWS, index)
        subset(index_csv, dataset_json, n=n, seed=seed, out=tmp_path / "out.csv")
        table = pd.read_csv(tmp_path / "out.csv")
        assert list(table.columns) == ["rank", "id", "fingerprint", "ids_fingerprint"]
        assert table["rank"].tolist() == list(range(len(table)))
        assert (table["fingerprint"] == table["fingerprint"][0]).all()
        return table["fingerprint"][0]

    assert mark(4, 0) == mark("4", 0)
    assert len({mark(4, 0), mark(5, 0), mark(4, 1), mark(4, 0, "abd"), mark("1/5", 0)}) == 5


def test_a_training_set_without_images(tmp_path):
    index_csv, dataset_json = write_index(tmp_path, ROWS[-1:])
    with pytest.raises(DataError, match=r"has no training image"):
        subset(index_csv, dataset_json, n=1, seed=0, out=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_published_list_becomes_a_subset_and_lost_lines_are_told(tmp_path):
    index_csv, dataset_json = write_index(tmp_path, ROWS, partial=True)
    (tmp_path / "list.txt").write_bytes(b"img/012.jpg lab/012.png\r\n003\r\nnobody\r\nv\r\n003\r\n")
    lost = subset_from_list(index_csv, dataset_json, tmp_path / "list.txt", tmp_path / "out.csv")
    assert lost == ["nobody", "v"]  # a validation image is not trained on
    assert read_subset(tmp_path / "out.csv")[0] == ["012", "003"]
    first = pd.read_csv(tmp_path / "out.csv")["fingerprint"][0]
    (tmp_path / "list.txt").write_text("003\n012\n")
    assert (
        subset_from_list(index_csv, dataset_json, tmp_path / "list.txt", tmp_path / "2.csv") == []
    )
    assert pd.read_csv(tmp_path / "2.csv")["fingerprint"][0] != first


def test_lost_lines_are_printed_and_kept_next_to_the_subset(tmp_path, capsys):
    index_csv, dataset_json = write_index(tmp_path, ROWS, partial=True)
    listing, out, lost = (tmp_path / name for name in ("list.txt", "a.csv", "a.unmatched.txt"))

    def take(text):
        listing.write_text(text)
        subset(index_csv, dataset_json, n="mine", seed=0, out=out, list_path=listing)
        return capsys.readouterr().out

    assert take("003\n") == "" and not lost.exists()
    assert take("003\nnobody\nv\n") == (
        f"2 lines of {listing} match no training image:\nnobody\nv\n"
    )
    assert lost.read_text() == "nobody\nv\n" and read_subset(out)[0] == ["003"]
    assert take("012\n") == "" and not lost.exists()


def test_a_line_that_names_no_training_image_ends_the_run_unless_a_part_is_meant(tmp_path):
    index_csv, dataset_json = write_index(tmp_path, ROWS)
    for line in ("nobody", "v", "other/003.jpg", "img/003.jpg/nobody"):
        (tmp_path / "list.txt").write_text(f"003\n{line}\n")
        with pytest.raises(DataError, match=rf"1 of 2 lines of .* name no .*: {line}; .*relax_c"):
            subset_from_list(index_csv, dataset_json, tmp_path / "list.txt", tmp_path / "o.csv")


def test_a_list_for_another_dataset_is_refused(tmp_path):
    index_csv, dataset_json = write_index(tmp_path, ROWS)
    (tmp_path / "list.txt").write_text("2007_000032\n")
    with pytest.raises(DataError, match=r"no line of .*list\.txt names a training image"):
        subset_from_list(index_csv, dataset_json, tmp_path / "list.txt", tmp_path / "out.csv")
