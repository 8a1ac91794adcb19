"""DuckDB behind JSON lines: one request per line on stdin, one answer per line on stdout.

{"load": {table: file}}                   -> {"seconds", "disk_mb", "peak_mb"}
{"query": text, "runs": n, "rows": bool}  -> {"seconds": [...], "columns": [...], "rows": [...]}

A value is null or a pair of its kind ("exact", "float" or "text") and its text.
"""

import datetime
import decimal
import json
import os
import sys
import time

import duckdb


def cell(value):
    if value is None:
        return None
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, decimal.Decimal):
        return ["exact", format(value, "f")]
    if isinstance(value, int):
        return ["exact", str(value)]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return ["text", value.isoformat()]
    return ["text", str(value)]


def peak_mb():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def load(connection, path, tables):
    started = time.perf_counter()
    for table, file in tables.items():
        quoted = file.replace("'", "''")
        connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet('{quoted}')")
    connection.execute("CHECKPOINT")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "disk_mb": os.path.getsize(path) / 1e6, "peak_mb": peak_mb()}


def query(connection, request):
    answer = {"seconds": [], "columns": [], "rows": []}
    for _ in range(request["runs"]):
        started = time.perf_counter()
        # Arrow, because rows as Python values would take longer than some queries.
        connection.sql(request["query"]).to_arrow_table()
        answer["seconds"].append(time.perf_counter() - started)
    if request["rows"]:
        result = connection.execute(request["query"])
        answer["columns"] = [column[0] for column in result.description]
        answer["rows"] = [[cell(value) for value in row] for row in result.fetchall()]
    return answer


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    connection = duckdb.connect(path, config={"threads": threads})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "load" in request:
                answer = load(connection, path, request["load"])
            else:
                answer = query(connection, request)
        except duckdb.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
