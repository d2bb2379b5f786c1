"""Bodies of type multipart/form-data, which deployments and small ingest jobs come in."""

from __future__ import annotations


def multipart(body: bytes, content_type: str) -> dict[str, bytes]:
    """The parts of a multipart/form-data body by name."""
    _, _, boundary = content_type.partition("boundary=")
    boundary = boundary.split(";")[0].strip().strip('"')
    parts: dict[str, bytes] = {}
    for part in body.split(b"--" + boundary.encode())[1:-1] if boundary else []:
        head, _, payload = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        _, _, name = head.decode("utf-8", "replace").partition('name="')
        parts[name.partition('"')[0]] = payload.removesuffix(b"\r\n")
    return parts
