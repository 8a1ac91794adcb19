"""DuckDB behind JSON lines, for statements about one row: one request per line on stdin, one answer per
line on stdout.

{"load": [rows, late rows]}                -> true
{"names": query}                           -> the third column
{"run": kind, "text": text, "keys": [...]} -> seconds of each statement
{"rows": true}                             -> how many rows there are
"""

import json
import sys
import time

import duckdb


def load(connection, rows, late):
    connection.execute(
        "CREATE TABLE points (id BIGINT PRIMARY KEY, grp BIGINT NOT NULL, name VARCHAR NOT NULL, "
        "value DOUBLE NOT NULL)"
    )
    connection.execute("CREATE INDEX by_grp ON points (grp)")
    for start, end in [(0, rows), (rows, rows + late)]:
        connection.execute(
            "INSERT INTO points SELECT range, range // 10, 'name ' || range, range * 0.5 "
            f"FROM range({start}, {end})"
        )
        if start == 0:
            connection.execute("CHECKPOINT")
    return True


def values(kind, key):
    if kind == "insert":
        return [key, key // 10, f"name {key}", key * 0.5]
    if kind == "update":
        return [f"name {key}", float(key), key]
    return [key]


def run(connection, kind, text, keys):
    seconds = []
    for key in keys:
        parameters = values(kind, key)
        started = time.perf_counter()
        if kind == "unprepared":
            connection.execute(text + str(key)).fetchall()
        else:
            connection.execute(text, parameters).fetchall()
        seconds.append(time.perf_counter() - started)
    return seconds


def answer(connection, request):
    if "load" in request:
        return load(connection, *request["load"])
    if "names" in request:
        return [row[2] for row in connection.execute(request["names"]).fetchall()]
    if "run" in request:
        return run(connection, request["run"], request["text"], request["keys"])
    return connection.execute("SELECT count(*) FROM points").fetchone()[0]


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    connection = duckdb.connect(path, config={"threads": threads})
    for line in sys.stdin:
        try:
            reply = answer(connection, json.loads(line))
        except Exception as error:  # The other side decides what to do.
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


main()
