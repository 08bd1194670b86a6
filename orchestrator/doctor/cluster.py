"""Check through its dashboard that a Ray cluster has all that a run needs."""

import contextlib
import http.client
import ipaddress
import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.doctor.check import ASKED_S, Check
from orchestrator.doctor.machine import installed_version, our_token
from orchestrator.text import counted

_MOST_BYTES = 1 << 24
_REFUSALS = (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)
_COPY = "copy the cluster's token (`ray get-auth-token` on its head) to ~/.ray/auth_token, and chmod 600 it"


def check_cluster(address: str) -> Iterator[Check]:
    """Check a Ray cluster: it can be reached, refuses requests without a token, and has our version of Ray and
    machines."""
    dashboard = _Dashboard.parse(address)
    if dashboard is None:
        yield Check("cluster", "--address is not that of a dashboard", "give it as http://127.0.0.1:8265")
        return
    try:
        yield from _ask_cluster(dashboard)
    except (OSError, http.client.HTTPException) as error:
        yield Check(
            "cluster",
            f"{dashboard} cannot be reached: {error or type(error).__name__}",
            "is the cluster up, and is this its dashboard's port? From elsewhere, open a tunnel: ray dashboard"
            " CLUSTER.yaml, or ssh -N -L 8265:127.0.0.1:8265 HEAD",
        )


@dataclass(frozen=True)
class _Dashboard:
    """The HTTP API of a dashboard. Requests use no proxy and follow no redirects, which would learn the token."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, address: str) -> "_Dashboard | None":
        """Parse ``http://host:port``; return None for other text, which messages must not repeat: it may be a
        secret."""
        try:
            parts = urllib.parse.urlsplit(address)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return None
        plain = parts.scheme in ("http", "https") and parts.path in ("", "/") and not parts.query + parts.fragment
        host = parts.hostname or ""
        if not plain or "@" in parts.netloc or not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
            return None
        return cls(parts.scheme, host, port)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def in_clear(self) -> bool:
        """Whether requests can be read on the way."""
        try:
            stays = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            stays = self.host == "localhost"
        return self.scheme == "http" and not stays

    def ask(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """Send a request; return the status and the JSON of the answer, None if it is not JSON."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        with contextlib.closing(kind(self.host, self.port, timeout=ASKED_S)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            body = answer.read(_MOST_BYTES)
        try:
            return answer.status, json.loads(body)
        except (ValueError, RecursionError):
            return answer.status, None


def _ask_cluster(dashboard: _Dashboard) -> Iterator[Check]:
    token = None
    status, answer = dashboard.ask("/api/version")
    if status in _REFUSALS:
        # The token is sent only now: a dashboard that lets everybody in must not see it.
        yield Check("cluster", f"{dashboard} asks for a token")
        token = our_token()
        if token is None:
            yield Check("cluster token", "none here", _COPY)
            return
        status, answer = dashboard.ask("/api/version", token)
        if status in _REFUSALS:
            yield Check("cluster token", f"ours is refused (HTTP {status})", _COPY)
            return
    version = answer.get("ray_version") if isinstance(answer, dict) else None
    if status != http.HTTPStatus.OK or version is None:
        found = f"{dashboard} answers (HTTP {status}), but not as Ray's dashboard does"
        yield Check("cluster", found, "give the address of the head's dashboard, by default at port 8265")
        return
    if token is None:
        found = f"{dashboard} ANSWERS WITHOUT A TOKEN: whoever reaches it may run any code on the cluster"
        yield Check("cluster", found, "close the port now, and start all nodes with RAY_AUTH_MODE=token (SECURITY.md)")
    else:
        clear = "; it went there unencrypted: outside a private network use a tunnel" if dashboard.in_clear else ""
        yield Check("cluster token", f"ours is accepted{clear}")
    here = installed_version("ray")
    advice = None if version == here else f"install the same: Ray {here} is here"
    yield Check("cluster version", f"Ray {version}", advice)
    yield _of_nodes(dashboard.ask("/nodes?view=summary", token)[1])


def _of_nodes(answer: Any) -> Check:
    try:
        nodes = [node["raylet"] for node in answer["data"]["summary"]]
        totals = [node["resourcesTotal"] for node in nodes if node["state"] == "ALIVE"]
        cpus, gpus = (sum(float(total.get(kind, 0)) for total in totals) for kind in ("CPU", "GPU"))
    except (TypeError, KeyError, ValueError, AttributeError):
        return Check("cluster nodes", "the dashboard does not list them", "look into dashboard.log on its machine")
    found = f"{len(totals)} alive, {counted(int(cpus), 'CPU')}, {counted(int(gpus), 'GPU')}"
    if totals and not cpus:
        # This may be a head that runs no fits, whose autoscaler starts machines when there is work.
        found += "; if more are to come when there is work, all is well, else see why none joins: ray status"
    return Check("cluster nodes", found, None if totals else "see why its machines do not join: ray status")
