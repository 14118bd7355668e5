"""Boards in network namespaces: each with an address and a real sshd of its own, and a controller that reaches them.

Receives a folder; hands on :class:`Network`. The machine's own network is not touched: the controller is in a namespace
too, so nothing outside has an address or a route of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.devices.jetson.deploy.board import CLIENT, CONFIG, SEPARATION, SSHD, make_key


def missing() -> str:
    """Why there are none here; empty where there are."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "no ip here: apt-get install iproute2"
    name = f"es{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "this root may not make network namespaces"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Neighbour:
    """A board in a namespace."""

    def __init__(self, folder: Path, name: str, address: str, python: str) -> None:
        self.name, self.address, self.folder, self.root = name, address, folder, folder / "device"
        self.python = folder / "bin/python3"
        for one in ("bin", "home"):
            (folder / one).mkdir(parents=True)
        self.python.write_text(f'#!/bin/sh\nexec {python} "$@"\n')
        self.python.chmod(0o755)
        make_key(folder / "host")
        config = CONFIG.format(folder=folder, port=22).replace("127.0.0.1", address)
        (folder / "sshd_config").write_text(f"{config}LogLevel VERBOSE\n")
        self.log = folder / "sshd.log"

    @property
    def contacts(self) -> int:
        """How often somebody connected."""
        return self.log.read_text().count("Connection from ")

    @property
    def current(self) -> Path:
        return self.root / "current"

    def serve(self, namespace: str, on_exit: ExitStack) -> None:
        command = ["ip", "netns", "exec", namespace, str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with self.log.open("wb") as log:
            sshd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        on_exit.callback(sshd.wait)
        on_exit.callback(sshd.terminate)
        ends = time.monotonic() + 20
        while "Server listening" not in self.log.read_text():
            assert sshd.poll() is None, self.log.read_text()
            assert time.monotonic() < ends, self.log.read_text()
            time.sleep(0.02)


class Network:
    """A context manager. ``boards`` in the order of the inventory."""

    def __init__(self, folder: Path, names: list[str], python: str) -> None:
        self.folder, self._name = folder, f"es{os.getpid()}"
        public = make_key(folder / "user")
        self.boards = [
            Neighbour(folder / name, name, f"10.77.{n}.2", python) for n, name in enumerate(names)
        ]  # fmt: skip
        for board in self.boards:
            (board.folder / "authorized").write_text(public)
        known = [f"{board.address} {(board.folder / 'host.pub').read_text()}" for board in self.boards]
        (folder / "known").write_text("".join(known))
        (folder / "ssh_config").write_text(CLIENT.format(folder=folder))

    def inventory(self, variables: dict[str, Any], **more: dict[str, Any]) -> Path:
        """``more`` are variables of single boards."""
        hosts = {
            board.name: {"ansible_host": board.address, "deploy_root": str(board.root),
                         "deploy_board_python": str(board.python), **more.get(board.name, {})}
            for board in self.boards
        }  # fmt: skip
        common = {"ansible_user": "root", "ansible_ssh_common_args": f"-F {self.folder}/ssh_config", **variables}
        path = self.folder / "boards.json"
        path.write_text(json.dumps({"all": {"hosts": hosts, "vars": common}}))
        return path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """On the controller."""
        return subprocess.run(["ip", "netns", "exec", f"{self._name}c", *command], capture_output=True, text=True,
                              timeout=300, check=False)  # fmt: skip

    def __enter__(self) -> Network:
        SEPARATION.mkdir(mode=0o755, exist_ok=True)
        with ExitStack() as on_exit:
            controller = f"{self._name}c"
            for name in (controller, *(f"{self._name}b{n}" for n in range(len(self.boards)))):
                ip("netns", "add", name)
                on_exit.callback(ip, "netns", "delete", name)
            for n, board in enumerate(self.boards):
                inside = f"{self._name}b{n}"
                ip(
                    "-n",
                    controller,
                    "link",
                    "add",
                    f"board{n}",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "eth0",
                    "netns",
                    inside,
                )
                for namespace, device, address in ((controller, f"board{n}", f"10.77.{n}.1"),
                                                   (inside, "eth0", board.address)):  # fmt: skip
                    ip("-n", namespace, "address", "add", f"{address}/30", "dev", device)
                    ip("-n", namespace, "link", "set", device, "up")
                board.serve(inside, on_exit)
            self._on_exit = on_exit.pop_all()
        return self

    def __exit__(self, *unused: object) -> None:
        self._on_exit.close()
