"""Driving the load generator, and looking at processes from outside: /proc."""

import json
import os
import re
import subprocess
from pathlib import Path

from peers.servers import LOAD, Running

GENERATOR = LOAD / "geodns-load"


def load(running: Running, workload: str, seconds: float, core: int | None, *more: str) -> dict:
    """What the generator says of a load; "tcp" is the static one over TCP."""
    job = running.job
    command = [
        str(GENERATOR),
        "--target",
        f"127.0.0.1:{job.port}",
        "--workload",
        "static" if workload == "tcp" else workload,
        "--questions",
        str(job.data),
    ]
    command += ["--pid", str(running.process.pid), "--seconds", str(seconds), "--count", "20000000"]
    if workload == "tcp":
        command.append("--tcp")
    if core is not None:
        command += ["--core", str(core)]
    command += more
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise RuntimeError(f"{running.server.name}, {workload}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def memory(root: int, file: str, key: str) -> float:
    """Megabytes that the field says for a process and all below it."""
    kilobytes = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/{file}").read_text()
        except OSError:
            continue  # it ended
        found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
        kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024


def cpu_seconds(root: int) -> float:
    """User and system time of a process, its threads, what is below it and what was: proc_pid_stat(5)."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            found += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:
            continue
    return found
