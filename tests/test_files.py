"""Files appear whole or not at all, whatever becomes of their writer."""

import errno
import fcntl
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from faults import file_limit
from matplotlib.figure import Figure
from small_runs import ROOT

from cseg.datasets.reading import write_image
from cseg.errors import CsegError
from cseg.storage.files import atomic, write_json, write_text
from cseg.storage.tables import write_table


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed_writer(path):
    """A process that dies by SIGKILL while it writes `path`."""
    script = """
import os, signal, sys
from cseg.storage.files import atomic
with atomic(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half" * 9999)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=environment)
    assert done.returncode == -9


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_uses_up_its_half(tmp_path):
    path = tmp_path / "a.csv"
    write_text(path, "old")
    for _ in range(2):
        killed_writer(path)
        assert path.read_text() == "old" and len(names(tmp_path)) == 2
    write_text(path, "new")
    assert path.read_text() == "new" and names(tmp_path) == ["a.csv"]


def test_a_writer_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.csv"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and names(tmp_path) == ["a.csv"]


def test_a_second_living_writer_has_a_file_of_its_own(tmp_path):
    path = tmp_path / "a.csv"
    with atomic(path) as first:
        first.write_text("first")
        with atomic(path) as second:
            second.write_text("second")
        assert first != second and first.read_text() == "first"
        assert path.read_text() == "second"
    assert path.read_text() == "first" and names(tmp_path) == ["a.csv"]


def test_a_writer_that_fails_takes_nothing_from_another(tmp_path):
    path = tmp_path / "a.csv"
    first, second = atomic(path), atomic(path)
    name = first.__enter__()
    name.unlink()  # as a tidy user does, who takes it for what a killed run left
    assert second.__enter__() == name
    name.write_text("second")
    first.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    second.__exit__(None, None, None)
    assert path.read_text() == "second" and names(tmp_path) == ["a.csv"]


def test_a_filesystem_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    path = tmp_path / "a.csv"
    for text in ("one", "two"):
        write_text(path, text)
        assert path.read_text() == text and names(tmp_path) == ["a.csv"]


def save_figure(path):
    figure = Figure()
    figure.subplots().plot([1, 2])
    with atomic(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:])


def save_archive(path):
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as stream:
        for number in range(20):
            stream.writestr(str(number), bytes(500))


@pytest.mark.fault
@pytest.mark.parametrize("limit", [0, 10, 4000])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda path: write_table(path, pd.DataFrame({"a": range(9999)}))),
        ("a.json", lambda path: write_json(path, list(range(9999)))),
        ("a.png", lambda path: write_image(path, np.random.default_rng(0).integers(
            256, size=(99, 99, 3), dtype=np.uint8))),
        ("plot.png", save_figure),
        ("plot.pdf", save_figure),
        ("a.zip", save_archive),
    ],
)  # fmt: skip
def test_every_kind_of_file_that_finds_no_space_is_one_sentence(
    tmp_path, tried, name, write, limit
):
    path = tmp_path / name
    path.write_text("old")
    said = pytest.raises(CsegError, match=rf"cannot write .*{re.escape(name)}: .*; free space")
    with file_limit(limit), said:
        write(path)
    assert path.read_text() == "old" and names(tmp_path) == [name]
    tried("Full disk", f"a quota that ends in the middle of a {path.suffix[1:]} file", 1,
          "one sentence that names the file; the file before is whole")  # fmt: skip


def test_a_folder_that_cannot_be_made_is_named_with_its_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CsegError, match=r"cannot write .*file/a\.csv: .*; free space or choose"):
        write_text(tmp_path / "file" / "a.csv", "text")
