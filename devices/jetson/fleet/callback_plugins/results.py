"""What Ansible tells of each board, as lines of JSON, for `edge-streamer deploy --inventory`.

Receives the play's events; hands on the file that EDGE_STREAMER_RESULTS names.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: results
type: notification
short_description: writes what became of each host into a file
description:
  - Lines of JSON in the file that the environment's EDGE_STREAMER_RESULTS names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "results"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Once for each batch."""
        told = play.get_variable_manager().get_vars(play=play)
        self._write(hosts=list(told["ansible_play_hosts_all"]), batch=list(told["ansible_play_batch"]))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._ended(result, failed=not ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._ended(result, failed=True)

    def _ended(self, result: Any, failed: bool) -> None:
        told = result._result
        if failed or "release" in told:
            names = ("release", "state", "reason", "changed", "files", "sent", "msg", "profile", "log")
            self._write(host=result._host.get_name(), failed=failed, **{n: told[n] for n in names if n in told})

    def _write(self, **told: Any) -> None:
        with open(os.environ["EDGE_STREAMER_RESULTS"], "a") as file:
            file.write(json.dumps(told) + "\n")
