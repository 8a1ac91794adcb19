"""The Python module, alone and, where a network is given, as one of its peers.

The network part runs when NETABASE_BOOTSTRAP and NETABASE_NETWORK name a network that holds the
flights data. NETABASE_EXPECT_KEY and NETABASE_EXPECT_VALUE name an object that somebody else stored.
"""

import datetime
import decimal
import os
import pathlib
import threading

import pytest

import netabase

QUESTION = pathlib.Path(__file__).parents[2] / "console" / "sql"


@pytest.fixture
def db():
    with netabase.open() as database:
        yield database


def test_rows_columns_and_coverage(db):
    db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT, weight DOUBLE)")
    written = db.sql("INSERT INTO t VALUES (1, 'one', 1.5), (2, NULL, NULL)")
    assert written.receipt["rows"] == 2
    result = db.sql("SELECT id, name, weight FROM t ORDER BY id")
    assert result.columns == ["id", "name", "weight"]
    assert result.rows() == [(1, "one", 1.5), (2, None, None)]
    assert result.rows() == [(1, "one", 1.5), (2, None, None)], "rows stay"
    assert result.receipt is None
    coverage = result.coverage
    assert coverage["rows"] == 2
    assert coverage["shards_answered"] == coverage["shards_total"] > 0
    assert coverage["peers"] == [db.peer_id]
    assert coverage["tables"][0]["table"] == "t"
    assert "one" in repr(result)


def test_every_type_has_its_python_value(db):
    (row,) = db.sql(
        """SELECT true, 1, 1.5, 'text', X'00ff', NULL, DATE '2013-01-31',
               TIMESTAMP '2013-01-31 12:30:00.000001',
               CAST(1.25 AS DECIMAL(10, 2)), make_array('a', 'b')"""
    ).rows()
    assert row == (
        True,
        1,
        1.5,
        "text",
        b"\x00\xff",
        None,
        datetime.date(2013, 1, 31),
        datetime.datetime(2013, 1, 31, 12, 30, 0, 1),
        decimal.Decimal("1.25"),
        ["a", "b"],
    )
    (zoned,) = db.sql("SELECT arrow_cast('1969-12-31T23:59:59Z', 'Timestamp(ns, \"+00:00\")')").rows()
    assert zoned == (datetime.datetime(1969, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc),)


def test_objects_are_bytes_by_key_and_rows_in_sql(db):
    assert db.get(b"key") is None
    assert db.delete(b"key") is False
    assert db.put(b"key", b"\x00value")["rows"] == 1
    assert db.get(b"key") == b"\x00value"
    assert db.sql("SELECT key, value FROM objects").rows() == [(b"key", b"\x00value")]
    assert db.delete(b"key") is True
    assert db.get(b"key") is None


def test_errors_have_classes_and_kinds(db):
    with pytest.raises(netabase.InvalidInputError) as wrong:
        db.sql("SELEC 1")
    assert wrong.value.kind == "invalid_input"
    with pytest.raises(netabase.NotFoundError, match="nowhere"):
        db.sql("SELECT * FROM nowhere")
    db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    with pytest.raises(netabase.Error) as twice:
        db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    assert type(twice.value) is netabase.ConflictError
    with pytest.raises(netabase.InvalidInputError, match="peer"):
        netabase.open(role="peer")
    with pytest.raises(netabase.InvalidInputError, match="network"):
        netabase.open(bootstrap=["/ip4/127.0.0.1/tcp/1"])


def test_a_closed_database_says_so():
    db = netabase.open()
    db.close()
    db.close()
    with pytest.raises(netabase.UnavailableError, match="closed"):
        db.sql("SELECT 1")


def test_a_folder_keeps_rows_and_identity(tmp_path):
    with netabase.open(tmp_path / "data") as db:
        peer = db.peer_id
        db.put(b"key", b"value")
    with netabase.open(str(tmp_path / "data")) as db:
        assert db.peer_id == peer
        assert db.get(b"key") == b"value"


def test_arrow_stream(db):
    pyarrow = pytest.importorskip("pyarrow")
    db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)")
    db.sql("INSERT INTO t VALUES (1, 'a name longer than twelve bytes'), (2, NULL)")
    result = db.sql("SELECT id, name FROM t ORDER BY id")
    table = pyarrow.table(result)
    assert table.to_pydict() == {"id": [1, 2], "name": ["a name longer than twelve bytes", None]}
    assert result.coverage["rows"] == 2
    with pytest.raises(netabase.InvalidInputError, match="handed over"):
        result.rows()
    read = db.sql("SELECT name FROM t")
    read.rows()
    for _ in range(2):
        assert pyarrow.table(read).num_rows == 2, "rows in memory can be handed over again"


def test_threads_share_a_database(db):
    db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY)")
    failures = []

    def write(number):
        try:
            db.sql(f"INSERT INTO t VALUES ({number})")
        except netabase.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert db.sql("SELECT count(*) FROM t").rows() == [(8,)]


networked = pytest.mark.skipif(
    not (os.environ.get("NETABASE_BOOTSTRAP") and os.environ.get("NETABASE_NETWORK")),
    reason="NETABASE_BOOTSTRAP and NETABASE_NETWORK name no network",
)


@pytest.fixture(scope="module")
def peer():
    addresses = os.environ["NETABASE_BOOTSTRAP"].split(",")
    with netabase.open(network=os.environ["NETABASE_NETWORK"], bootstrap=addresses) as database:
        database.wait_for_peers(1)
        yield database


@networked
@pytest.mark.parametrize("part, rows", [("delays_by_airline", 60), ("delays_by_origin", 3)])
def test_the_question(peer, part, rows):
    result = peer.sql((QUESTION / f"{part}.sql").read_text())
    answer = result.rows()
    assert len(answer) == rows
    averages = [row[result.columns.index("avg_arr_delay")] for row in answer]
    known = [average for average in averages if average is not None]
    assert known == sorted(known, reverse=True)
    assert averages[: len(known)] == known, "unknown averages come last"
    coverage = result.coverage
    assert coverage["shards_answered"] == coverage["shards_total"]
    assert coverage["bytes"] > 0
    assert peer.peer_id not in coverage["peers"]
    assert {table["table"] for table in coverage["tables"]} >= {"flights"}


@networked
def test_what_python_writes_is_a_row_for_everybody(peer):
    assert {other["role"] for other in peer.peers()} >= {"server"}
    receipt = peer.put(b"written in Python", b"\x00bytes")
    assert receipt["replicas"] >= 1
    rows = peer.sql("SELECT key, value FROM objects").rows()
    assert (b"written in Python", b"\x00bytes") in rows


@networked
@pytest.mark.skipif("NETABASE_EXPECT_KEY" not in os.environ, reason="no key is expected")
def test_what_others_write_is_read(peer):
    value = peer.get(os.environ["NETABASE_EXPECT_KEY"].encode())
    assert value == os.environ["NETABASE_EXPECT_VALUE"].encode()
