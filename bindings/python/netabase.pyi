"""A SQL database whose tables live on a peer-to-peer network."""

from os import PathLike
from types import TracebackType
from typing import Any, Literal, Sequence, final

__version__: str

class Error(Exception):
    """Base of everything that goes wrong; its text names the thing and the way out."""

    kind: str
    """invalid_input, not_found, conflict, capacity, unavailable, corrupt, io or other."""

class InvalidInputError(Error):
    """An argument or a statement is wrong; the same call fails again."""

class NotFoundError(Error):
    """The named thing does not exist."""

class ConflictError(Error):
    """The input contradicts itself or what is stored."""

class CapacityError(Error):
    """A limit is reached: free something or raise it, then try again."""

class UnavailableError(Error):
    """A peer cannot be reached, the folder is in use, or the database is closed."""

class CorruptError(Error):
    """Stored bytes are damaged; the text says which, and the way out."""

class IoError(Error):
    """The operating system refused."""

@final
class Result:
    """The answer to one statement.

    Read it with `rows()`, or hand it to an Arrow library, for instance `pyarrow.table(result)`. The
    latter streams the rows, which can then be read only once.
    """

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""

    @property
    def coverage(self) -> dict[str, Any]:
        """What the rows cover: shards_total, shards_answered, peers, rows, bytes, elapsed (seconds),
        retries and tables. Complete after the last row has been read."""

    @property
    def receipt(self) -> dict[str, Any] | None:
        """What a write reached: rows, shards, peers, replicas and bytes; None for anything else."""

    @property
    def plan(self) -> str | None:
        """The plan as text, with the peers it runs on."""

    def rows(self) -> list[tuple[Any, ...]]:
        """Every row. Timestamps with a time zone are datetimes in UTC, those without are naive; what
        is finer than a microsecond is cut off. Decimals are `decimal.Decimal`, lists are lists,
        structs are dicts; types that Python has no word for are text."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

@final
class Database:
    """An open database: a peer of a network, or alone. Safe to share between threads; do not use it
    after a fork."""

    @property
    def peer_id(self) -> str:
        """This peer's id; it stays the same for a data folder."""

    @property
    def addresses(self) -> list[str]:
        """The addresses that other peers can join through."""

    def sql(self, text: str) -> Result:
        """Runs one statement."""

    def put(self, key: bytes, value: bytes) -> dict[str, Any]:
        """Stores a value under a key; says what the write reached."""

    def get(self, key: bytes) -> bytes | None:
        """Reads the value of a key; None when there is none."""

    def delete(self, key: bytes) -> bool:
        """Removes a key; says whether it had a value."""

    def peers(self) -> list[dict[str, Any]]:
        """The other peers that are ready: id, role, addresses, tables and rows."""

    def wait_for_peers(self, count: int, timeout: float = 30.0) -> None:
        """Waits until that many other peers are ready, for at most `timeout` seconds."""

    def close(self) -> None:
        """Leaves the network and makes everything durable; closing again does nothing."""

    def __enter__(self) -> Database: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

def open(
    data_dir: str | PathLike[str] | None = None,
    network: str | None = None,
    bootstrap: Sequence[str] = (),
    listen: Sequence[str] | None = None,
    role: Literal["client", "server"] = "client",
    mdns: bool = False,
    deadline: float | None = None,
) -> Database:
    """Opens a database.

    Without `data_dir` everything is in memory; without `network` no network is used. A client only
    asks and writes; a server also holds shards. `deadline` is the budget in seconds of one remote
    call; the default is 20.
    """
