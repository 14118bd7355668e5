"""A roll-out to the boards of an inventory: Ansible is run, and what it told of each board is read.

Receives an inventory and the role's variables; hands on a :class:`Rollout`. Batches, order and stopping are Ansible's;
the collection that it plays lies beside this file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edge_streamer.runtime.errors import InputError

PROGRAM = "ansible-playbook"
PLAY = Path(__file__).with_name("deploy.yml")
STOP_SECONDS = 15.0
NOT_REACHED = "not reached"
PLAY_BROKE = "failed"
Reply = dict[str, Any]


@dataclass
class Rollout:
    """What became of it, as JSON has it."""

    batches: list[list[str]] = field(default_factory=list)
    """Names of boards, of those batches that were begun."""
    hosts: dict[str, Reply] = field(default_factory=dict)
    """Of every board that was meant, how it stands; ``failed`` is a boolean."""

    @property
    def failed(self) -> list[str]:
        return [name for name, told in self.hosts.items() if told["failed"]]

    @property
    def left(self) -> list[str]:
        """Boards that were not connected to."""
        return [name for name, told in self.hosts.items() if told["state"] == NOT_REACHED]


def program() -> str:
    """ansible-playbook: of this environment, or of PATH. InputError where there is none."""
    beside = Path(sys.executable).with_name(PROGRAM)
    found = str(beside) if beside.exists() else shutil.which(PROGRAM)
    if found is None:
        raise InputError(f"there is no {PROGRAM} here, which deploys to many boards; install it: pip install "
                         "'edge-streamer[fleet]'")  # fmt: skip
    return found


def roll_out(
    inventory: str, variables: Mapping[str, Any], words: Sequence[str], out: IO[str] | None = None
) -> Rollout:  # fmt: skip
    """Play the collection's playbook. ``words`` are more of Ansible's own, ``out`` is where it writes. InputError where
    it does not start or says of no board what became of it."""
    if "," not in inventory and not Path(inventory).exists():
        raise InputError(f"there is no inventory {inventory}; wanted a file that lists the boards, as Ansible has it "
                         "(docs/fleet.md)")  # fmt: skip
    if Path(inventory).is_file():
        try:
            empty = not Path(inventory).read_bytes().strip()
        except OSError as error:
            raise InputError(f"the inventory {inventory} cannot be read: {error.strerror}") from None
        if empty:
            raise InputError(f"the inventory {inventory} is empty; wanted a file that lists the boards, as Ansible has "
                             "it (docs/fleet.md)")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="edge-streamer-") as folder:  # mode 700
        results, said = Path(folder, "results"), Path(folder, "variables.json")
        said.write_text(json.dumps(dict(variables)))
        results.touch()
        command = [program(), "--inventory", inventory, "--extra-vars", f"@{said}", *words, str(PLAY)]
        env = {**os.environ, "EDGE_STREAMER_RESULTS": str(results), "LC_ALL": "C.UTF-8"}
        status = _run(command, env, out)
        found = read(results.read_text().splitlines())
    if not found.hosts and status == 0:
        raise InputError(f"no board of {inventory} is meant; wanted one at least: look at the file, and at --limit")
    if status and not found.failed:
        raise InputError(f"{PROGRAM} ended with status {status}; what it said stands above")
    return found


def _run(command: Sequence[str], env: Mapping[str, str], out: IO[str] | None) -> int:
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, start_new_session=True)
    try:
        return process.wait()
    finally:  # in a session of its own: Ctrl-C is for us to hand on
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            process.wait()


def read(lines: Sequence[str]) -> Rollout:
    """What the callback wrote."""
    found = Rollout()
    for told in map(json.loads, lines):
        if "hosts" in told:
            found.batches.append(told["batch"])
            for name in told["hosts"]:
                found.hosts.setdefault(name, {"state": NOT_REACHED, "failed": False, "changed": False})
            continue
        host = found.hosts[told.pop("host")]
        changed = host["changed"] or told.get("changed", False)
        if told["failed"] and "state" not in told:
            told = {**told, "state": PLAY_BROKE, "reason": told.get("msg", "")}
        told.pop("msg", None)
        host.update(told, changed=changed)
    return found
