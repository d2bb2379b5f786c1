"""Social handles out of profile URLs and bare handles: one by one, and where the answer is certain by Arrow kernels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute

#: The stubs of the kernels know no column whose type is only known at run time.
Column = Any
pc: Any = pyarrow.compute

LENGTH = 510  # characters of a URL that may still name a profile


@dataclass(frozen=True, slots=True)
class _Network:
    """Where a network has its profiles: hosts, the path of a handle, and the handles that are certain at first sight."""

    hosts: tuple[str, ...]
    path: str
    plain: str
    before: str = "/"  # the path in front of a plain handle


NETWORKS: Mapping[str, _Network] = {
    "linkedin": _Network(("linkedin.com",), r"/(?:in|pub)/([^/?#]+)", r"[a-z0-9_-]{1,100}", "/(?:in|pub)/"),
    "twitter": _Network(("twitter.com", "x.com"), r"/@?(\w{1,15})", r"[a-z0-9_]{1,15}", "/@?"),
    "facebook": _Network(("facebook.com", "fb.com"), r"/(?:profile\.php\?id=(?=\d))?([\w.]+)", r"[a-z0-9_]{1,60}"),
    "instagram": _Network(("instagram.com",), r"/([\w.]+)", r"[a-z0-9_.]{1,60}"),
    "xing": _Network(("xing.com",), r"/profile/([^/?#]+)", r"[a-z0-9_-]{1,100}", "/profile/"),
    "github": _Network(("github.com",), r"/([\w-]+)", r"[a-z0-9-]{1,60}"),
}
_HANDLE = re.compile(r"@?([^\s/@:?#]{1,100})")
_UNREADABLE = "\ufffd"  # what stands for bytes that are no text
_PLAIN_HANDLE = r"^@?[a-z0-9_.-]{1,100}$"


@lru_cache(maxsize=20_000)
def parse(value: str, network: str = "") -> tuple[str | None, str | None]:
    """(`network:handle`, None) or (None, reason). Without `network` only a URL of a known one can be read."""
    if len(value) > LENGTH:
        return None, f"longer than {LENGTH} characters"
    if "/" not in value:
        match = _HANDLE.fullmatch(value)
        if match and network:
            return f"{network}:{_readable(match.group(1).lower())}", None
        return None, "not a handle"
    host, _, rest = re.sub(r"^(?:https?:)?//", "", value.lower()).partition("/")
    for name, known in NETWORKS.items():
        if network in ("", name) and any(host == one or host.endswith(f".{one}") for one in known.hosts):
            match = re.match(known.path, f"/{rest}")
            return (
                (f"{name}:{_readable(match.group(1))}", None) if match else (None, f"not the URL of a {name} profile")
            )
    return None, f"not the URL of a {network or 'known'} profile"


def _readable(handle: str) -> str:
    """A handle as its network shows it, also where a URL writes its letters in percents."""
    plain = unicodedata.normalize("NFC", unquote(handle)).lower()
    return plain if _HANDLE.fullmatch(plain) and plain.isprintable() and _UNREADABLE not in plain else handle


def common(text: Column, network: str) -> Column:
    """`parse` for texts in ASCII lower case where its answer is certain from their shape; null for all others."""
    values: Column = pa.nulls(len(text), pa.string())
    for name in NETWORKS if not network else (network,):
        if name in NETWORKS:
            values = pc.coalesce(values, _of_url(text, name))
    if network:
        is_handle = pc.match_substring_regex(text, _PLAIN_HANDLE)
        handles = pc.utf8_ltrim(pc.if_else(is_handle, text, None), "@")
        values = pc.coalesce(values, named(handles, network))
    return values


def named(handles: Column, network: str) -> Column:
    """`network:handle` of each handle or id."""
    return pc.binary_join_element_wise(network, handles, ":")


def _of_url(text: Column, name: str) -> Column:
    known = NETWORKS[name]
    hosts = "|".join(re.escape(host) for host in known.hosts)
    shape = rf"^(?:(?:https?:)?//)?(?:[a-z]{{2,3}}\.)?(?:{hosts}){known.before}(?P<handle>{known.plain})(?:[/?#][!-~]{{0,100}})?$"
    handles = pc.struct_field(pc.extract_regex(text, shape), "handle")
    return named(handles, name)
