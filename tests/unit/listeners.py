"""Servers on loopback that take alerts: their conversations are real."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, StreamRequestHandler, ThreadingTCPServer
from threading import Thread


@contextmanager
def served(handler: type[BaseRequestHandler]) -> Iterator[int]:
    """A server on loopback; its port."""
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@dataclass(frozen=True)
class Mails:
    """What a mail server takes (a message with its envelope is one text), which addresses it refuses, and every word that it heard."""

    taken: list[str]
    refused: Collection[str] = ()
    context: ssl.SSLContext | None = None
    is_tls_at_once: bool = False
    heard: list[str] = field(default_factory=list)


ANSWERS = {
    "EHLO": "250-mail.invalid\r\n250-AUTH PLAIN\r\n250 STARTTLS", "STARTTLS": "220 go on", "AUTH": "235 welcome", "QUIT": "221 bye",
}  # fmt: skip


class _Smtp(StreamRequestHandler):
    mails: Mails

    def handle(self) -> None:
        with suppress(OSError):  # a client that finds the certificate wanting goes
            if self.mails.is_tls_at_once:
                self._secure()
            self._talk()

    def _secure(self) -> None:
        assert self.mails.context is not None
        self.request = self.mails.context.wrap_socket(self.request, server_side=True)
        self.setup()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _message(self) -> Iterator[str]:
        self._say("354 go on")
        while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
            yield text

    def _talk(self) -> None:
        self._say("220 mail.invalid ready")
        envelope: list[str] = []
        word = ""
        while word != "QUIT" and (line := self.rfile.readline().decode().strip()):
            word, _, rest = line.partition(" ")
            word = word.upper()
            self.mails.heard.append(word)
            is_refused = word == "RCPT" and any(f"<{each}>" in rest for each in self.mails.refused)
            if word in ("MAIL", "RCPT") and not is_refused:
                envelope.append(f"X-{word}: {rest}")
            if word == "DATA":
                self.mails.taken.append("\n".join([*envelope, *self._message()]))
            self._say("550 no such person" if is_refused else ANSWERS.get(word, "250 ok"))
            if word == "STARTTLS":
                self._secure()


def smtp(mails: Mails) -> type[BaseRequestHandler]:
    """A mail server."""
    return type("Smtp", (_Smtp,), {"mails": mails})
