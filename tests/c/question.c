/* Joins a network as a client, asks the question in each of the given files, prints the rows as
 * tab-separated text, stores and removes a value, and checks how errors are told.
 *
 *     question <bootstrap address> <network> <file with one SQL statement> ...
 *
 * The exit code is 0 when everything was as it should be. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netabase.h"

#define MAX_SQL (1 << 20)
#define PEER_SECONDS 30.0

static int fail(const char *what) {
    fprintf(stderr, "question: %s: %s\n", what, netabase_last_error());
    return 1;
}

/* Whether row `row` of an array, counted with its offset, is NULL. */
static int is_null(const struct ArrowArray *array, int64_t row) {
    const uint8_t *validity = array->buffers[0];
    int64_t at = array->offset + row;
    return array->null_count != 0 && validity != NULL && !((validity[at / 8] >> (at % 8)) & 1);
}

/* Prints one value; an Arrow type that this program does not know is a failure. */
static int print_value(const char *format, const struct ArrowArray *array, int64_t row) {
    int64_t at = array->offset + row;
    if (is_null(array, row)) {
        fputs("NULL", stdout);
    } else if (strcmp(format, "l") == 0) {
        printf("%" PRId64, ((const int64_t *)array->buffers[1])[at]);
    } else if (strcmp(format, "L") == 0) {
        printf("%" PRIu64, ((const uint64_t *)array->buffers[1])[at]);
    } else if (strcmp(format, "g") == 0) {
        printf("%.17g", ((const double *)array->buffers[1])[at]);
    } else if (strcmp(format, "u") == 0 || strcmp(format, "z") == 0) {
        const int32_t *offsets = array->buffers[1];
        fwrite((const char *)array->buffers[2] + offsets[at], 1,
               (size_t)(offsets[at + 1] - offsets[at]), stdout);
    } else if (strcmp(format, "U") == 0 || strcmp(format, "Z") == 0) {
        const int64_t *offsets = array->buffers[1];
        fwrite((const char *)array->buffers[2] + offsets[at], 1,
               (size_t)(offsets[at + 1] - offsets[at]), stdout);
    } else {
        fprintf(stderr, "question: a column has the unexpected Arrow type %s\n", format);
        return 1;
    }
    return 0;
}

static int print_batch(const struct ArrowSchema *schema, const struct ArrowArray *batch) {
    for (int64_t row = 0; row < batch->length; row++) {
        for (int64_t column = 0; column < batch->n_children; column++) {
            if (column > 0) {
                putchar('\t');
            }
            if (print_value(schema->children[column]->format, batch->children[column],
                            batch->offset + row) != 0) {
                return 1;
            }
        }
        putchar('\n');
    }
    return 0;
}

/* Prints the header and every row; counts the rows. */
static int print_rows(struct ArrowArrayStream *stream, int64_t *rows) {
    struct ArrowSchema schema;
    if (stream->get_schema(stream, &schema) != 0) {
        fprintf(stderr, "question: %s\n", stream->get_last_error(stream));
        return 1;
    }
    for (int64_t column = 0; column < schema.n_children; column++) {
        printf("%s%s", column > 0 ? "\t" : "", schema.children[column]->name);
    }
    putchar('\n');
    int failed = 0;
    while (!failed) {
        struct ArrowArray batch;
        if (stream->get_next(stream, &batch) != 0) {
            fprintf(stderr, "question: %s\n", stream->get_last_error(stream));
            failed = 1;
            break;
        }
        if (batch.release == NULL) {
            break;
        }
        failed = print_batch(&schema, &batch);
        *rows += batch.length;
        batch.release(&batch);
    }
    schema.release(&schema);
    return failed;
}

static int ask(const netabase_t *db, const char *sql) {
    struct ArrowArrayStream stream;
    if (netabase_exec(db, sql, &stream) != NETABASE_OK) {
        return fail("the question");
    }
    int64_t rows = 0;
    int failed = print_rows(&stream, &rows);
    stream.release(&stream);
    if (failed) {
        return 1;
    }
    if (rows == 0) {
        fputs("question: the answer has no rows\n", stderr);
        return 1;
    }
    char *coverage = netabase_coverage(db);
    if (coverage == NULL) {
        return fail("the coverage");
    }
    fprintf(stderr, "%s\n", coverage);
    netabase_free(coverage);
    return 0;
}

static int ask_file(const netabase_t *db, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    char *sql = malloc(MAX_SQL);
    if (sql == NULL) {
        fclose(file);
        return 1;
    }
    size_t length = fread(sql, 1, MAX_SQL - 1, file);
    sql[length] = '\0';
    fclose(file);
    int failed = ask(db, sql);
    free(sql);
    return failed;
}

/* A value comes back as it was stored, zero bytes included, and is gone when it is removed. */
static int check_values(const netabase_t *db) {
    const uint8_t key[] = "written in C";
    const uint8_t value[] = {'b', 'y', 't', 'e', 's', 0, 255};
    uint8_t *found = NULL;
    size_t length = 0;
    if (netabase_put(db, key, sizeof key - 1, value, sizeof value) != NETABASE_OK) {
        return fail("put");
    }
    if (netabase_get(db, key, sizeof key - 1, &found, &length) != NETABASE_OK) {
        return fail("get");
    }
    int same = length == sizeof value && memcmp(found, value, length) == 0;
    netabase_free(found);
    if (!same) {
        fputs("question: the value came back changed\n", stderr);
        return 1;
    }
    if (netabase_delete(db, key, sizeof key - 1) != NETABASE_OK) {
        return fail("delete");
    }
    if (netabase_get(db, key, sizeof key - 1, &found, &length) != NETABASE_NOT_FOUND ||
        found != NULL) {
        fputs("question: the removed value is still there\n", stderr);
        return 1;
    }
    return 0;
}

/* Leaves a value for other languages, and reads the one that they announce in the environment. */
static int check_shared(const netabase_t *db) {
    const uint8_t key[] = "from-c";
    const uint8_t value[] = "written by C";
    if (netabase_put(db, key, sizeof key - 1, value, sizeof value - 1) != NETABASE_OK) {
        return fail("put");
    }
    const char *other = getenv("NETABASE_EXPECT_KEY");
    const char *expected = getenv("NETABASE_EXPECT_VALUE");
    if (other == NULL || expected == NULL) {
        return 0;
    }
    uint8_t *found = NULL;
    size_t length = 0;
    if (netabase_get(db, (const uint8_t *)other, strlen(other), &found, &length) != NETABASE_OK) {
        return fail("get of another language's value");
    }
    int same = length == strlen(expected) && memcmp(found, expected, length) == 0;
    netabase_free(found);
    if (!same) {
        fputs("question: another language's value came here changed\n", stderr);
    }
    return !same;
}

static int check_errors(const netabase_t *db) {
    struct ArrowArrayStream stream;
    netabase_t *none = NULL;
    if (netabase_exec(db, "SELEC 1", &stream) != NETABASE_INVALID_INPUT ||
        strlen(netabase_last_error()) == 0) {
        fputs("question: wrong SQL is not told\n", stderr);
        return 1;
    }
    if (netabase_exec(db, "SELECT * FROM no_such_table", NULL) != NETABASE_NOT_FOUND ||
        strstr(netabase_last_error(), "no_such_table") == NULL) {
        fputs("question: a missing table is not named\n", stderr);
        return 1;
    }
    if (netabase_open("{\"netwrok\": \"x\"}", &none) != NETABASE_INVALID_INPUT || none != NULL) {
        fputs("question: a misspelt option is not refused\n", stderr);
        return 1;
    }
    if (netabase_exec(NULL, "SELECT 1", NULL) != NETABASE_INVALID_INPUT) {
        fputs("question: a missing handle is not refused\n", stderr);
        return 1;
    }
    return 0;
}

static int run(const netabase_t *db, int files, char **file) {
    if (netabase_wait_for_peers(db, 1, PEER_SECONDS) != NETABASE_OK) {
        return fail("waiting for peers");
    }
    if (netabase_peer_id(db) == NULL) {
        return fail("the peer id");
    }
    for (int i = 0; i < files; i++) {
        if (ask_file(db, file[i]) != 0) {
            return 1;
        }
    }
    return check_values(db) != 0 || check_shared(db) != 0 || check_errors(db) != 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s <bootstrap address> <network> <sql file> ...\n", argv[0]);
        return 2;
    }
    char options[4096];
    int length = snprintf(options, sizeof options,
                          "{\"network\": \"%s\", \"role\": \"client\", \"bootstrap\": [\"%s\"], "
                          "\"join_timeout\": 60}",
                          argv[2], argv[1]);
    if (length < 0 || (size_t)length >= sizeof options) {
        fputs("question: the address is too long\n", stderr);
        return 2;
    }
    netabase_t *db = NULL;
    if (netabase_open(options, &db) != NETABASE_OK) {
        return fail("opening");
    }
    int failed = run(db, argc - 3, argv + 3);
    if (netabase_close(db) != NETABASE_OK) {
        failed = fail("closing");
    }
    return failed;
}
