"""Ports for servers that tests start.

The system chooses ports, as for port 0, from the range that it also uses for the near ends of all connections. Until
the server listens, a connection or another Ray may take such a port. The ports given here lie below that range and
above the ports of Ray's workers, each is given once in a process, and processes begin at different places.
"""

import contextlib
import itertools
import os
import socket

_PORTS = range(20_000, 32_768)
_STRIDE = 4_999  # processes that follow each other begin this far apart

_next = itertools.cycle(itertools.chain(_PORTS[os.getpid() * _STRIDE % len(_PORTS) :], _PORTS))


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports of one address that nothing listens on now and that this process was not given before."""
    found: list[int] = []
    for port in itertools.islice(_next, len(_PORTS)):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"{host} has no {count} free ports")
