"""What is done on the board before anything of ours is there: sent with every call, run by the board's own Python.

Receives one JSON object on standard input, for two of the calls with bytes after it; hands on one line of JSON behind
``MARK``. Standard library of Python 3.10 alone, and no other file of ours.

    ROOT/incoming/              beside the releases, on the same disk; the user's alone
      store/SHA256              files that are whole: what a release is put together from
      partial/SHA256            files that are not yet: the next call goes on at their end
      tools/HASH/               what adds releases, unpacked from its wheels
      release-HASH/, .sig       a release as `releases add` takes it
      added/HASH                the id that it was given
      steps/NAME/               a long step: it goes on where the link drops, and is found again
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import site
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MARK = "edge-streamer-deploy "
BLOCK = 1 << 18
LOOK_SECONDS = 0.1
FULL = {errno.ENOSPC: "disk is full", errno.EDQUOT: "disk quota is used up", errno.EFBIG: "file size is limited"}
MOST_TEXT = 4_000_000
LIBRARIES = (f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib", "/usr/lib64", "/usr/local/lib")
SERIAL = "/proc/device-tree/serial-number"

Answer = dict[str, Any]


class Refused(Exception):
    """In one line, for the person at the other end."""


def main(root: str, name: str, stream: BinaryIO) -> None:
    request = json.loads(stream.readline())
    calls = {"look": look, "have": have, "receive": receive, "compose": compose, "tools": tools, "step": step,
             "settle": settle, "log": log}  # fmt: skip
    os.umask(0o022)
    try:
        answer = calls[name](Path(root), request, stream)
    except Refused as error:
        answer = {"refused": str(error)}
    except OSError as error:
        answer = {"refused": _told(Path(root), error)}
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()


def _told(root: Path, error: OSError) -> str:
    at = f" ({error.filename})" if error.filename else ""
    if error.errno in FULL:
        return (
            f"the device's {FULL[error.errno]}: {_free(root) / 1e6:.1f} MB are free below {root}; make room there "
            "(edge-streamer releases prune), then run the same command: it goes on with what has arrived"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
        return (
            f"nothing can be written below {root} on the device: {error.strerror}{at}; name another place: --root DIR"
        )
    return f"on the device: {error.strerror or error}{at}"


def look(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """The device, and its releases. Nothing is changed."""
    there = root
    while not there.exists() and there != there.parent:
        there = there.parent
    l4t = ""
    with contextlib.suppress(OSError):
        l4t = Path("/etc/nv_tegra_release").read_text(errors="replace").splitlines()[0].strip("# ")
    serial = ""
    with contextlib.suppress(OSError):
        serial = Path(SERIAL).read_text(errors="replace").strip("\0 \n")
    user = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    state: Any = {}
    with contextlib.suppress(OSError, ValueError):
        state = json.loads((root / "state.json").read_bytes())
    ids, added = [], {}
    with contextlib.suppress(OSError):
        ids = sorted(name for name in os.listdir(root / "releases") if not name.startswith("."))
    with contextlib.suppress(OSError):
        added = {path.name: path.read_text() for path in (root / "incoming/added").iterdir()}
    current = ""
    with contextlib.suppress(OSError):
        current = os.path.basename(os.readlink(root / "current"))
    return {
        "architecture": platform.machine(), "python": "{}.{}".format(*sys.version_info),
        "glibc": platform.libc_ver()[1], "l4t": l4t, "serial": serial, "uid": os.geteuid(), "time": time.time(),
        "run": "/run" if request.get("system") else user,
        "free": _free(root), "writable": os.access(there, os.W_OK), "there": str(there),
        "sound": _has_sound(), "portaudio": _has_portaudio(),
        "systemd": os.path.isdir("/run/systemd/system"), "releases": ids, "added": added,
        "current": current if current in ids else "", "state": state if isinstance(state, dict) else {},
    }  # fmt: skip


def _has_sound() -> bool:
    """Whether an environment that sees this Python's own packages finds PyAudio."""
    with contextlib.suppress(ImportError, ValueError):
        if importlib.util.find_spec("pyaudio") is not None:
            return True
    return any(Path(site.getusersitepackages()).glob("pyaudio*"))


def _has_portaudio() -> bool:
    """The library that PyAudio loads."""
    return any(found for folder in LIBRARIES for found in Path(folder).glob("libportaudio.so.2*"))


def _free(root: Path) -> int:
    while not root.exists() and root != root.parent:
        root = root.parent
    with contextlib.suppress(OSError):
        return shutil.disk_usage(root).free
    return 0


def have(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """Of files by SHA-256 and size those that are not here, and how much of each has arrived."""
    missing = {}
    for sha, size in request["files"]:
        if _size(_store(root, sha)) != size:
            missing[sha] = min(max(_size(_partial(root, sha)), 0), size)
    return {"missing": missing}


def _store(root: Path, sha: str) -> Path:
    return root / "incoming/store" / sha


def _partial(root: Path, sha: str) -> Path:
    return root / "incoming/partial" / sha


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def receive(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """Files, each a line of JSON and then its bytes from ``offset`` on. Compared whole before it counts."""
    for name in ("store", "partial"):
        _folder(root, name)
    done: list[str] = []
    damaged: list[str] = []
    with _alone(root / "incoming/.sending"):
        while line := stream.readline():
            one = json.loads(line)
            (done if _take(root, one["sha256"], one["size"], one["offset"], stream) else damaged).append(one["sha256"])
    return {"done": done, "damaged": damaged}


def _folder(root: Path, name: str) -> Path:
    incoming = root / "incoming"
    if not incoming.is_dir():
        incoming.mkdir(parents=True)
        incoming.chmod(0o700)
    (incoming / name).mkdir(parents=True, exist_ok=True)
    return incoming / name


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The kernel lets go of it where the process dies. A sender that was cut off may take a moment to notice."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for left in range(50, -1, -1):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise Refused("another deploy sends to this device; wait for it to end") from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def _take(root: Path, sha: str, size: int, offset: int, stream: BinaryIO) -> bool:
    partial = _partial(root, sha)
    total = hashlib.sha256()
    with open(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b", buffering=0) as file:
        for _ in _blocks(file, offset, total):
            pass
        file.truncate(offset)
        file.seek(offset)
        left = size - offset
        while left:
            block = stream.read(min(left, BLOCK))
            if not block:
                raise Refused("what was sent ended early")  # the link is gone, and nobody reads this
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
            total.update(block)
            left -= len(block)
        os.fsync(file.fileno())
    if total.hexdigest() != sha:
        partial.unlink()
        return False
    os.replace(partial, _store(root, sha))
    return True


def _blocks(file: Any, size: int, total: Any) -> Iterator[None]:
    """Read ``size`` bytes into a sum."""
    while size:
        block = file.read(min(size, BLOCK))
        if not block:
            raise Refused("a part that had arrived is gone; run the same command again")
        total.update(block)
        size -= len(block)
        yield


def compose(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """A release's folder from files of the store."""
    target = _folder(root, ".") / f"release-{request['plan']}"
    shutil.rmtree(target, ignore_errors=True)
    for path, sha in request["files"]:
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(_store(root, sha), place)
        except FileNotFoundError:
            raise Refused("a file that had arrived is gone; run the same command again") from None
        except OSError as error:
            if error.errno in FULL:
                raise
            shutil.copyfile(_store(root, sha), place)
    signature = target.with_name(target.name + ".sig")
    signature.unlink(missing_ok=True)
    if request["signature"]:
        signature.write_bytes(base64.b64decode(request["signature"]))
    return {"folder": str(target)}


def tools(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """What adds releases, unpacked from wheels of the store under another name, then renamed."""
    target = _folder(root, "tools") / request["name"]
    if not target.is_dir():
        for old in target.parent.iterdir():
            shutil.rmtree(old, ignore_errors=True)
        partial = target.with_name(f".{target.name}")
        partial.mkdir()
        for sha in request["wheels"]:
            with zipfile.ZipFile(_store(root, sha)) as wheel:
                wheel.extractall(partial)
        os.replace(partial, target)
    return {"folder": str(target)}


def step(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """Run a command in a session of its own and tell what it says. Asked again with the same token, the one that runs
    is told on, from what the asker has seen; with another token, the one that runs is waited for first."""
    folder = _folder(root, "steps") / request["name"]
    folder.mkdir(exist_ok=True)
    seen = request["seen"]
    while True:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            if _read(folder / "token") == request["token"]:
                seen = _tell(folder, seen)
            time.sleep(LOOK_SECONDS)
            continue
        if _read(folder / "token") == request["token"]:
            os.close(lock)
            break
        _begin(folder, request, lock)
        os.close(lock)
    _tell(folder, seen)
    status = _read(folder / "status")
    if not status:
        raise Refused(f"the step {request['name']} was ended from outside; run the same command again")
    return {"status": int(status), "out": _read(folder / "out"), "err": _read(folder / "err")[-20_000:]}


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""


def _tell(folder: Path, seen: int) -> int:
    """What was said on standard error since; a reader that has gone ends this process and nothing else."""
    with contextlib.suppress(FileNotFoundError), (folder / "err").open("rb") as file:
        file.seek(seen)
        while block := file.read(BLOCK):
            sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
            seen += len(block)
    return seen


def _begin(folder: Path, request: Answer, lock: int) -> None:
    """Fork what runs the command and then writes its status; it holds the lock for as long."""
    for name in ("status", "out", "err", "token"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "report", ignore_errors=True)  # of an earlier profile
    for name, text in request.get("files", {}).items():
        (folder / name).write_text(text)
    (folder / "token").write_text(request["token"])
    (folder / "err").touch()
    if os.fork():
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    status = 127
    try:
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            try:
                # The lock is not handed on: what a step leaves behind, as a service, is not the step.
                status = subprocess.run(request["words"], cwd=folder, stdin=nothing, stdout=out, stderr=err,
                                        env={**os.environ, **request["env"]}, check=False).returncode  # fmt: skip
            except OSError as error:
                err.write(f"{error}\n".encode())
        partial = folder / "status.new"
        partial.write_text(str(status if status >= 0 else 128 - status))
        os.replace(partial, folder / "status")
    finally:
        os._exit(0)


def settle(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """A release was added: note its id, let the store share its files, and drop what no later deployment needs."""
    release, keep = root / "releases" / request["id"], set(request["keep"])
    added = _folder(root, "added") / request["plan"]
    partial = added.with_name(f".{added.name}")
    partial.write_text(request["id"])
    os.replace(partial, added)
    for old in added.parent.iterdir():
        with contextlib.suppress(OSError):
            if not (root / "releases" / old.read_text()).is_dir():
                old.unlink()
    with contextlib.suppress(OSError, ValueError, KeyError):
        for entry in json.loads((release / "release.json").read_bytes())["entries"]:
            sha = entry.get("sha256", "")
            place = _store(root, sha)
            if sha in keep and not entry.get("executable") and not os.path.samefile(place, release / entry["path"]):
                fresh = place.with_name(f".{sha}")
                fresh.unlink(missing_ok=True)
                os.link(release / entry["path"], fresh)
                os.replace(fresh, place)
    for folder in ("store", "partial"):
        for path in _folder(root, folder).iterdir():
            if path.name not in keep:
                path.unlink()
    for path in (root / "incoming").glob("release-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    return {}


def log(root: Path, request: Answer, stream: BinaryIO) -> Answer:
    """The newest lines of the service's log."""
    words = ["journalctl", *([] if request["system"] else ["--user"]), "-u", "edge-streamer", "-n", "30", "--no-pager",
             "-o", "cat"]  # fmt: skip
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return {"lines": [], "why": str(error)}
    return {"lines": done.stdout.decode("utf-8", "replace").splitlines(), "why": ""}


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3], sys.stdin.buffer)
