"""The frame of a stage: a failure is one sentence, in the log and on the terminal."""

import pytest

from cseg.adapter import stage
from cseg.errors import DataError

FULL = "/dev/full"  # every write to it fails as on a full disk


def test_a_failure_the_user_can_mend_is_one_sentence_in_both_places(tmp_path, capsys):
    log = tmp_path / "logs" / "a.log"
    with pytest.raises(SystemExit) as ended, stage(str(log)):
        print("begins")
        raise DataError("no image; add one")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: no image; add one\n"
    assert log.read_text() == "begins\nerror: no image; add one\n"


def test_any_other_failure_leaves_its_traceback_in_the_log(tmp_path, capsys):
    log = tmp_path / "a.log"
    with pytest.raises(SystemExit), stage(str(log)):
        raise ZeroDivisionError("by nought")
    said = capsys.readouterr().err
    assert said == f"error: ZeroDivisionError: by nought; the traceback is in {log}\n"
    assert "Traceback" in log.read_text()


def test_a_log_on_a_full_disk_hides_no_sentence(capsys):
    with pytest.raises(SystemExit) as ended, stage(FULL):
        print("long" * 9999)
        raise DataError("no image; add one")
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: no image; add one\nwarning: /dev/full is incomplete: No space left on device\n"
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
