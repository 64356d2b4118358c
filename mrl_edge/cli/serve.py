"""`mrl-edge serve`: a bundle → embeddings, search and classes over HTTP, for this machine's other programs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import completions, options
from mrl_edge.cpu import allowed_cores
from mrl_edge.errors import UsageError
from mrl_edge.providers import PROVIDERS

if TYPE_CHECKING:
    from mrl_edge.bundle import Bundle
    from mrl_edge.serve.choice import Wanted
    from mrl_edge.serve.limits import Limits
    from mrl_edge.serve.model import Model

_EPILOG = """Examples:

mrl-edge serve bundle --dim 64 --precision int8

mrl-edge pick results.json --max-rss-mb 120 --out choice.json && mrl-edge serve bundle --pick choice.json

curl --json '{"query": "a small musical phrase", "k": 3}' http://127.0.0.1:8000/search

SIGTERM ends it when what is under way is done.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("serve", epilog=_EPILOG)(serve)


def serve(
    bundle: options.BundleFolder,
    dim: Annotated[
        int | None, typer.Option(help="Dimension of answers and of the search; the full one by default.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Precision; the index's, else the leanest, by default.")] = None,
    depth: options.Depth = None,
    pick: Annotated[
        Path | None, typer.Option(help="A choice, as mrl-edge pick --out writes it, instead of these three.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Intra-op threads of a request; 1, or the picked, by default."),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            help="Where it computes: cpu, cuda or tensorrt; cpu, or the picked, by default.",
            autocompletion=completions.one_of(*PROVIDERS),
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Name of the model for clients; the bundle's by default.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token that clients must send as Authorization: Bearer.")
    ] = None,
    no_token: Annotated[
        bool,
        typer.Option("--no-token", help="Let everyone ask who reaches --host, where that is not this machine alone."),
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name of this machine that clients ask for, once or often.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests computed at once; cores / threads by default.")
    ] = None,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; further ones get 503.")] = 64,
    max_body_bytes: Annotated[int, typer.Option(min=1, help="Of a request; more gets 413.")] = 1 << 20,
    max_texts: Annotated[int, typer.Option(min=1, help="Of a request; more gets 400.")] = 128,
    max_chars: Annotated[int, typer.Option(min=1, help="Of a text; more gets 400.")] = 32_768,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=86_400, help="Seconds for a request; more gets 408 or 504.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Log a line of JSON a request, on stderr.")] = False,
) -> None:
    """Serve a bundle over HTTP: POST /embed, /search, /classify, /v1/embeddings as OpenAI's, GET /healthz."""
    from mrl_edge.bundle import open_bundle
    from mrl_edge.cli.providers import read_provider
    from mrl_edge.serve.app import make_app
    from mrl_edge.serve.guard import allowed_host, is_loopback, read_token
    from mrl_edge.serve.limits import Limits
    from mrl_edge.serve.log import log_to_stderr
    from mrl_edge.serve.model import open_model
    from mrl_edge.serve.run import listen, run

    token = read_token(token_file) if token_file else None
    hosts = tuple(allowed_host(given) for given in allow_host or ())
    opened = open_bundle(bundle)
    wanted = _configuration(opened, dim, precision, depth, pick, threads, provider)
    read_provider(wanted.provider)
    limits = Limits(
        body_bytes=max_body_bytes,
        texts=max_texts,
        chars=max_chars,
        concurrency=concurrency or max(1, allowed_cores() // wanted.threads),
        queue=queue,
        timeout_s=timeout,
    )
    with listen(host, port) as listening:  # before the model, which takes longer to load
        if token is None and not no_token and not is_loopback(listening.getsockname()[0]):
            raise UsageError(f"--host {host} is reached from outside: say who may ask with --token-file, or --no-token")
        model = open_model(opened, wanted, name)
        log_to_stderr(as_json)
        notes = [*wanted.notes, *([f"no /search: {model.no_search}"] if model.no_search else [])]
        app = make_app(model, limits, token, hosts)
        if token is None and no_token:
            notes.append(f"who reaches {host} may ask: there is no token")
        _announce(model, limits, wanted, listening, notes)
        run(app, listening, limits)


def _configuration(
    bundle: Bundle,
    dim: int | None,
    precision: str | None,
    depth: int | None,
    pick: Path | None,
    threads: int | None,
    provider: str | None,
) -> Wanted:
    from mrl_edge.choice import read_choice
    from mrl_edge.serve.choice import configure, configure_picked

    if pick is None:
        return configure(bundle, dim, precision, depth, threads, provider)
    if any(option is not None for option in (dim, precision, depth)):
        raise UsageError("--pick says dimension, precision and depth: leave --dim, --precision and --depth out")
    return configure_picked(bundle, read_choice(pick, bundle), threads, provider)


def _announce(model: Model, limits: Limits, wanted: Wanted, listening: socket.socket, notes: Sequence[str]) -> None:
    """Say what is served and where, in the log's own form."""
    from mrl_edge.serve.log import announce
    from mrl_edge.serve.run import url_of

    announce(
        url_of(listening),
        {
            "model": model.name,
            "precision": wanted.variant.precision,
            "depth": wanted.variant.depth,
            "dim": wanted.dim,
            "threads": wanted.threads,
            "concurrency": limits.concurrency,
            "documents": model.retrieval.n_items if model.retrieval else 0,
            "classes": len(model.encoder.classes),
        },
        notes,
    )
