"""The frame of every job: where words go, what a failure says, and the dates of files."""

import gc
import os
import re
import signal
import time

import pytest
from small_runs import ROOT

from cseg.errors import DataError
from cseg.jobs.adapter import stage

FULL = "/dev/full"  # every write to it fails as on a full disk


def test_what_a_stage_says_goes_to_its_log(tmp_path, capsys):
    with stage(str(tmp_path / "logs" / "a.log")):
        print("said")
    assert (tmp_path / "logs" / "a.log").read_text() == "said\n"
    assert capsys.readouterr() == ("", "")


def test_a_failure_the_user_can_mend_is_one_sentence_in_both_places(tmp_path, capsys):
    log = tmp_path / "logs" / "a.log"
    with pytest.raises(SystemExit) as ended, stage(str(log)):
        print("begins")
        raise DataError("list a.txt is empty; restore it")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: list a.txt is empty; restore it\n"
    assert log.read_text() == "begins\nerror: list a.txt is empty; restore it\n"


def test_any_other_failure_leaves_its_traceback_in_the_log(tmp_path, capsys):
    log = tmp_path / "a.log"
    with pytest.raises(SystemExit), stage(str(log)):
        raise ValueError("Two things.\nWent wrong.")
    said = capsys.readouterr().err
    assert said == f"error: ValueError: Two things, Went wrong; the traceback is in {log}\n"
    assert "Traceback" in log.read_text()


def test_a_process_that_dies_while_a_failure_is_told_does_not_hide_it(tmp_path, capsys):
    """torch raises from the signal of a loader's process, wherever Python is then."""

    class Told(ValueError):
        def __str__(self):
            os.kill(os.getpid(), signal.SIGCHLD)
            return "nonsense"

    def dead(*_):
        raise RuntimeError("DataLoader worker is killed")

    before = signal.signal(signal.SIGCHLD, dead)
    try:
        with pytest.raises(SystemExit), stage(str(tmp_path / "log")):
            raise Told
        assert signal.getsignal(signal.SIGCHLD) is dead
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert capsys.readouterr().err.startswith("error: Told: nonsense; the traceback is in")


def test_garbage_is_looked_for_seldom_in_a_stage_and_as_before_after_it(tmp_path):
    def searches(objects):
        before = gc.get_stats()[0]["collections"]
        held = [[] for _ in range(objects)]
        return gc.get_stats()[0]["collections"] - before, held

    usual = gc.get_threshold()
    with stage(str(tmp_path / "a.log")):
        assert searches(40_000)[0] <= 1
    assert gc.get_threshold() == usual and searches(40_000)[0] > 5


def test_ctrl_c_is_a_sentence_in_both_places_and_the_usual_exit_code(tmp_path, capsys):
    log = tmp_path / "a.log"
    with pytest.raises(SystemExit) as ended, stage(str(log)):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert ended.value.code == 130 and said == "error: stopped by Ctrl-C; run again to go on\n"
    assert log.read_text() == said


def test_a_file_that_cannot_be_used_is_named_without_a_traceback(tmp_path, capsys):
    log = tmp_path / "a.log"
    with pytest.raises(SystemExit), stage(str(log)):
        (tmp_path / "absent").read_text()
    said = capsys.readouterr().err
    assert f"cannot use {tmp_path}/absent: No such file or directory; " in said
    assert "Traceback" not in log.read_text()


def test_a_log_on_a_full_disk_hides_no_sentence(capsys):
    with pytest.raises(SystemExit) as ended, stage(FULL):
        print("long" * 9999)
        raise DataError("list a.txt is empty; restore it")
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: list a.txt is empty; restore it\n"
        "warning: /dev/full is incomplete: No space left on device\n"
    )


def test_a_log_on_a_full_disk_does_not_stop_a_stage(capsys):
    with stage(FULL):
        print("long" * 9999, flush=True)
    assert "warning: /dev/full is incomplete" in capsys.readouterr().err


def test_a_full_disk_is_the_users_to_mend_wherever_it_shows(tmp_path, capsys):
    with pytest.raises(SystemExit), stage(str(tmp_path / "a.log")), open(FULL, "w") as stream:  # noqa: PTH123
        stream.write("text")
        stream.flush()
    said = capsys.readouterr().err
    assert said.startswith("error: cannot write") and "free space, then run again" in said
    assert "Traceback" not in (tmp_path / "a.log").read_text()


def test_a_log_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SystemExit, match=r"error: cannot write .*file/a\.log: .*run again"),
        stage(str(tmp_path / "file" / "a.log")),
    ):
        pass


@pytest.mark.parametrize("ahead", [True, False])
def test_results_dated_later_than_now_are_dated_now_where_an_input_is(tmp_path, ahead):
    old, used, other = (tmp_path / "results" / name for name in ("old", "used", "deep/other"))
    for path, date in ((old, -3600), (used, 3600 if ahead else -60), (other, 7200)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() + date,) * 2)
    before = old.stat().st_mtime
    with stage(str(tmp_path / "a.log"), [str(old), str(used)], str(tmp_path / "results")):
        pass
    assert old.stat().st_mtime == before
    assert used.stat().st_mtime <= time.time()
    assert (other.stat().st_mtime <= time.time()) == ahead


def test_durations_are_measured_by_a_clock_that_nobody_sets():
    """`time.time` may jump; only the dates of files are compared with it, in nanoseconds."""
    sources = {path.name: path.read_text() for path in (ROOT / "cseg").rglob("*.py")}
    asked = {name for name, text in sources.items() if re.search(r"time\.time\b|datetime", text)}
    assert not asked
    assert {name for name, text in sources.items() if "time_ns" in text} == {
        "adapter.py",
        "status.py",
    }
