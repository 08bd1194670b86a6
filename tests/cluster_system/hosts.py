"""Hosts on one machine, for a real ``ray up``: each has its own network card, processes, files and sshd.

with Hosts(folder) as hosts:
    head = hosts.add("head", "10.99.0.2")
    worker = hosts.add("worker", "10.99.0.3")
    subprocess.run(["ssh", "-i", hosts.key, f"root@{head.address}", "true"])
    worker.cut_off()

They are Linux namespaces. Inside the ``with`` the calling thread, with what it starts, is in a network of its own: a
bridge, the hosts' cables, and no way out, so that nothing in it meets another run or reaches another machine. Processes
of a host die with the process that made it, however that ends, and so does the network with its last process.
"""

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

_CLONE_NEWNET = 0x40000000
_START_S = 30.0
# A host has its own of these; the rest of the machine's files it can read, and not write.
_PRIVATE = ("/root", "/tmp", "/run", "/dev/shm")  # noqa: S108
_PACKAGES = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def what_is_missing() -> str | None:
    """The programs or rights that this machine lacks to have hosts, and how to get them; None if nothing."""
    packages = sorted({package for program, package in _PACKAGES.items() if shutil.which(program, path=_PATH) is None})
    if packages:
        return f"programs are missing: apt-get install {' '.join(packages)} (the names of Debian's packages)"
    if os.geteuid() != 0:
        return "hosts are made of namespaces, mounts and network cards: run this as root"
    return None


class Hosts:
    """A network of hosts, as a context manager.

    Args:
        folder: Where the key and the hosts' logs go; it must exist.
        gateway: The address and prefix length of this process in the network.
        services: More addresses of this process, outside the network's range, that hosts reach.
        visible: Folders that all hosts see at their places although they are below /root or /tmp. The virtual
            environment, its base Python and this checkout always are.
    """

    def __init__(
        self,
        folder: Path,
        gateway: str = "10.99.0.1/24",
        services: Sequence[str] = (),
        visible: Sequence[Path] = (),
    ) -> None:
        self._folder = folder
        self.address, _, self._prefix = gateway.partition("/")
        self._services = services
        ours = (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2])
        self._visible = sorted({path.absolute() for path in (*ours, *visible)})
        self._hosts: list[Host] = []
        self._bridge = f"dip{os.getpid()}"
        self._outside = -1

    @property
    def key(self) -> Path:
        """The private key with which all hosts let root in."""
        return self._folder / "key"

    def __enter__(self) -> Self:
        if (missing := what_is_missing()) is not None:
            raise RuntimeError(missing)
        remove_leftovers()
        if not self.key.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.key))
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _system_call("unshare", _CLONE_NEWNET)
        try:
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            for address in (f"{self.address}/{self._prefix}", *self._services):
                _run("ip", "address", "add", address, "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for host in self._hosts:
                host.end()
        finally:
            self._leave()

    def add(self, name: str, address: str, public_key: str | None = None) -> "Host":
        """Switch a host on.

        Args:
            name: Its name.
            address: Its IPv4 address, of the network's.
            public_key: The key that it lets in as root, instead of that of ``key``.

        Raises:
            TimeoutError: its sshd does not answer.
        """
        public_key = public_key or self.key.with_name("key.pub").read_text()
        host = Host(name, address, f"v{len(self._hosts)}", self._folder / f"{name}.log")
        self._hosts.append(host)
        script = _boot(name, f"{address}/{self._prefix}", self._services, public_key, self._visible)
        host.start(script, self._bridge)
        return host

    def _leave(self) -> None:
        """End everything left in the network, tunnels for instance, and go back to this thread's old network."""
        own = Path("/proc/thread-self/ns/net").stat().st_ino
        _system_call("setns", self._outside, _CLONE_NEWNET)
        os.close(self._outside)
        _end(pid for pid in _by_network().get(own, ()) if pid != os.getpid())


class Host:
    """A host of a network; :meth:`Hosts.add` makes it.

    Attributes:
        name: Its name.
        address: Its IPv4 address.
    """

    def __init__(self, name: str, address: str, cable: str, log: Path) -> None:
        self.name = name
        self.address = address
        self._cable = cable
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def start(self, script: str, bridge: str) -> None:
        """Boot it with a script, which waits for a line until the cable is plugged in."""
        # Killing a process kills its children: this process the first, that one all others.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--mount", "--uts", "--ipc"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--fork", "--kill-child", "/bin/sh", "-euc", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": _PATH},
                text=True,
            )
        its_input, its_output = self._process.stdin, self._process.stdout
        assert its_input is not None
        assert its_output is not None
        with its_input, its_output:
            if its_output.readline() != "ready\n":
                raise TimeoutError(self._why())
            of = ["netns", str(self._process.pid)]
            _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", *of)
            _run("ip", "link", "set", self._cable, "master", bridge, "up")
            its_input.write("\n")
        end = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(self._why())
            time.sleep(0.05)

    def command(self, *command: str) -> list[str]:
        """The command that runs one as root inside, without ssh: to look at the host from below."""
        assert self._process is not None
        init = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]
        return ["nsenter", "--target", init, "--net", "--pid", "--mount", "--uts", "--ipc", "--", *command]

    def cut_off(self) -> None:
        """Let it vanish as in a power cut: nothing that its processes might still send arrives anywhere."""
        _run("ip", "link", "set", self._cable, "down")
        self.end()

    def end(self) -> None:
        """Switch it off, if it is on; its files are lost."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    def _why(self) -> str:
        return f"the host {self.name} did not start: {self._log.read_text(errors='replace')[-2000:]}"


def remove_leftovers() -> None:
    """End the processes in the networks of owners that are gone; a network goes with its last process."""
    for pids in _by_network().values():
        asked = ["nsenter", "--target", str(pids[0]), "--net", "--", "ip", "-oneline", "link", "show", "type", "bridge"]
        shown = subprocess.run(asked, capture_output=True, text=True, check=False, env={"PATH": _PATH})
        owner = re.search(r"^\d+: dip(\d+):", shown.stdout, re.MULTILINE)
        if owner is not None and not Path("/proc", owner[1]).exists():
            _end(pids)


def _boot(name: str, address: str, services: Sequence[str], public_key: str, visible: Sequence[Path]) -> str:
    """The shell script that makes a host of new namespaces and ends as its sshd.

    Folders that are to be seen below a private one are kept at another place until that is there.
    """
    aside = [(shlex.quote(str(path)), f"/mnt/{number}") for number, path in enumerate(visible)]
    python = shlex.quote(f"{sys.prefix}/bin")
    # OpenSSH's own files record the last login; this machine's must not change.
    options = {
        "HostKey": "/run/host_key",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PrintLastLog": "no",
    }
    lines = [
        "echo ready",
        "read -r _",
        "mount --make-rprivate /",
        "mount -t tmpfs tmpfs /mnt",
        *(f"mkdir {kept}; mount --bind {path} {kept}" for path, kept in aside),
        *(f"mount -t tmpfs tmpfs {private}" for private in _PRIVATE),
        "chmod 700 /root",
        "chmod 1777 /tmp /dev/shm",
        *(f"mkdir -p {path}; mount --bind {kept} {path}" for path, kept in aside),
        "umount --recursive /mnt",
        "mount -t proc proc /proc",
        f"echo {name} >/proc/sys/kernel/hostname",
        f"printf '127.0.0.1 localhost\\n{address.partition('/')[0]} {name}\\n' >/run/hosts",
        "mount --bind /run/hosts /etc/hosts",
        "mount -o remount,bind,ro /",
        "mkdir -m 700 /root/.ssh",
        f"echo {shlex.quote(public_key.strip())} >/root/.ssh/authorized_keys",
        f"echo export PATH={python}:'\"$PATH\"' >/root/.bashrc",
        "echo . /root/.bashrc >/root/.profile",
        "ip link set lo up",
        f"ip address add {address} dev eth0",
        "ip link set eth0 up",
        *(f"ip route add {service} dev eth0" for service in services),
        "mkdir /run/sshd",
        "ssh-keygen -q -t ed25519 -N '' -f /run/host_key",
        f"exec /usr/sbin/sshd -D -e -f /dev/null {' '.join(f'-o {name}={value}' for name, value in options.items())}",
    ]
    return "\n".join(lines)


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": _PATH}, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise OSError(f"{shlex.join(command)}: {done.stderr.strip()}")


def _system_call(name: str, *arguments: int) -> None:
    """A system call that Python's os has from 3.12 on."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _by_network() -> dict[int, list[int]]:
    """All processes, by the number of their network namespace."""
    found: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found[(entry / "ns/net").stat().st_ino].append(int(entry.name))
    return found


def _end(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
