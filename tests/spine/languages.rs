//! Python and C ask the same network the same question, and share its objects.
//!
//! `scripts/test` builds the wheel and the C program and names them in the environment; where they
//! are not named these tests say so and fail, because silence would look like success.

use std::process::{Command, Output};

use netabase::arrow::array::RecordBatch;
use netabase::arrow::util::display::{ArrayFormatter, FormatOptions};
use netabase::{Netabase, Role};

use crate::common::{HEAVY, PATIENCE, TABLES, load};
use crate::oracle::oracle;
use crate::processes::{run, three};

fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run scripts/test, which builds what this test needs")
    })
}

const ASK_IN_PYTHON: &str = "
import sys, netabase
with netabase.open(network='languages', bootstrap=[sys.argv[1]], role='client') as db:
    db.wait_for_peers(1, timeout=30)
    for row in db.sql(open(sys.argv[2]).read()).rows():
        print('\\t'.join('NULL' if v is None else str(v) for v in row))
";

/// Cells of delimited text; no cell of this answer holds a delimiter or a quote of its own.
fn table(text: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(text).unwrap();
    let cells = |line: &str| {
        let cells = line.split(char::from(delimiter));
        cells.map(|c| c.trim_matches('"').to_string()).collect()
    };
    text.lines().map(cells).collect()
}

fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let text = |c| {
                ArrayFormatter::try_new(c, &options)
                    .unwrap()
                    .value(row)
                    .to_string()
            };
            rows.push(batch.columns().iter().map(|c| text(c.as_ref())).collect());
        }
    }
    rows
}

/// Same rows in the same order; numbers to 1e-9, an empty cell is NULL.
fn same(who: &str, got: &[Vec<String>], want: &[Vec<String>]) {
    assert_eq!(got.len(), want.len(), "{who}: rows");
    for (got, want) in got.iter().zip(want) {
        let equal = |(g, w): (&String, &String)| match (g.parse::<f64>(), w.parse::<f64>()) {
            (Ok(g), Ok(w)) => (g - w).abs() <= 1e-9 * w.abs().max(1.0),
            _ => g == w || (g.is_empty() && w == "NULL"),
        };
        let all = got.len() == want.len() && got.iter().zip(want).all(equal);
        assert!(all, "{who}:\n got {got:?}\nwant {want:?}");
    }
}

fn checked(what: &str, command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{what}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_and_c_ask_a_running_network() {
    let (python, c) = (program("NETABASE_TEST_PYTHON"), program("NETABASE_TEST_C"));
    let _turn = HEAVY.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let peers = three("languages", dir.path());
    let address = peers[0].address.clone();
    let db = Netabase::builder()
        .network("languages")
        .role(Role::Client)
        .bootstrap(address.clone())
        .join_timeout(PATIENCE)
        .open()
        .await
        .unwrap();
    db.wait_for_peers(3, PATIENCE).await.unwrap();
    load(&db, &TABLES, 2).await;
    db.put(b"from-rust", b"written by Rust").await.unwrap();

    let root = crate::common::ROOT;
    checked(
        "pytest",
        Command::new(python)
            .args(["-m", "pytest", "-q", "tests/python"])
            .current_dir(root)
            .env("NETABASE_BOOTSTRAP", &address)
            .env("NETABASE_NETWORK", "languages")
            .env("NETABASE_EXPECT_KEY", "from-rust")
            .env("NETABASE_EXPECT_VALUE", "written by Rust"),
    );
    let questions = ["delays_by_airline", "delays_by_origin"];
    let files = questions.map(|q| format!("{root}/console/sql/{q}.sql"));
    let valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    let mut command = if valgrind && std::env::var_os("NETABASE_TEST_VALGRIND").is_some() {
        let mut command = Command::new("valgrind");
        command.args([
            "-q",
            "--error-exitcode=99",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ]);
        command.arg(c);
        command
    } else {
        Command::new(c)
    };
    command
        .env("NETABASE_EXPECT_KEY", "from-rust")
        .env("NETABASE_EXPECT_VALUE", "written by Rust");
    let told = checked("C", command.arg(&address).arg("languages").args(&files));
    let c = table(&told.stdout, b'\t');
    let ask_python = |file: &str| {
        let mut command = Command::new(program("NETABASE_TEST_PYTHON"));
        command.args(["-c", ASK_IN_PYTHON, &address, file]);
        table(&checked("Python", &mut command).stdout, b'\t')
    };
    let console = ["sql", "--network", "languages", "--role", "client"];
    let where_and_what = ["--bootstrap", &address, "--format", "csv", "-f", &files[0]];
    let asked = run(&[&console[..], &where_and_what[..]].concat());
    assert!(
        asked.status.success(),
        "{}",
        crate::processes::stderr(&asked)
    );
    let console = table(&asked.stdout, b',').split_off(1);

    let want = oracle()
        .await
        .sql(&crate::common::question(questions[0]))
        .await
        .unwrap();
    let want = texts(&want.collect().await.unwrap());
    assert!(want.len() > 50);
    same("console", &console, &want);
    same("Python", &ask_python(&files[0]), &want);
    same("C", &c[1..=want.len()], &want);
    let by_origin = oracle()
        .await
        .sql(&crate::common::question(questions[1]))
        .await
        .unwrap();
    let by_origin = texts(&by_origin.collect().await.unwrap());
    same("Python, by origin", &ask_python(&files[1]), &by_origin);
    same("C, by origin", &c[want.len() + 2..], &by_origin);

    // Written from Rust, Python and C, read from Rust and seen by SQL.
    for (key, value) in [
        (&b"from-rust"[..], &b"written by Rust"[..]),
        (b"written in Python", b"\x00bytes"),
        (b"from-c", b"written by C"),
    ] {
        assert_eq!(db.get(key).await.unwrap().as_deref(), Some(value));
    }
    let answer = db.sql("SELECT key, value FROM objects").await.unwrap();
    assert_eq!(answer.collect().await.unwrap().num_rows(), 3);
    db.close().await.unwrap();
}
