"""A proxy before a service of S3 that spoils answers, as networks, services and their guards do."""

import http.client
import re
import threading
import urllib.parse
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Refused:
    """The request is answered by an error and does not reach the service."""

    status: int
    code: str = ""
    headers: tuple[tuple[str, str], ...] = ()


Spoilt = Refused | Literal["lost", "cut", "changed", None]
"""The fate of a request: refused; its answer lost, cut off in the middle or changed on the way; or nothing."""


class SpoilingProxy:
    """The proxy as a context manager; the entries of ``next`` apply to the next requests, in order.

    Attributes:
        next: Their fates.
        asked: The method, path and access key of each request so far.
    """

    def __init__(self, endpoint: str) -> None:
        self.next: deque[Spoilt] = deque()
        self.asked: list[tuple[str, str, str]] = []
        address = urllib.parse.urlsplit(endpoint)
        assert address.hostname
        assert address.port
        self.service = (address.hostname, address.port)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.proxy = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_any(self) -> None:
        proxy: SpoilingProxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        proxy.asked.append((self.command, self.path, key[1] if key else ""))
        spoilt = proxy.next.popleft() if proxy.next else None
        if isinstance(spoilt, Refused):
            text = f"<Error><Code>{spoilt.code}</Code><Message>refused</Message></Error>" if spoilt.code else "refused"
            headers = {"Content-Type": "application/xml", **dict(spoilt.headers)}
            self._answer(spoilt.status, headers, text.encode())
            return
        status, headers, answer = self._forward(proxy.service, body)
        if spoilt == "lost":
            self.close_connection = True
        elif spoilt == "cut":
            self._answer(status, headers, answer, sent=len(answer) // 2)
            self.close_connection = True
        elif spoilt == "changed":
            self._answer(status, headers, bytes([answer[0] ^ 1]) + answer[1:])
        else:
            self._answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_any  # noqa: N815 - the names that the base class looks for

    def _forward(self, service: tuple[str, int], body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*service, timeout=120)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)  # Host, too: it is signed
            connection.endheaders(body)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_CONNECTION}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, sent: int | None = None) -> None:
        self.send_response_only(status)
        length = {} if self.command == "HEAD" else {"Content-Length": str(len(body))}
        for name, value in (headers | length).items():
            self.send_header(name, value)
        self.end_headers()
        # The answer to HEAD has none: a client would take it for the answer to its next request.
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""


_OF_CONNECTION = ("connection", "transfer-encoding", "keep-alive")
