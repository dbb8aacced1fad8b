"""Leases of GPUs, on made-up ones: nvidia-smi is a script, the locks and processes are real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_gpus import card, instance
from small_runs import ROOT

from cseg.compute.leases import leased, visible_gpus
from cseg.errors import ConfigError

TWO = [card(0), card(1)]
DIVIDED = [card(0), instance(0, "aa"), instance(1, "ab"), card(1)]
JOB = """
import json, os, sys, time
from pathlib import Path
from cseg.compute.leases import leased
folder, count, jobs_per_gpu, seconds = Path(sys.argv[1]), *map(float, sys.argv[2:])
with leased(int(count), int(jobs_per_gpu), folder / "locks") as names:
    start = time.monotonic()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(names)
    print("has", flush=True)
    time.sleep(seconds)
    end = time.monotonic()
print(json.dumps({"names": names, "start": start, "end": end}))
"""


def job(folder: Path, count: int = 1, jobs_per_gpu: int = 1, seconds: float = 0.3):
    command = [sys.executable, "-c", JOB, str(folder), str(count), str(jobs_per_gpu), str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def ended(jobs) -> list[dict]:
    said = [process.communicate(timeout=600)[0] for process in jobs]
    assert not any(process.returncode for process in jobs)
    return [json.loads(text.splitlines()[-1]) for text in said]


def most_at_once(spans: list[tuple[float, float]]) -> int:
    """How many of the spans overlap at most."""
    return max(sum(a <= start < b for a, b in spans) for start, _ in spans)


@pytest.mark.parametrize(
    ("lines", "wanted", "names"),
    [
        (TWO, None, ["GPU-00", "GPU-11"]),
        (TWO, "1", ["GPU-11"]),
        (TWO, "1,0", ["GPU-11", "GPU-00"]),
        (TWO, "GPU-1", ["GPU-11"]),  # the beginning of a UUID will do
        (TWO, "0,5,1", ["GPU-00"]),  # nothing after an entry that names nothing
        (TWO, "0,0", ["GPU-00"]),
        (TWO, "", []),
        (TWO, "-1", []),
        (TWO, "NoDevFiles", []),
        (DIVIDED, None, ["MIG-aa", "MIG-ab", "GPU-11"]),
        (DIVIDED, "MIG-ab", ["MIG-ab"]),
        (DIVIDED, "0", ["MIG-aa"]),  # CUDA sees the first instance of a divided GPU
        ([], None, []),
    ],
)
def test_the_gpus_of_a_process_are_those_that_cuda_sees(gpus, monkeypatch, lines, wanted, names):
    gpus(*lines)
    if wanted is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    assert visible_gpus() == names


def test_jobs_are_never_two_on_one_gpu_and_no_gpu_is_idle_while_jobs_wait(gpus, tmp_path):
    gpus(*TWO)
    done = ended([job(tmp_path) for _ in range(6)])
    spans = {name: [] for name in ("GPU-00", "GPU-11")}
    for one in done:
        (name,) = one["names"]
        spans[name].append((one["start"], one["end"]))
    for own in spans.values():
        assert most_at_once(own) == 1
    # Each of the jobs that had to wait began within some polls of another's end.
    ends = sorted(one["end"] for one in done)
    waits = [
        min(one["start"] - end for end in ends if end <= one["start"])
        for one in done if any(end <= one["start"] for end in ends)
    ]  # fmt: skip
    assert waits and max(waits) < 10


def test_a_job_of_two_gpus_takes_both_and_two_such_jobs_do_not_block_each_other(gpus, tmp_path):
    gpus(*TWO)
    done = ended([job(tmp_path, count=2, seconds=0.1) for _ in range(3)])
    assert [sorted(one["names"]) for one in done] == [["GPU-00", "GPU-11"]] * 3
    assert most_at_once([(one["start"], one["end"]) for one in done]) == 1


def test_small_jobs_share_a_gpu_up_to_the_number_allowed(gpus, tmp_path):
    gpus(card(0))
    done = ended([job(tmp_path, jobs_per_gpu=2, seconds=0.6) for _ in range(4)])
    assert most_at_once([(one["start"], one["end"]) for one in done]) == 2


def test_a_job_that_wants_a_gpu_alone_waits_for_those_that_share_it(gpus, tmp_path):
    gpus(card(0))
    sharing = job(tmp_path, jobs_per_gpu=2, seconds=0.6)
    sharing.stdout.readline()
    done = ended([job(tmp_path, seconds=0.1)])[0]
    assert done["start"] >= ended([sharing])[0]["end"]


def test_sharing_jobs_are_spread_before_they_are_doubled(gpus, tmp_path):
    gpus(*TWO)
    first = job(tmp_path, jobs_per_gpu=2, seconds=2)
    first.stdout.readline()
    second = ended([job(tmp_path, jobs_per_gpu=2, seconds=0)])[0]
    assert [*second["names"], *ended([first])[0]["names"]] == ["GPU-11", "GPU-00"]


@pytest.mark.fault
def test_the_lease_of_a_killed_job_is_free_at_once(gpus, tmp_path, tried):
    gpus(card(0))
    for _ in range(5):
        killed = job(tmp_path, seconds=60)
        assert killed.stdout.readline() == "has\n"
        waiting = job(tmp_path, seconds=0)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        before = time.monotonic()
        ended([waiting])
        assert time.monotonic() - before < 10
    tried("Kills", "SIGKILL of a job that has a GPU", 5, "the next job has it at once")


def test_a_forked_process_does_not_keep_the_lease_of_its_parent(gpus, tmp_path):
    gpus(card(0))
    with leased(1, 1, tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with leased(1, 1, tmp_path) as names:  # would wait for the child
            assert names == ["GPU-00"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_without_a_gpu_nothing_is_taken_and_nothing_is_hidden(gpus, tmp_path):
    gpus()
    with leased(1, 1, tmp_path / "locks") as names:
        assert names == [] and "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not (tmp_path / "locks").exists()


def test_more_gpus_than_there_are_and_joined_instances_are_refused(gpus, tmp_path):
    gpus(*TWO)
    with pytest.raises(ConfigError, match="gpu is 3 but 2 GPUs are visible"), leased(3):
        pass
    gpus(*DIVIDED)
    with pytest.raises(ConfigError, match="MIG instances, which cannot train together"), leased(2):
        pass
