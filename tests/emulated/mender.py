"""Mender's own client with the update module: the test's server deploys, and the client is killed in each state.

Receives an empty folder, in a namespace whose /usr/share, /etc and /var/lib are nobody else's (`.ci/mender`); hands on
lines, the last of them ``all of it held``. Before the module stands a script that notes each state, and kills the
client before or after the one that it is told: the client then goes on as after a power cut.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from edge_streamer.devices.jetson.mender.artifact import Artifact, write, write_payload
from edge_streamer.devices.jetson.mender.installing import MODULES, install
from edge_streamer.devices.jetson.mender.module import CONF
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.keeper import begin, stopped
from edge_streamer.devices.jetson.releases.places import Root, read_state
from edge_streamer.devices.jetson.releases.switching import activate, prove
from tests.devices.jetson.releases.made import plain

CRASHED = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "SEGV"}
MODULE = Path("/usr/share/mender/edge-streamer-module")
SCRIPT = """#!/bin/sh
cut=$(cat {folder}/cut 2>/dev/null)
case $1 in NeedsArtifactReboot|SupportsRollback|ProvidePayloadFileSizes) exec {module} "$@" ;; esac
echo "$1" >>{folder}/states
if [ "$cut" = "$1 before" ]; then rm {folder}/cut; kill -9 $PPID; exit 1; fi
{module} "$@"
status=$?
if [ "$cut" = "$1 after" ]; then rm {folder}/cut; kill -9 $PPID; exit 1; fi
exit $status
"""
GOES_BACK = "ArtifactRollback ArtifactFailure Cleanup"
WHOLE = "Download ArtifactInstall ArtifactCommit Cleanup"
CUTS = {
    "Download before": "Download Cleanup",
    "Download after": "Download Cleanup",
    "ArtifactInstall before": f"Download ArtifactInstall {GOES_BACK}",
    "ArtifactInstall after": f"Download ArtifactInstall {GOES_BACK}",
    "ArtifactCommit before": f"Download ArtifactInstall ArtifactCommit {GOES_BACK}",
    "ArtifactCommit after": f"Download ArtifactInstall ArtifactCommit {GOES_BACK}",
    "Cleanup before": f"{WHOLE} Cleanup",
    "Cleanup after": f"{WHOLE} Cleanup",
}
"""Where it is killed -> the states that the client calls, all in all. Killed in Cleanup, it reports a failure of what
it has committed and lists as installed."""
CUTS_OF_A_BAD_ONE = {
    f"{state} {when}": f"Download ArtifactInstall ArtifactCommit {GOES_BACK}".replace(state, f"{state} {state}")
    for state in GOES_BACK.split()
    for when in ("before", "after")
}


class Server:
    """Mender's server, as far as one device asks it."""

    def __init__(self) -> None:
        self.deployment: dict[str, object] | None = None
        self.status, self.log, self.artifact = "", "", Path()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                status, reply = outer.answer(self.path.partition("?")[0], self.body())
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = b""
                while size := int(self.rfile.readline(), 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found

            do_GET = do_POST = do_PUT = do_PATCH = answer

            def log_message(self, *told: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path.endswith("/auth_requests"):
            return 200, b"a token"
        if path.endswith("/inventory/device/attributes"):
            return 200, b""
        if path.endswith("/deployments/next"):
            return (200, json.dumps(self.deployment).encode()) if self.deployment else (204, b"")
        if path.endswith("/artifact"):
            return 200, self.artifact.read_bytes()
        if path.endswith("/status"):
            self.status = json.loads(body)["status"]
            if self.status in ("success", "failure"):
                self.deployment = None
        if path.endswith("/log"):
            self.log = "\n".join(line["message"] for line in json.loads(body)["messages"])
        return 204, b""


class Device:
    """One device with a proven release, its client, and somebody who plays the service."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.server = folder, Root(folder / "root"), Server()
        self.numbers = iter(range(1, 1000))
        self.good = True
        """Whether the next release proves itself."""
        folder.mkdir()
        name = add(self.root, plain(folder / "factory", {})).id
        activate(self.root, name, None, check=False)
        for line in install("", self.root.path):
            print(line)
        conf = Path(CONF)
        conf.write_text(conf.read_text().replace("wait = 900", "wait = 60").replace("trial =", "trial = --crashes 2"))
        os.rename(MODULES / "edge-streamer", MODULE)
        (MODULES / "edge-streamer").write_text(SCRIPT.format(folder=folder, module=MODULE))
        (MODULES / "edge-streamer").chmod(0o755)
        settings = {"ServerURL": self.server.url, "UpdatePollIntervalSeconds": 1, "InventoryPollIntervalSeconds": 60,
                    "RetryPollIntervalSeconds": 1, "DBus": {"Enabled": False}}  # fmt: skip
        for path, text in {
            "/etc/mender/mender.conf": json.dumps(settings),
            "/etc/mender/artifact_info": "artifact_name=factory\n",
            "/var/lib/mender/device_type": "device_type=testbox\n",
            "/usr/share/mender/inventory/mender-inventory-test": "#!/bin/sh\n",
            "/usr/share/mender/identity/mender-device-identity": "#!/bin/sh\necho mac=02:00:00:00:00:01\n",
        }.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
            Path(path).chmod(0o755)
        threading.Thread(target=self._play_service, daemon=True).start()

    def _play_service(self) -> None:
        while True:
            time.sleep(0.3)
            trial = read_state(self.root).trial
            if trial is not None and trial.id == self.current and self.good:
                prove(self.root)
            elif trial is not None and trial.id == self.current:
                begin(self.root, {})
                stopped(self.root, CRASHED)

    @property
    def current(self) -> str | None:
        return self.root.led_to(self.root.current)

    def artifact(self, name: str) -> Path:
        payload, out = self.folder / f"{name}.tar", self.folder / f"{name}.mender"
        write_payload(plain(self.folder / name, {"bundle/name": name.encode()}), payload)
        write(Artifact(name, ["testbox"]), [payload], out)
        return out

    @contextmanager
    def client(self) -> Iterator[None]:
        """The client's daemon, started anew wherever it is killed."""
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                with (self.folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(["mender", "--no-syslog", "daemon"], stdout=log, stderr=log)
                self._process.wait()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        over.set()
        self._process.kill()
        thread.join()

    def deploy(self, good: bool, cut: str, states: str, outcome: str, stays: bool) -> None:
        """One deployment by the server; AssertionError where it ends in another way than is wanted."""
        name, before, self.good = f"release-{next(self.numbers)}", self.current, good
        (self.folder / "states").write_text("")
        (self.folder / "cut").write_text(cut)
        self.server.artifact, self.server.status, self.server.log = self.artifact(name), "", ""
        self.server.deployment = {
            "id": name,
            "artifact": {"source": {"uri": f"{self.server.url}/artifact", "expire": "2036-01-01T00:00:00Z"},
                         "device_types_compatible": ["testbox"], "artifact_name": name},
        }  # fmt: skip
        ends = time.monotonic() + 240
        while self.server.deployment is not None:
            assert time.monotonic() < ends, (self.folder / "log").read_text()[-5000:]
            time.sleep(0.2)
        called = (self.folder / "states").read_text().split()
        said = subprocess.run(["mender", "--no-syslog", "show-artifact"], capture_output=True, text=True, check=True)
        installed = said.stdout.split()[-1]
        print(f"{name}, cut {cut or 'nowhere'}: {self.server.status}: {' '.join(called)}; {installed}", flush=True)
        assert " ".join(called) == states
        assert self.server.status == outcome
        assert (self.current != before) == stays
        assert (installed == name) == stays
        assert not (self.root.path / "mender").exists()
        assert read_state(self.root).trial is None
        if not good:
            assert "was given up: crashed 2 times after the update" in self.server.log or cut, self.server.log


def main(folder: Path) -> int:
    device = Device(folder)
    with device.client():
        device.deploy(True, "", WHOLE, "success", True)
        device.deploy(False, "", f"Download ArtifactInstall ArtifactCommit {GOES_BACK}", "failure", False)
        for cut, states in CUTS.items():
            device.deploy(True, cut, states, "failure", cut.startswith("Cleanup"))
        for cut, states in CUTS_OF_A_BAD_ONE.items():
            device.deploy(False, cut, states, "failure", False)
    print("all of it held")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
