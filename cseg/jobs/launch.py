"""Run a stage on free GPUs: a process for each, on a node or several, by torch's launcher.

On several nodes the job runs its own adapter script again, once on each of them by `srun`; the
launchers of the nodes find each other by torch's rendezvous, at the address that the job hands on.
"""

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import nullcontext

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cseg.compute.leases import leased
from cseg.compute.processes import main_not_imported_again
from cseg.compute.ranks import group
from cseg.errors import ConfigError, TrainingError
from cseg.jobs.adapter import stage

RENDEZVOUS = "CSEG_RENDEZVOUS"  # environment: host:port/id, in the copies of the script


def launch(
    log: str, run: Callable[[], None], *, processes: int = 1, nodes: int = 1, jobs_per_gpu: int = 1
) -> None:
    """Call `run()`, in one process or in several that share its batches.

    On a machine with GPUs each process has one, which other jobs leave alone meanwhile; the call
    waits until enough are free (`cseg.compute.leases`).

    `processes` counts those of all nodes together; with 0 or 1 the stage runs in this process, and
    only stages that know of ranks (pretrain, finetune, evaluate) take several. A Slurm job divides
    them equally among its `nodes`, at least 1. `jobs_per_gpu` jobs may share a GPU; 0 computes on
    the CPU. Messages of the further processes go to `log`.

    Raises:
        ConfigError: the nodes do not divide the processes, there is no srun, or too few GPUs.
        TrainingError: one of several processes failed; its own sentence is in the log.
        SystemExit: after a signal, which every process has answered.
    """
    if processes > nodes and processes % nodes:
        raise ConfigError(
            f"resource gpu is {processes} and nodes is {nodes}; choose a gpu that nodes divides"
        )
    if nodes > 1 and RENDEZVOUS not in os.environ:
        _on_every_node(nodes, log)
        return
    each = max(1, processes // nodes)
    with leased(each, jobs_per_gpu) if jobs_per_gpu else nullcontext():
        if nodes <= 1 and processes <= 1:
            run()
        else:
            _in_processes(log, each, nodes, run)


def _in_processes(log: str, each: int, nodes: int, run: Callable[[], None]) -> None:
    """Run a stage in `each` processes here, and as many on every other node."""
    address, _, name = os.environ.get(RENDEZVOUS, f"localhost:0/{uuid.uuid4().hex}").partition("/")
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=each,
        run_id=name,
        rdzv_backend="c10d",
        rdzv_endpoint=address,
        max_restarts=0,  # Snakemake's retries begin a job again, from its saved state
        signals_to_handle="SIGTERM,SIGINT,SIGUSR1",
    )
    try:
        with main_not_imported_again():
            elastic_launch(config, _rank)(log, run)
    except SignalException as error:
        raise SystemExit(f"stopped by signal {error.sigval}; state saved") from error
    except ChildFailedError as error:
        raise TrainingError(
            f"one of {each * nodes} processes failed; its own message is above and in {log}"
        ) from error


def _on_every_node(nodes: int, log: str) -> None:
    """Run this script again on each node of the job, and hand on the signals that come."""
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    meeting = {RENDEZVOUS: f"{socket.gethostname()}:{port}/{uuid.uuid4().hex}"}
    # The step that this runs in has one node, and tells so to what it starts; the job has more.
    inherited = {name: value for name, value in os.environ.items() if name[:6] != "SLURM_"}
    job = os.environ.get("SLURM_JOB_ID", "")
    command = ["srun", f"--jobid={job}", f"--nodes={nodes}", f"--ntasks={nodes}",
               "--ntasks-per-node=1", "--overlap", sys.executable, sys.argv[0]]  # fmt: skip
    try:
        step = subprocess.Popen(command, env=inherited | meeting)
    except FileNotFoundError as error:
        raise ConfigError(
            f"resource nodes is {nodes} but srun is not found; run as a Slurm job or set it to 1"
        ) from error
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    old = [signal.signal(number, lambda n, _: step.send_signal(n)) for number in numbers]
    try:
        code = step.wait()
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)
    if code:
        raise TrainingError(
            f"a process on one of {nodes} nodes failed; its own message is in {log}"
        )


def _rank(log: str, run: Callable[[], None]) -> None:
    with stage(log), group():
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        print(f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} on {node}", flush=True)
        run()
