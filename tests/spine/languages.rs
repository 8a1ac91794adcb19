//! Python and C ask the same network the same question, and share its objects.
//!
//! `scripts/test` builds the wheel and the C program and names them in the environment; where they
//! are not named these tests say so and fail, because silence would look like success.

use std::process::{Command, Output};

use netabase::{Netabase, Role};

use crate::common::{HEAVY, PATIENCE, TABLES, load};
use crate::processes::{run, three};

fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set; run scripts/test, which builds what this test needs")
    })
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
    let told = checked("C", command.arg(&address).arg("languages").args(&files));
    let told = String::from_utf8(told.stdout).unwrap();
    // The same cells, as the console prints them.
    let sql = crate::common::question(questions[0]);
    let asked = run(&[
        "sql",
        "--network",
        "languages",
        "--role",
        "client",
        "--bootstrap",
        &address,
        "--format",
        "csv",
        "-c",
        &sql,
    ]);
    assert!(
        asked.status.success(),
        "{}",
        crate::processes::stderr(&asked)
    );
    let csv = String::from_utf8(asked.stdout).unwrap();
    let first = csv.lines().nth(1).unwrap();
    let airline = first.split(',').next().unwrap().trim_matches('"');
    assert!(told.contains(airline), "{first}\n{told}");
    assert!(csv.lines().count() > 100);

    // Written from Rust, Python and C, seen by SQL.
    let answer = db
        .sql("SELECT count(*) AS n FROM objects WHERE key = 'from-rust'")
        .await
        .unwrap();
    let shown = answer.show().await.unwrap();
    assert!(shown.contains('1'), "{shown}");
    db.close().await.unwrap();
}
