"""Ansible's task `edge_streamer.device.deploy`: runs `edge-streamer deploy` here, on the controller, for one board.

Receives the task's options and what the inventory says of ssh; hands on Ansible's result: changed, or failed with the
one line that deploy ends with. Nothing of Ansible runs on the board, so it needs no Python module there.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

FILES = ("settings", "budget", "passphrase_file")
WORDS = {
    **dict.fromkeys(("engine", "name", "root", "board_python", "serial"), "str"),
    **dict.fromkeys(("profile_units", "units", "wait"), "int"),
    **dict.fromkeys(("within", "misses"), "float"),
}
TRUE = ("allow_downgrade", "system", "verify")
FALSE = {"golden_units": "--no-check", "service": "--no-service"}
"""Options that are true where nothing is said."""
SPEC: dict[str, Any] = {
    "bundle": {"type": "path", "required": True},
    "wheels": {"type": "path", "required": True},
    "key": {"type": "list", "elements": "path", "no_log": False},
    "command": {"type": "list", "elements": "str"},
    **{name: {"type": "path", "no_log": False} for name in FILES},
    **{name: {"type": kind} for name, kind in WORDS.items()},
    **{name: {"type": "bool", "default": False} for name in TRUE},
    **{name: {"type": "bool", "default": True} for name in FALSE},
}
PLAIN = {"-4": "AddressFamily=inet", "-6": "AddressFamily=inet6", "-C": "Compression=yes"}
VALUED = {"-J": "ProxyJump", "-i": "IdentityFile", "-l": "User", "-p": "Port"}
OURS = ("controlmaster", "controlpath", "controlpersist", "batchmode", "stricthostkeychecking")
"""deploy shares one connection by itself, asks nobody, and compares host keys always."""
DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG."""
PREFIX = "edge-streamer: "


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Made by Ansible for each board and task."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec=SPEC)
        result.update(self._deploy(options, str((task_vars or {}).get("inventory_hostname", ""))))
        return result

    def _deploy(self, options: Mapping[str, Any], name: str) -> dict[str, Any]:
        connection = self._connection
        if connection.transport != "ssh":
            raise AnsibleActionFail(f"the connection of {name} is {connection.transport!r}; wanted ansible_connection: "
                                    "ssh, over which edge-streamer deploy goes")  # fmt: skip
        words = [*command(options), *arguments(options)]
        words += ["--dry-run"] if self._task.check_mode and not options["verify"] else []
        user = connection.get_option("remote_user")
        host = connection.get_option("host") or name
        words.insert(len(command(options)) + 2, f"{user}@{host}" if user else host)
        for option, flag in (("port", "--port"), ("private_key_file", "--identity")):
            value = connection.get_option(option)
            words += [flag, os.path.expanduser(str(value))] if value else []
        said = [connection.get_option(option) or "" for option in ("ssh_args", "ssh_common_args", "ssh_extra_args")]
        with ssh_settings(shlex.split(" ".join(said)), self._display.warning) as settings:
            words += ["--ssh-config", settings] if settings else []
            status, out, err = self._run(words, name)
        return self._result(status, out, err)

    def _run(self, words: Sequence[str], name: str) -> tuple[int, str, list[str]]:
        """Status, standard output, and lines of standard error, each shown as it comes."""
        lines: list[str] = []
        with tempfile.TemporaryFile("w+") as out:
            try:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                           text=True, errors="replace", preexec_fn=die_with_parent)  # fmt: skip
            except OSError as error:
                raise AnsibleActionFail(f"{words[0]} does not start: {error.strerror}") from None
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    lines.append(line.rstrip())
                    if not line.startswith(PREFIX):
                        self._display.display(f"  {name}: {line.rstrip()}")
                status = process.wait()
            finally:
                process.terminate()
                process.wait()
                process.stderr.close()
            out.seek(0)
            return status, out.read(), lines

    def _result(self, status: int, out: str, err: Sequence[str]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            told = dict(json.loads(out))
        if "release" not in told:  # nothing, or that it was refused, which the line says too
            said = [line for line in err if line.strip()]
            ours = [line for line in said if line.startswith(PREFIX)] or said
            why = ours[-1].removeprefix(PREFIX) if ours else f"it ended with status {status}"
            return {"failed": True, "changed": False, "status": status, "msg": why}
        found = {**told, "failed": status != 0, "status": status}
        if status:
            found["msg"] = f"{told['release'] or 'a new release'} is {told['state']}: {told['reason']}"
        elif self._task.diff:
            new = told["release"] or f"a new release, {told['files']} files, {told['sent']} bytes"
            before = f"current: {told['device'].get('current') or 'none'}\n"
            found["diff"] = {"before": before, "after": f"current: {new}\n" if told["changed"] else before}
        return found


def command(options: Mapping[str, Any]) -> list[str]:
    """What starts edge-streamer: as told, of Ansible's own Python, or of PATH."""
    if options["command"]:
        return list(options["command"])
    if importlib.util.find_spec("edge_streamer"):
        return [sys.executable, "-m", "edge_streamer"]
    found = shutil.which("edge-streamer")
    if found is None:
        raise AnsibleActionFail("there is no edge-streamer on this controller; install it here (pip install "
                                "edge-streamer), or say by command what starts it")  # fmt: skip
    return [found]


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Of `edge-streamer deploy`, but for where to."""
    words = ["deploy", file(options, "bundle"), "--json", "--wheels", file(options, "wheels")]
    for name in FILES:
        words += [flag(name), file(options, name)] if options[name] else []
    for one in options["key"] or ():
        words += ["--key", file({"key": one}, "key")]
    for name in WORDS:
        words += [flag(name), str(options[name])] if options[name] not in (None, "") else []
    words += [flag(name) for name in TRUE if options[name]]
    return words + [flag for name, flag in FALSE.items() if not options[name]]


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def file(options: Mapping[str, Any], name: str) -> str:
    """A whole path: Ansible may run anywhere, and a play may lie anywhere."""
    path = str(options[name])
    if not os.path.isabs(path):
        raise AnsibleActionFail(f"{name} is {path!r}; wanted a path from / on, as {{{{ inventory_dir }}}}/{path}")
    return path


@contextlib.contextmanager
def ssh_settings(words: Sequence[str], warn: Any) -> Iterator[str]:
    """The name of a file of ssh's settings that says what the inventory's words of ssh's command line say; empty where
    they say nothing. The user's own and the system's settings hold after it, as they do for ssh."""
    include, lines = parsed(words, warn)
    if not lines:
        yield include
        return
    others = [include] if include else ["~/.ssh/config", "/etc/ssh/ssh_config"]
    with tempfile.TemporaryDirectory(prefix="edge-streamer-") as folder:  # mode 700
        path = os.path.join(folder, "ssh_config")
        with open(path, "w") as text:
            text.write("\n".join([*lines, *(f'Include "{other}"' for other in others), ""]))
        yield path


def parsed(words: Sequence[str], warn: Any) -> tuple[str, list[str]]:
    """The file of -F, and lines of settings."""
    include, lines, left = "", list[str](), list(words)
    while left:
        word = left.pop(0)
        option, value = word[:2], word[2:]
        if word in PLAIN:
            lines.append(PLAIN[word])
            continue
        if option not in ("-o", "-F", *VALUED) or not (value or left):
            raise AnsibleActionFail(f"the inventory gives ssh {word!r}; wanted -o NAME=VALUE, -F FILE, -J HOST and the "
                                    f"like ({', '.join([*VALUED, *PLAIN])}); what else there is: ~/.ssh/config"
                                    )  # fmt: skip
        value = value or left.pop(0)
        if option == "-F":
            include = os.path.abspath(os.path.expanduser(value))
            continue
        line = value if option == "-o" else f"{VALUED[option]}={value}"
        name, _, said = line.replace(" ", "=", 1).partition("=")
        if name.strip().lower() not in OURS:
            lines.append(line.replace("\n", " "))
        elif name.strip().lower() == "stricthostkeychecking" and said.strip().strip('"').lower() not in ("yes", "ask"):
            warn(f"the inventory says {line}; edge-streamer deploy compares host keys all the same")
    return include, lines


def die_with_parent() -> None:
    """In the child: Ansible ends its workers at Ctrl-C, and what they started has to end too."""
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
