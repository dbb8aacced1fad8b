"""The page of what was broken on purpose: rows of tests run again replace, others stay."""

from reliability import Trial, merged, read, write
from reliability import test_name as named

OLD = [
    Trial("Kills", "SIGKILL of a", 3, "goes on", "nothing", "test_a.py::test_a", "1111111"),
    Trial("Disks", "full", 1, "a sentence", "nothing", "test_b.py::test_b", "1111111"),
]


def test_a_test_run_again_replaces_its_rows_and_one_that_failed_has_none():
    again = [Trial("Kills", "SIGKILL of a", n, "goes on", "nothing", "test_a.py::test_a", "2222222")
             for n in (4, 5)]  # fmt: skip
    kept = merged(OLD, again, {"test_a.py::test_a"})
    assert [(t.section, t.times, t.revision) for t in kept] == [
        ("Disks", 1, "1111111"), ("Kills", 9, "2222222")
    ]  # fmt: skip
    assert [t.section for t in merged(OLD, [], {"test_a.py::test_a"})] == ["Disks"]


def test_a_parameter_with_a_slash_does_not_cut_the_name():
    node = "tests/test_archives.py::test_names_that_lead_outside_are_refused_whole[../out]"
    assert named(node) == "test_archives.py::test_names_that_lead_outside_are_refused_whole"
    assert named("tests/test_a.py::test_a") == "test_a.py::test_a"


def test_what_is_written_is_read_and_shown(tmp_path):
    path = tmp_path / "reliability.csv"
    assert read(path) == []
    write(OLD, path)
    assert read(path) == OLD
    page = path.with_suffix(".md").read_text()
    assert "4 faults of 2 kinds; rows in which something was lost: 0." in page
    assert "| SIGKILL of a | 3 | goes on | nothing | `test_a.py::test_a` | 1111111 |" in page
    assert page.index("## Kills") < page.index("## Disks")  # in the order given
