"""A real Slurm on this machine: munged, slurmctld and a slurmd per node, with a state of its own.

Debian's packages slurm-wlm and munge give the programs. Slurm's commands read
/etc/slurm/slurm.conf and nothing else once a job clears its environment, so the file is put there
while the cluster lives; a file somebody else put there is never touched.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONF = Path("/etc/slurm/slurm.conf")
OURS = "# Written by cseg's tests; they remove it at their end.\n"
PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol"]


def missing() -> str | None:
    """Why a cluster cannot be started here; None where it can."""
    if os.geteuid() != 0:
        return "needs root to start Slurm's daemons"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"needs Slurm and munge, {', '.join(absent)} not found: see .ci/run"
    if CONF.exists() and not CONF.read_text().startswith(OURS):
        return f"{CONF} belongs to another Slurm"
    return None


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 600) -> None:
    """Wait until `ready` says so; TimeoutError names `what`."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.1)


class SlurmCluster:
    """The daemons; each can be killed and started again while jobs run."""

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen] = {}
        controller, *ports = _free_ports(1 + nodes)
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o600)
        CONF.parent.mkdir(exist_ok=True)
        CONF.write_text(OURS + _configuration(folder, controller, ports))
        self.commands = {
            "munged": ["munged", "--foreground", "--force", f"--key-file={folder}/key",
                       f"--socket={folder}/munge", f"--pid-file={folder}/munged.pid",
                       f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"],
            "slurmctld": ["slurmctld", "-D"],
        } | {
            f"slurmd{n}": ["slurmd", "-D", "-N", f"node{n}"] for n in range(1, 1 + nodes)
        }  # fmt: skip

    def start(self) -> None:
        """Start all of them and wait until the nodes are idle."""
        self._start("munged")
        wait_for("munge's socket", (self.folder / "munge").exists)
        for daemon in list(self.commands)[1:]:
            self._start(daemon)
        wait_for("the nodes' start", lambda: _output("sinfo", "-h", "-o", "%T").strip() == "idle")

    def restart(self, daemon: str) -> None:
        """End one daemon as `systemctl restart` does, and start it again.

        A controller that is killed (SIGKILL) forgets its last seconds, and may then start a job
        twice and drain the node: a weakness of Slurm, which only its administrator can mend.
        """
        self.daemons[daemon].terminate()
        self.daemons[daemon].wait(30)
        self._start(daemon)
        wait_for("the node's return", lambda: "UP" in _output("scontrol", "ping"))
        wait_for(
            "the node's return",
            lambda: _output("sinfo", "-h", "-o", "%T").strip() in ("idle", "mixed", "allocated"),
        )

    def stop(self) -> None:
        """End every job and daemon and take the configuration away."""
        if "slurmctld" in self.daemons:
            subprocess.run(["scancel", "--user", "root"], capture_output=True)
            with suppress(TimeoutError):
                wait_for("the jobs' end", lambda: not _output("squeue", "-h"))
        for daemon in self.daemons.values():
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        CONF.unlink(missing_ok=True)

    def jobs(self) -> list[dict[str, str]]:
        """Every job the controller remembers, with the folder it was submitted from."""
        keys = {"id": "%i", "state": "%T", "comment": "%k", "gres": "%b", "name": "%j",
                "cpus": "%C", "memory": "%m", "limit": "%l", "folder": "%Z"}  # fmt: skip
        lines = _output("squeue", "-h", "--states=all", "-o", "|".join(keys.values())).splitlines()
        return [dict(zip(keys, line.split("|"), strict=True)) for line in lines]

    def _start(self, daemon: str) -> None:
        log = (self.folder / f"{daemon}.out").open("a")
        self.daemons[daemon] = subprocess.Popen(
            self.commands[daemon], stdout=log, stderr=log, start_new_session=True
        )


@contextmanager
def cluster(folder: Path, nodes: int = 1) -> Iterator[SlurmCluster]:
    """A running cluster with its state in `folder`; one at a time on a machine."""
    CONF.parent.mkdir(exist_ok=True)
    with (CONF.parent / ".cseg-tests").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        here = SlurmCluster(folder, nodes)
        try:
            here.start()
            yield here
        finally:
            here.stop()
            Path(lock.name).unlink()


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports


def _configuration(folder: Path, controller: int, ports: list[int]) -> str:
    nodes = "".join(
        f"NodeName=node{n} NodeHostname=localhost Port={port} CPUs=2 RealMemory=64000 "
        "State=UNKNOWN\n"
        for n, port in enumerate(ports, 1)
    )
    return f"""\
ClusterName=cseg
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
CredType=cred/munge
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
# Memory is watched by polling, which needs no cgroups: a job above its mem_mb is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
KillWait=20
MinJobAge=600
MailProg=/bin/true
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
