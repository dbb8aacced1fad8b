import fcntl
import hashlib
import time

import numpy as np
import pytest
from unruly_server import serving

from cseg.datasets.download import download, home_for
from cseg.errors import DataError

CONTENT = np.random.default_rng(0).bytes(1_000_000)


def get(server, path, **options):
    download(server.url, path, **({"sha256": server.sha256, "pause": 0.001} | options))


def test_a_file_arrives_whole_in_a_new_folder(tmp_path):
    with serving(CONTENT) as server:
        get(server, tmp_path / "new folder" / "é.bin", md5=hashlib.md5(CONTENT).hexdigest())
    assert (tmp_path / "new folder" / "é.bin").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == ["é.bin"]


def test_a_present_and_verified_file_is_not_fetched_again(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        get(server, tmp_path / "f")
        assert server.requests == []


def test_a_present_file_with_another_checksum_is_not_used_and_not_touched(tmp_path):
    (tmp_path / "f").write_bytes(b"mine")
    with (
        serving(CONTENT) as server,
        pytest.raises(DataError, match=r"sha256 .* instead of .*delete"),
    ):
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"mine"


@pytest.mark.fault
@pytest.mark.parametrize("first", [("cut", 400_000), ("cut", 0), ("busy", 0), ("status", 500)])
def test_what_has_arrived_is_kept_over_cuts_and_failing_servers(tmp_path, first, tried):
    with serving(CONTENT, first, ("cut", 300_000)) as server:
        get(server, tmp_path / "f")
        expected = [first[1] if first[0] == "cut" else 0]
        expected.append(expected[0] + 300_000)
        assert server.requests == [None, *(f"bytes={n}-" if n else None for n in expected)]
    assert (tmp_path / "f").read_bytes() == CONTENT
    tried(
        "Network",
        "connection cut, or server busy or failing, then cut again",
        2,
        "went on from what had arrived",
    )


@pytest.mark.fault
def test_a_server_that_falls_silent_is_left_and_asked_again(tmp_path, tried):
    # silent twice: a machine that stumbles may take the first answer for silence, too
    with serving(CONTENT, *[("stall", 400_000)] * 2) as server:
        get(server, tmp_path / "f", timeout=0.4)
        asked = list(dict.fromkeys(server.requests))
    assert asked[:2] == [None, "bytes=400000-"]
    assert (tmp_path / "f").read_bytes() == CONTENT
    tried("Network", "server falls silent", 1, "went on from what had arrived")


@pytest.mark.fault
def test_attempts_count_only_while_nothing_arrives(tmp_path, tried):
    cuts = [("cut", 90_000)] * 10
    with serving(CONTENT, *cuts) as server:
        get(server, tmp_path / "f", attempts=2)
    assert (tmp_path / "f").read_bytes() == CONTENT
    tried("Network", "connection cut over and over", 10, "went on from what had arrived")


@pytest.mark.fault
def test_an_interrupted_download_goes_on_in_the_next_run(tmp_path, tried):
    with serving(CONTENT, ("cut", 600_000), *[("status", 503)] * 3) as server:
        with pytest.raises(DataError, match=r"503 .*run again to go on from 600000 bytes"):
            get(server, tmp_path / "f", attempts=3)
        assert not (tmp_path / "f").exists()
        get(server, tmp_path / "f")
        assert server.requests[-1] == "bytes=600000-"
    assert (tmp_path / "f").read_bytes() == CONTENT
    tried(
        "Network",
        "cut, then server down until the next run",
        1,
        "the next run went on from what had arrived",
    )


def test_a_server_that_knows_no_ranges_is_read_from_the_start(tmp_path):
    with serving(CONTENT, ("cut", 600_000), "whole") as server:
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_complete_part_is_taken_as_it_is(tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.fault
@pytest.mark.parametrize("length", [10, 1_000_000, 1_000_001])
def test_a_part_of_another_version_is_replaced_not_used(tmp_path, length, tried):
    (tmp_path / "f.part").write_bytes(b"x" * length)
    with serving(CONTENT) as server:
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    tried("Network", "a partial file of another version is there", 1, "replaced, not used")


@pytest.mark.parametrize("script", [["chunked"], [("chunked_cut", 500_000), "chunked"]])
def test_a_file_of_unknown_length(tmp_path, script):
    with serving(CONTENT, *script) as server:
        get(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_length_is_an_error_even_without_a_checksum(tmp_path):
    with serving(CONTENT, *["long"] * 3) as server:
        server.script[1:] = [("status", 503)] * 2
        with pytest.raises(DataError, match=r"ended after 1000000 of 1000001 bytes|503"):
            get(server, tmp_path / "f", sha256=None, attempts=2)
    assert not (tmp_path / "f").exists()


@pytest.mark.fault
def test_a_wrong_checksum_leaves_nothing_behind(tmp_path, tried):
    with serving(CONTENT) as server, pytest.raises(DataError, match=r"f\.part.*has sha256 .* inst"):
        get(server, tmp_path / "f", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
    tried("Network", "the file has another checksum", 1, "refused by name, nothing left behind")


@pytest.mark.fault
def test_a_dead_link_is_reported_at_once_with_the_way_out(tmp_path, tried):
    with serving(CONTENT, ("status", 404)) as server:
        with pytest.raises(DataError, match=r"answers 404 .*put it at .*f$"):
            get(server, tmp_path / "f")
        assert len(server.requests) == 1
    tried("Network", "dead link", 1, "reported at once, with the remedy")


@pytest.mark.fault
def test_nobody_listens(tmp_path, tried):
    with serving(CONTENT) as server:
        pass
    with pytest.raises(DataError, match=r"could not be downloaded \(.*refused.*2 attempts"):
        get(server, tmp_path / "f", attempts=2)
    tried("Network", "nobody listens", 1, "reported after two attempts")


def test_retry_after_is_waited_for(tmp_path):
    with serving(CONTENT, ("busy", 1)) as server:
        start = time.monotonic()
        get(server, tmp_path / "f")
    assert time.monotonic() - start >= 1


@pytest.mark.fault
def test_two_processes_do_not_write_the_same_file(tmp_path, tried):
    with (tmp_path / "f.part").open("ab") as other, serving(CONTENT) as server:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process is downloading"):
            get(server, tmp_path / "f")
    tried("Network", "two processes download one file", 1, "the second is refused")


def test_addresses_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no http or https address"):
        download("file:///etc/hostname", tmp_path / "f")


def test_progress_lines_where_there_is_no_terminal(tmp_path, capfd):
    with serving(CONTENT) as server:
        get(server, tmp_path / "photos.tar")
    assert "photos.tar: 0 of 0 MiB" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_gives_way_to_the_work_folder(tmp_path):
    assert home_for(tmp_path, tmp_path / "work") == tmp_path
    assert home_for(tmp_path / "absent", tmp_path / "work") == tmp_path / "work"
    (tmp_path / "a file").write_text("")
    with serving(CONTENT) as server, pytest.raises(DataError, match=r"cannot write"):
        get(server, tmp_path / "a file" / "f")
