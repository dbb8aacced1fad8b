"""Leases of GPUs, on made-up ones: nvidia-smi is a script, the locks and processes are real."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from made_gpus import card, instance
from small_runs import ROOT

from cseg.compute.leases import leased, visible_gpus
from cseg.errors import ConfigError

TWO = [card(0), card(1)]
DIVIDED = [card(0), instance(0, "aa"), instance(1, "ab"), card(1)]
# Says on a pipe what it takes, after it has it, and what it gives up, before it does.
JOB = """
import os, sys
from pathlib import Path
from cseg.compute.leases import leased
folder, count, jobs_per_gpu, said = Path(sys.argv[1]), *map(int, sys.argv[2:])
with leased(count, jobs_per_gpu, folder / "locks") as names:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(names)
    os.write(said, f"{os.getpid()} takes {','.join(names)}\\n".encode())
    sys.stdin.read()
    os.write(said, f"{os.getpid()} gives {','.join(names)}\\n".encode())
"""


class Jobs:
    """Jobs that hold their GPUs until they are told to end, and the order of what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running, self.holders = folder, {}, {}
        self.said, self.say = os.pipe()
        self.most = 0  # how many have held one GPU at a time

    def begin(self, count: int = 1, jobs_per_gpu: int = 1) -> int:
        arguments = [str(self.folder), str(count), str(jobs_per_gpu), str(self.say)]
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, *arguments], env=os.environ | {"PYTHONPATH": str(ROOT)},
            pass_fds=[self.say], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.running[job.pid] = job
        return job.pid

    def begin_and_wait(self, count: int = 1, jobs_per_gpu: int = 1) -> int:
        """Begin a job that finds no free GPU."""
        job = self.begin(count, jobs_per_gpu)
        assert self.running[job].stderr.readline().startswith("waits for a free GPU of ")
        return job

    def next_taken(self) -> tuple[int, list[str]]:
        """The next job that takes GPUs, and their names."""
        while True:
            assert select.select([self.said], [], [], 600)[0], "nobody takes a GPU"
            line = b""
            while not line.endswith(b"\n"):
                line += os.read(self.said, 1)
            job, what, names = line.decode().split()
            if what == "takes":
                self.holders[int(job)] = names.split(",")
                held = [name for names in self.holders.values() for name in names]
                self.most = max(self.most, *(held.count(name) for name in held))
                return int(job), names.split(",")
            del self.holders[int(job)]

    def end(self, *jobs: int) -> None:
        for job in jobs:
            self.running[job].communicate(timeout=600)
            assert self.running.pop(job).returncode == 0

    def kill(self, job: int) -> None:
        self.running[job].kill()
        self.running.pop(job).communicate()
        self.holders.pop(job, None)


@pytest.fixture
def jobs(tmp_path):
    jobs = Jobs(tmp_path)
    yield jobs
    for job in list(jobs.running):
        jobs.kill(job)
    os.close(jobs.said)
    os.close(jobs.say)


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


def test_jobs_are_never_two_on_one_gpu_and_no_gpu_is_idle_while_jobs_wait(gpus, jobs):
    gpus(*TWO)
    for _ in range(6):
        jobs.begin()
    held = dict(jobs.next_taken() for _ in range(2))
    for _ in range(4):
        assert sorted(name for names in held.values() for name in names) == ["GPU-00", "GPU-11"]
        job = next(iter(held))
        freed = held.pop(job)
        jobs.end(job)
        job, names = jobs.next_taken()
        assert names == freed
        held[job] = names
    jobs.end(*held)
    assert jobs.most == 1


def test_a_job_of_two_gpus_takes_both_and_two_such_jobs_do_not_block_each_other(gpus, jobs):
    gpus(*TWO)
    for _ in range(3):
        jobs.begin(count=2)
    for _ in range(3):
        job, names = jobs.next_taken()
        assert sorted(names) == ["GPU-00", "GPU-11"]
        jobs.end(job)
    assert jobs.most == 1


def test_small_jobs_share_a_gpu_up_to_the_number_allowed(gpus, jobs):
    gpus(card(0))
    held = [jobs.begin(jobs_per_gpu=2) for _ in range(2)]
    assert {jobs.next_taken()[0] for _ in range(2)} == set(held)
    waiting = [jobs.begin_and_wait(jobs_per_gpu=2) for _ in range(2)]
    jobs.end(*held)
    assert {jobs.next_taken()[0] for _ in range(2)} == set(waiting)
    jobs.end(*waiting)
    assert jobs.most == 2


def test_a_job_that_wants_a_gpu_alone_waits_for_those_that_share_it(gpus, jobs):
    gpus(card(0))
    sharing = jobs.begin(jobs_per_gpu=2)
    assert jobs.next_taken() == (sharing, ["GPU-00"])
    alone = jobs.begin_and_wait()
    jobs.end(sharing)
    assert jobs.next_taken() == (alone, ["GPU-00"])
    assert jobs.most == 1


def test_sharing_jobs_are_spread_before_they_are_doubled(gpus, jobs):
    gpus(*TWO)
    taken = []
    for _ in range(2):
        jobs.begin(jobs_per_gpu=2)
        taken += jobs.next_taken()[1]
    assert taken == ["GPU-00", "GPU-11"]


@pytest.mark.fault
def test_the_lease_of_a_killed_job_is_free_at_once(gpus, jobs, tried):
    gpus(card(0))
    job = jobs.begin()
    assert jobs.next_taken() == (job, ["GPU-00"])
    for _ in range(5):
        waiting = jobs.begin_and_wait()
        jobs.kill(job)
        assert jobs.next_taken() == (waiting, ["GPU-00"])
        job = waiting
    tried("Kills", "SIGKILL of a job that has a GPU", 5, "the next job has it at once")


def test_a_forked_process_does_not_keep_the_lease_of_its_parent(gpus, tmp_path):
    gpus(card(0))
    with leased(1, 1, tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
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
