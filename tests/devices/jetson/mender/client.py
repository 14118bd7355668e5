"""What Mender's client does with an update module: its folders, the order of states, and what follows a cut.

Receives the artifact's files and how a state is called; hands on :class:`Client`. Written from "Update modules v3
protocol" and from the states that the client's daemon loads when it starts again. Tried against the client itself by
`.ci/mender`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path


class Cut(BaseException):
    """Power goes."""


AGAIN = {"Download": "Cleanup", "ArtifactInstall": "ArtifactRollback", "ArtifactCommit": "ArtifactRollback"}
"""The state that a deployment goes on with where power went in one; in any other, with the same again."""


class Client:
    """One device's. ``call`` gives a state's exit status and what the module wrote to standard output."""

    def __init__(self, folder: Path, call: Callable[[str, Path], tuple[int, str]]) -> None:
        self.tree, self._call = folder / "modules/v3/payloads/0000/tree", call
        self.states: list[str] = []
        """Those that were called, in this order."""
        self.outcome = ""
        self._state = ""

    def deploy(self, name: str, files: Sequence[Path]) -> str:
        """From the download to the end: ``success``, ``failure`` (gone back) or ``inconsistent`` (not gone back)."""
        shutil.rmtree(self.tree, ignore_errors=True)
        header = {"payloads": [{"type": "edge-streamer"}], "artifact_provides": {"artifact_name": name},
                  "artifact_depends": {"device_type": ["testbox"]}}  # fmt: skip
        texts = {"version": "3\n", "current_artifact_name": "factory\n", "current_device_type": "testbox\n",
                 "header/header-info": json.dumps(header), "header/type-info": '{"type": "edge-streamer"}',
                 "header/meta-data": ""}  # fmt: skip
        for path in (self.tree / "tmp", self.tree / "header", self.tree / "files"):
            path.mkdir(parents=True)
        for path, text in texts.items():
            (self.tree / path).write_text(text)
        self.outcome, self._files = "success", files
        return self._go("Download")

    def resume(self) -> str:
        """The client starts again after a cut."""
        if self._state in AGAIN:
            self.outcome = "failure"
        return self._go(AGAIN.get(self._state, self._state))

    def _go(self, state: str) -> str:
        while state:
            self._state = state  # in the client's own database, before the module is called
            self.states.append(state)
            status, _ = self._call(state, self.tree)
            state = self._next(state, status == 0)
        return self.outcome

    def _next(self, state: str, good: bool) -> str:
        if state == "Cleanup":
            shutil.rmtree(self.tree)
            return ""
        if state == "ArtifactFailure":
            return "Cleanup"
        if state == "ArtifactRollback":
            self.outcome = self.outcome if good else "inconsistent"
            return "ArtifactFailure"
        if state == "Download" and good:
            for file in self._files:  # the module took no stream
                shutil.copy(file, self.tree / "files")
        if not good:
            self.outcome = "failure"
            goes_back = state != "Download" and self._asked("SupportsRollback") == "Yes"
            return "Cleanup" if state == "Download" else "ArtifactRollback" if goes_back else "ArtifactFailure"
        if state == "ArtifactInstall":
            assert self._asked("NeedsArtifactReboot") == "No"
        return {"Download": "ArtifactInstall", "ArtifactInstall": "ArtifactCommit", "ArtifactCommit": "Cleanup"}[state]

    def _asked(self, question: str) -> str:
        status, said = self._call(question, self.tree)
        assert status == 0
        return said.strip()
