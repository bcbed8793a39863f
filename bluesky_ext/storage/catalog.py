"""Catalogues: the client of a Tiled catalogue, embedded in a directory or on a server."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bluesky_ext.storage.requests import PendingRequests

__all__ = ["close_catalog", "is_container", "open_catalog"]

logger = logging.getLogger(__name__)

_DATABASE = "catalog.db"
_TABLES = "tables.db"
_DATA = "data"
IMAGES = "images"
"""The directory beside an embedded catalogue with the files of the images of its runs."""
_PATIENCE = 30.0  # s, for requests under way when it is closed


def open_catalog(
    where: object,
    *,
    api_key: str | None = None,
    structure_clients: str = "dask",
    readable_storage: Sequence[str | os.PathLike[str]] = ("/",),
) -> Any:
    """Return the client of a Tiled catalogue: of one in a directory, on a server, of a profile, or the one given.

    `close_catalog` closes it; what is left open is closed when the process ends.

    Parameters
    ----------
    where : str, path or client
        - a client of a Tiled container: it is returned as it is;
        - an address, as ``"https://tiled.site.org/api/v1"``, of a server or of a container on it;
        - the name of a profile of Tiled: a str without a slash or a leading ``~``;
        - a directory: a path, or a str with a slash. The catalogue in it works within this process, without a server;
          it is made if it is not there, and many processes may open it, and make it, at once. It belongs on a local
          disk: SQLite cannot be shared by machines. What is made is for its owner alone (0700, 0600).
    api_key : str, optional
        The key for an address or a profile. It is never put into an address, which ends up in logs; without one, Tiled
        looks for ``TILED_API_KEY``.
    structure_clients : {"dask", "numpy"}
        Whether arrays are read when they are computed, or at once.
    readable_storage : sequence of str or path
        For a directory: where files of detectors may be that runs refer to. By default everywhere: nobody but this
        process can ask an embedded catalogue for them.

    Raises
    ------
    ImportError
        If Tiled is not installed.
    TypeError, ValueError
        If `where` is nothing of this kind, a key is given to what takes none, an address contains one, or a directory
        has a question mark, a number sign or what is not printable in its name.
    LookupError
        If there is no profile of that name.
    OSError
        If the directory cannot be made or written to, holds no catalogue that this version of Tiled can read, or the
        server does not answer or refuses. It names the directory or the address.
    """
    if structure_clients not in ("dask", "numpy"):
        raise ValueError(f"structure_clients {structure_clients!r}: choose 'dask' or 'numpy'")
    if is_container(where):
        _without_key(api_key, "a client that is open already")
        return where
    if isinstance(where, str) and re.match(r"[a-z][a-z0-9+.-]*://", where, re.IGNORECASE):
        return _of_server(where, api_key, structure_clients)
    if isinstance(where, str) and "/" not in where and not where.startswith((".", "~")):
        return _of_profile(where, api_key, structure_clients)
    if isinstance(where, str | os.PathLike):
        _without_key(api_key, "an embedded catalogue")
        return _of_directory(_directory(where), structure_clients, readable_storage)
    raise TypeError(
        f"{type(where).__module__}.{type(where).__qualname__} is no catalogue: give a directory, an address, "
        "the name of a profile, or the client of a Tiled container"
    )


def close_catalog(client: Any) -> None:
    """Close a catalogue that `open_catalog` returned: its connections, and an embedded one's database.

    All clients that came from it are closed with it, and raise when they are used. Closing twice does nothing.
    """
    http_client = client.context.http_client
    if isinstance(http_client.send, PendingRequests) and not http_client.send.shut(_PATIENCE):
        logger.warning("%s is closed while a request has been under way for %g s", client.uri, _PATIENCE)
    client.context.close()
    try:
        http_client.close()  # that of an embedded one would start the app again, without its set-up
    except RuntimeError as error:  # of anyio, whose thread has gone in the middle of a request
        logger.warning("%s was closed while a request was under way: %s", client.uri, error)


def probe(client: Any, seconds: float) -> None:
    """Ask a catalogue once if it is there; raise what httpx or Tiled raises if no answer comes in so many seconds."""
    from tiled.client.utils import handle_error  # pyright: ignore[reportMissingImports]

    http_client = client.context.http_client
    handle_error(http_client.send(http_client.build_request("GET", client.uri, timeout=seconds)))


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path, of one that may begin with ``~``."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"the path {os.fspath(path)!r}: there is no user of that name ({error})") from error


def is_container(thing: object) -> bool:
    """Whether this is the client of a Tiled container, by what it can do."""
    return all(hasattr(thing, name) for name in ("create_container", "write_array", "context"))


def _directory(where: str | os.PathLike[str]) -> Path:
    directory = expanded(where)
    # Tiled and SQLAlchemy make addresses of it, and read them again, each in its own way.
    if odd := sorted({character for character in str(directory) if character in "?#" or not character.isprintable()}):
        raise ValueError(
            f"the directory {str(directory)!r} has {', '.join(map(repr, odd))} in it: give it another name"
        )
    return directory


def _of_server(address: str, api_key: str | None, structure_clients: str) -> Any:
    user, at, host = address.partition("://")[2].partition("/")[0].rpartition("@")
    if at:
        raise ValueError(f"the address of {host} contains {'a password' if ':' in user else 'a user'}: give api_key=")
    if re.search(r"[?&]api_key=", address, re.IGNORECASE):
        shown = address.partition("?")[0]
        raise ValueError(f"the address {shown} contains its key, which would end up in logs: give it as api_key=")
    with _tiled():
        from tiled.client import Context, from_context  # pyright: ignore[reportMissingImports]
    with _in_a_line(address, "is the server running, and the key right?"):
        context, path = Context.from_any_uri(address, api_key=api_key)
        try:
            return from_context(context, structure_clients, path)
        except BaseException:
            context.close()
            raise


def _of_profile(name: str, api_key: str | None, structure_clients: str) -> Any:
    with _tiled():
        from tiled.client import from_profile  # pyright: ignore[reportMissingImports]
        from tiled.profiles import list_profiles  # pyright: ignore[reportMissingImports]
    profiles = list_profiles()
    if name not in profiles:
        known = ", ".join(profiles) or "there are none"
        raise LookupError(f"no profile {name!r} of Tiled ({known}); if it is a directory, write './{name}'")
    key = {} if api_key is None else {"api_key": api_key}
    with _in_a_line(f"profile {name!r}", "is its server running, and the key right?"), _quiet():
        return from_profile(name, structure_clients, **key)


def _of_directory(directory: Path, structure_clients: str, readable: Sequence[str | os.PathLike[str]]) -> Any:
    with _tiled():
        from tiled.catalog import from_uri  # pyright: ignore[reportMissingImports]
        from tiled.client import Context, from_context  # pyright: ignore[reportMissingImports]
        from tiled.server.app import build_app  # pyright: ignore[reportMissingImports]

        _register_exporter()
    with _quiet(), _writing_to(directory):
        database, tables = _prepare(directory)
    with _in_a_line(str(directory), "is it a catalogue of this version of Tiled?"), _quiet():
        # Tables in SQLite, as DuckDB lets one process in only; `init_if_not_exists` would start a process each time,
        # and fails when several do (https://github.com/bluesky/tiled/blob/main/tiled/catalog/adapter.py, `from_uri`).
        tree = from_uri(
            f"sqlite:///{database}",
            writable_storage=[directory / _DATA, f"sqlite:///{tables}"],
            readable_storage=[directory / IMAGES, *(Path(path).expanduser().absolute() for path in readable)],
        )
        # Errors of the server come as responses, so that the client tries again when the database was locked.
        app = build_app(tree)
        app.dependency_overrides = _Overrides(app.dependency_overrides)
        context = Context.from_app(app, raise_server_exceptions=False)
        context.http_client.send = PendingRequests(context.http_client, directory, tree)
        return from_context(context, structure_clients)


class _Overrides(dict):
    """Those of Tiled's app, without effect: FastAPI builds all dependencies of a request anew if there is one.

    There is one, and what it gives is the object of which it takes the place: the settings of this process.
    """

    def __bool__(self) -> bool:
        return False


def _prepare(directory: Path) -> tuple[Path, Path]:
    """Make what is not there yet, and return the paths of the two databases."""
    database, tables = directory / _DATABASE, directory / _TABLES
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (_DATA, IMAGES):
        (directory / name).mkdir(exist_ok=True, mode=0o700)
    if not database.exists():
        # In a thread of its own: asyncio.run is refused where a loop runs already, as in Jupyter.
        failures: list[BaseException] = []
        thread = threading.Thread(target=_create, args=(database, failures))
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
    # SQLite takes an empty file, and gives its journals the permissions of the database.
    os.close(os.open(tables, os.O_RDWR | os.O_CREAT, 0o600))
    for path in (directory / _DATA, database, tables):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return database, tables


def _create(database: Path, failures: list[BaseException]) -> None:
    """Make a database beside, and give it its name at once and whole; if another process was faster, use that one."""
    from sqlalchemy.ext.asyncio import create_async_engine  # pyright: ignore[reportMissingImports]
    from tiled.alembic_utils import stamp_head  # pyright: ignore[reportMissingImports]
    from tiled.catalog.alembic_constants import (  # pyright: ignore[reportMissingImports]
        ALEMBIC_DIR,
        ALEMBIC_INI_TEMPLATE_PATH,
    )
    from tiled.catalog.core import initialize_database  # pyright: ignore[reportMissingImports]

    draft = database.with_name(f".{database.name}.{uuid.uuid4().hex}")
    address = f"sqlite+aiosqlite:///{draft}"

    async def initialize() -> None:
        engine = create_async_engine(address)
        try:
            await initialize_database(engine)
        finally:
            await engine.dispose()

    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        asyncio.run(initialize())
        stamp_head(Path(ALEMBIC_INI_TEMPLATE_PATH), Path(ALEMBIC_DIR), address)
        # The last connection is closed: all of it is in this file, and nothing in a write-ahead log of the old name.
        os.link(draft, database)
    except FileExistsError:
        pass
    except BaseException as error:
        failures.append(error)
    finally:
        draft.unlink(missing_ok=True)


def _register_exporter() -> None:
    """Let the app export runs as documents; it finds that by itself only where it is made from a configuration."""
    from bluesky_tiled_plugins.exporters import json_seq_exporter  # pyright: ignore[reportMissingImports]
    from tiled.media_type_registration import (  # pyright: ignore[reportMissingImports]
        default_serialization_registry,
    )

    default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)


def _without_key(api_key: str | None, what: str) -> None:
    if api_key is not None:
        raise ValueError(f"api_key is for servers, and {what} takes none: leave it out")


@contextmanager
def _tiled() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError("a catalogue needs Tiled: pip install 'bluesky-ext[tiled]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Tiled's own calls make other libraries warn of: nobody here can change them."""
    with warnings.catch_warnings():
        # Tiled speaks to an app in this process by starlette's client for tests, which wants another httpx.
        warnings.filterwarnings("ignore", message=".*httpx.*", category=UserWarning)
        # Its template of alembic.ini is older than its alembic.
        warnings.filterwarnings("ignore", message="No path_separator found", category=DeprecationWarning)
        yield


@contextmanager
def _writing_to(directory: Path) -> Iterator[None]:
    """Say what to do about a directory that cannot be written to."""
    try:
        yield
    except OSError as error:
        message = f"{error.strerror or error}: the catalogue {directory} needs a directory that you may write to"
        raise type(error)(error.errno, message, error.filename) from error


@contextmanager
def _in_a_line(where: str, question: str) -> Iterator[None]:
    """Turn what Tiled, httpx and SQLAlchemy raise into an OSError of one line."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "orig", None) or error  # that of SQLAlchemy has the statement too
        said = " ".join(str(reason).split())[:300] or type(error).__name__
        if "database is locked" in said:
            question = "another program writes to it for long: try again, or end that"
        raise OSError(f"{where} could not be opened ({said}): {question}") from error
