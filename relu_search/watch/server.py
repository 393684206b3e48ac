"""Serves the page to this machine alone. Nothing that a browser sends changes anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relu_search.watch.run_watch import FolderWatch, Part, RunWatch, changes, page
from search_spaces import InputError
from search_spaces.errors import one_line

HOST = "127.0.0.1"
_FILES = {
    "watch.css": "relu_search.watch",
    "watch.js": "relu_search.watch",
    "theme.js": "relu_search.watch",
    "draw.js": "relu_search.charts",
    "package_data/plotly.min.js": "plotly",
}
"""What a page loads -> the package that has it."""
_HEADERS = {
    # Plotly needs styles in the page; a style can neither run code nor send anything here.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_REVALIDATED = {"Cache-Control": "no-cache"}
_LONGEST_FILTER = 200


def bound_socket(port: int | None) -> socket.socket:
    """A socket of this machine alone; port None means a free one.

    Raises:
        InputError: the port is impossible, in use, or may not be used.
    """
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"port {port} is impossible; give one from 1 to 65535 with --port")
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port or 0))
    except OSError as error:
        bound.close()
        raise InputError(
            f"port {port} of {HOST} cannot be used ({error.strerror or error}); give another with "
            "--port, or leave it out for a free one"
        ) from error
    return bound


def serve(
    folder: FolderWatch, bound: socket.socket, begun: Callable[[], None] = lambda: None
) -> None:
    """Serve the page of a run or of a folder until this thread is interrupted.

    Args:
        folder: what to show.
        bound: of `bound_socket`.
        begun: is called once the server answers.
    """
    settings = uvicorn.Config(
        application(folder),
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(settings)
    # In a thread of its own it leaves the signals to the command line.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    bound.listen()  # from here on, who asks gets an answer
    thread.start()
    try:
        begun()
        thread.join()
    finally:
        server.should_exit = True
        thread.join()


def application(folder: FolderWatch) -> ASGIApp:
    """The page as an ASGI application."""

    def start(request: Request) -> Response:
        if folder.single is not None:
            return RedirectResponse(f"/run/{folder.single.key}")
        return _page(
            request,
            folder.parts,
            title=f"{folder.path.name}: relu-search",
            heading="Runs",
            path=str(folder.path),
            above="",
            changes="/changes",
        )

    def run_page(request: Request) -> Response:
        one = wanted(request)
        return _page(
            request,
            one.parts,
            title=f"{one.run.path.name}: relu-search",
            heading=one.run.path.name,
            path=str(one.run.path),
            above="" if folder.single is not None else "All runs",
            changes=f"/run/{one.key}/changes",
        )

    def wanted(request: Request) -> RunWatch:
        one = folder.find(request.path_params["key"])
        if one is None:
            raise HTTPException(404, "There is no such run any more.")
        return one

    app = Starlette(
        routes=[
            Route("/", start),
            Route("/changes", lambda request: _changes(request, folder.parts)),
            Route("/run/{key}", run_page),
            Route("/run/{key}/changes", lambda request: _changes(request, wanted(request).parts)),
            Route("/static/{name:path}", _static),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)
        ],
        exception_handlers={Exception: _fault},
    )
    return _with_headers(app)


def _page(request: Request, parts: Callable[[str], dict[str, Part]], **values: Any) -> Response:
    text = _filter(request)
    return HTMLResponse(page("page.html.j2", parts=parts(text), filter=text, **values))


def _changes(request: Request, parts: Callable[[str], dict[str, Part]]) -> Response:
    known = set(request.query_params.get("known", "").split(","))
    return Response(changes(parts(_filter(request)), known), media_type="application/json")


def _filter(request: Request) -> str:
    return request.query_params.get("filter", "")[:_LONGEST_FILTER]


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(str(resources.files(_FILES[name]) / name), headers=_REVALIDATED)


def _fault(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(one_line(f"{type(error).__name__}: {error}"), 500)


def _with_headers(app: ASGIApp) -> ASGIApp:
    """The application with the headers of a page that needs nothing from elsewhere."""
    headers = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        await app(scope, receive, send_with_headers)

    return answer
