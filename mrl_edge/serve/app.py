"""The service as an ASGI application: its paths, and every error as one JSON answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mrl_edge.serve import endpoints
from mrl_edge.serve.bodies import (
    ClassifyRequest,
    EmbeddingsRequest,
    EmbedRequest,
    Health,
    ModelCard,
    ModelList,
    SearchRequest,
)
from mrl_edge.serve.endpoints import Job, Served, check_model
from mrl_edge.serve.errors import ApiError, full, gone, timed_out
from mrl_edge.serve.gate import Full, Gate
from mrl_edge.serve.guard import Guard
from mrl_edge.serve.limits import Limits
from mrl_edge.serve.log import AccessLog
from mrl_edge.serve.model import Model
from mrl_edge.serve.reading import read_body
from mrl_edge.serve.rest import Rest

_T = TypeVar("_T")
_PATHS = "POST /embed, /search, /classify and /v1/embeddings, GET /v1/models and /healthz"
_Handler = Callable[[Request], Awaitable[Response]]


def make_app(model: Model, limits: Limits, token: str | None, hosts: tuple[str, ...]) -> Starlette:
    """Return the application; without a `token` it answers to this machine's addresses and to `hosts` alone."""
    served, gate = Served(model, limits), Gate(limits.concurrency, limits.queue)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, gate.close)

    return Starlette(
        routes=[
            _post("/embed", served, gate, EmbedRequest, endpoints.embed),
            _post("/search", served, gate, SearchRequest, endpoints.search),
            _post("/classify", served, gate, ClassifyRequest, endpoints.classify),
            _post("/v1/embeddings", served, gate, EmbeddingsRequest, endpoints.embeddings),
            Route("/v1/models", _models(model)),
            Route("/v1/models/{name:path}", _model(model)),
            Route("/healthz", _health(model, gate)),
        ],
        middleware=[Middleware(AccessLog), Middleware(Rest), Middleware(Guard, token=token, hosts=hosts)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _fault},
        lifespan=life,
    )


def _post(path: str, served: Served, gate: Gate, shape: type[_T], prepare: Callable[[Served, _T], Job]) -> Route:
    """Make a route that reads a body of a shape, and answers with what the prepared job gives."""
    limits = served.limits

    async def answer(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        end = loop.time() + limits.timeout_s
        try:
            with gate.reading():
                asked = await read_body(request, shape, limits, limits.timeout_s)
            job = prepare(served, asked)
            body = await _unless_gone(request, gate.run(job, end - loop.time()))
        except Full:
            raise full(limits.queue) from None
        except asyncio.TimeoutError:
            raise timed_out(limits.timeout_s) from None
        return Response(body, media_type="application/json")

    return Route(path, answer, methods=["POST"])


async def _unless_gone(request: Request, computing: Awaitable[bytes]) -> bytes:
    """Return what is computed; a client that hangs up before is computed for no longer."""
    work = asyncio.ensure_future(computing)
    leaving = asyncio.ensure_future(_leaves(request))
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise gone()
        return work.result()
    finally:
        work.cancel()
        leaving.cancel()


async def _leaves(request: Request) -> None:
    """Return when the client has closed the connection, which is all that comes after a whole body."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _models(model: Model) -> _Handler:
    async def answer(_: Request) -> Response:
        return _json(ModelList([ModelCard(model.name, model.created)]))

    return answer


def _model(model: Model) -> _Handler:
    async def answer(request: Request) -> Response:
        check_model(model, request.path_params["name"])
        return _json(ModelCard(model.name, model.created))

    return answer


def _health(model: Model, gate: Gate) -> _Handler:
    async def answer(_: Request) -> Response:
        return _json(
            Health(
                status="ok",
                model=model.name,
                precision=model.encoder.precision,
                depth=model.encoder.depth,
                dim=model.dim,
                dims=model.encoder.dims,
                documents=model.retrieval.n_items if model.retrieval else None,
                classes=len(model.encoder.classes),
                running=gate.running,
                waiting=gate.waiting,
            )
        )

    return answer


def _json(value: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 (which alone is given to this handler)
    return error.answer()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    said = {404: f"there is no such path: there is {_PATHS}", 405: "this path takes another method"}
    codes = {404: "not_found", 405: "method_not_allowed"}
    status = error.status_code
    message, code = said.get(status, error.detail), codes.get(status, "http_error")
    return ApiError(status, message, code, None, error.headers).answer()


async def _fault(request: Request, error: Exception) -> Response:
    """Answer when something of ours failed; starlette hands the exception on, and its traceback is logged."""
    return ApiError(500, f"the service failed: {type(error).__name__}", "internal_error").answer()
