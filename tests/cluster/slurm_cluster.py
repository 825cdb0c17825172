"""A Slurm cluster of one node, this machine, with all that it writes in one folder; for root, on Debian and its kin."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")

CONFIG = """
ClusterName=bnlab-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
ReturnToService=2
KillWait=5
OverTimeLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16384 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=cpu Nodes=ALL MaxTime=INFINITE State=UP
"""
"""cred_expire is also how long a job waits that was put into the queue again: 120 s by default, 5 at least.
bf_interval is how long it then waits until it is seen there: 30 s by default."""

READY_WITHIN_S = 30.0


def what_is_missing() -> str | None:
    """Return why there can be no such cluster here; None: there can."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    missing = [name for name in COMMANDS if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return f"Slurm's daemons start jobs as root only, and this is {getpass.getuser()}"
    return None


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Run a cluster; yield the environment variables by which its commands find it.

    Args:
        folder: Of its own, which every user may enter.
    """
    processes: list[subprocess.Popen[bytes]] = []
    variables = {"SLURM_CONF": str(folder / "slurm.conf")}
    try:
        processes.append(_start_munge(folder))
        (folder / "slurm.conf").write_text(
            CONFIG.format(folder=folder, host=socket.gethostname().partition(".")[0], ports=_free_ports(2))
        )
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        environment = {**os.environ, **variables}
        for daemon in ("slurmctld", "slurmd"):
            with (folder / f"{daemon}.out").open("wb") as out:
                command = [_find(daemon), "-D"]
                processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
        _wait_until_idle(folder, environment)
        yield variables
    finally:
        if len(processes) > 1:
            subprocess.run(["scancel", "--state=PENDING"], env={**os.environ, **variables}, check=False)
            subprocess.run(["scancel", "--state=RUNNING"], env={**os.environ, **variables}, check=False)
            time.sleep(1)
        for process in reversed(processes):
            _stop(process)


def _start_munge(folder: Path) -> "subprocess.Popen[bytes]":
    own = folder / "munge"
    own.mkdir(mode=0o755)
    key = own / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for path in (own, key):
        shutil.chown(path, "munge", "munge")
    places = [f"--{name}-file={own}/{name}" for name in ("key", "log", "pid", "seed")]
    command = [_find("munged"), "--foreground", *places, f"--socket={own}/socket", "--num-threads=2"]
    with (folder / "munged.out").open("wb") as out:
        process = subprocess.Popen(command, user="munge", group="munge", extra_groups=[], stdout=out, stderr=out)
    deadline = time.monotonic() + READY_WITHIN_S
    while not (own / "socket").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def _wait_until_idle(folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    state = ""
    while time.monotonic() < deadline:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True, check=False
        )
        state = done.stdout.strip() or done.stderr.strip()
        if set(state.split()) == {"idle"}:  # in each of the partitions
            return
        time.sleep(0.2)
    logs = "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"the cluster is not ready after {READY_WITHIN_S:.0f} s: {state}\n{logs}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _find(daemon: str) -> str:
    found = shutil.which(daemon, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    assert found is not None
    return found
