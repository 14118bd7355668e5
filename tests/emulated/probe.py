"""What a release tries that it must not, from inside the service, and what must come of it.

Hands on :data:`PROBE`, the fault of a release that tries and then talks; :data:`SYSTEM`,
:data:`LIMITS` and :data:`USER`, what it finds.
"""

from __future__ import annotations

PROBE = """
def spoil():
    import ctypes, errno, json, os, resource, socket, threading

    libc = ctypes.CDLL(None, use_errno=True)

    def tried(what):
        try:
            what()
            return "done"
        except OSError as error:
            return errno.errorcode[error.errno]

    def called(*words):
        if libc.syscall(*words) < 0:
            raise OSError(ctypes.get_errno(), "")

    def real_time():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def set_id():
        path = os.environ["RUNTIME_DIRECTORY"] + "/set-id"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        os.chmod(path, 0o4755)

    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    release = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    found = {
        "NoNewPrivs": status["NoNewPrivs"].strip(), "Seccomp": status["Seccomp"].strip(),
        "capabilities": status["CapBnd"].strip(), "is root": str(os.getuid() == 0),
        "a file in /etc": tried(lambda: open("/etc/probe", "w")),
        "a file of its release": tried(lambda: open(release + "/settings.toml", "r+")),
        "a new file in its release": tried(lambda: open(release + "/probe", "w")),
        "a file in its cache": tried(lambda: open(os.environ["CACHE_DIRECTORY"] + "/probe", "w")),
        "a socket of the internet": tried(lambda: socket.socket(socket.AF_INET)),
        "a raw socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "a local socket": tried(lambda: socket.socket(socket.AF_UNIX)),
        "/dev/null": tried(lambda: open("/dev/null", "wb")),
        "a device of no list, open to all": tried(lambda: open("/dev/fuse", "rb")),
        "a namespace": tried(lambda: called(272, 0x10000000)),
        "a mount": tried(lambda: called(165, b"none", b"/tmp", b"tmpfs", 0, None)),
        "the clock": tried(lambda: called(227, 0, (ctypes.c_long * 2)(1, 0))),
        "a set-user-id file": tried(set_id),
        "sees the first process": str(os.path.exists("/proc/1")),
        "real time": tried(real_time),
        "memory that may be locked": str(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]),
    }
    with open(os.environ["RUNTIME_DIRECTORY"] + "/probe.json", "w") as file:
        json.dump(found, file)
"""

BOTH = {
    "NoNewPrivs": "1", "Seccomp": "2", "is root": "False", "a file in its cache": "done", "a local socket": "done",
    "/dev/null": "done", "a raw socket": "EAFNOSUPPORT", "a namespace": "EPERM", "a mount": "EPERM",
    "the clock": "EPERM", "a file of its release": "EACCES", "a set-user-id file": "EPERM",
}  # fmt: skip
SYSTEM = {
    **BOTH, "capabilities": "0000000000000000", "a file in /etc": "EROFS", "a new file in its release": "EROFS",
    "a socket of the internet": "EAFNOSUPPORT", "a device of no list, open to all": "EPERM",
    "sees the first process": "False",
}  # fmt: skip
LIMITS = {"real time": "done", "memory that may be locked": "-1"}
"""Of the system's, where systemd itself may raise limits."""
USER = {**BOTH, "a file in /etc": "EACCES", "a socket of the internet": "done"}
