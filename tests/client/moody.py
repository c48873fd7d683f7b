"""A small tus server with moods: it answers as scripted before it does as asked, and forgets when told to.

It announces nothing unless it is given `offers`, as servers do that answer OPTIONS for browsers only.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Kept:
    """One upload."""

    length: int | None
    fields: dict[str, str]
    data: bytearray = field(default_factory=bytearray)


@dataclass
class Moody:
    """`moods` are (method, status, headers): the next request of that method hears this. `asked` is what came."""

    offers: dict[str, str] = field(default_factory=dict)
    moods: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    keeps_nothing: bool = False
    uploads: dict[str, Kept] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    requests: list[web.BaseRequest] = field(default_factory=list)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/files/{id:.*}", self.answer)
        return application

    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.match_info["id"]))
        self.requests.append(request)
        body = await request.read()
        for number, (method, status, headers) in enumerate(self.moods):
            if method == request.method:
                del self.moods[number]
                return web.Response(status=status, headers=headers, text="ERR_MOOD: not now\n")
        if request.method == "OPTIONS":
            return web.Response(status=204 if self.offers else 405, headers=self.offers)
        if request.method == "POST":
            return self._create(request, body)
        kept = self.uploads.get(request.match_info["id"])
        if kept is None:
            return web.Response(status=404)
        return self._append(request, kept, body) if request.method == "PATCH" else self._tell(kept)

    def _create(self, request: web.Request, body: bytes) -> web.Response:
        told = request.headers.get("Upload-Length")
        id = str(len(self.uploads))
        kept = self.uploads[id] = Kept(None if told is None else int(told), dict(request.headers), bytearray(body))
        concat = request.headers.get("Upload-Concat", "")
        if concat.startswith("final;"):
            for url in concat.removeprefix("final;").split(" "):
                kept.data += self.uploads[url.rpartition("/")[2]].data
        return web.Response(status=201, headers={"Location": f"/files/{id}", "Upload-Offset": str(len(kept.data))})

    def _append(self, request: web.Request, kept: Kept, body: bytes) -> web.Response:
        if int(request.headers["Upload-Offset"]) != len(kept.data):
            return web.Response(status=409)
        algorithm, _, digest = request.headers.get("Upload-Checksum", "").partition(" ")
        if algorithm and hashlib.new(algorithm, body).digest() != b64decode(digest):
            return web.Response(status=460)
        if "Upload-Length" in request.headers:
            kept.length = int(request.headers["Upload-Length"])
        if not self.keeps_nothing:
            kept.data += body
        return web.Response(status=204, headers={"Upload-Offset": str(len(kept.data))})

    def _tell(self, kept: Kept) -> web.Response:
        length = {"Upload-Defer-Length": "1"} if kept.length is None else {"Upload-Length": str(kept.length)}
        return web.Response(headers={"Upload-Offset": str(len(kept.data)), **length})
