//! Statements are listed, counted and ended.

use super::*;

#[tokio::test]
async fn statements_are_listed_while_they_run() {
    let running = Arc::new(Running::default());
    let work = async {
        let statement = Statement::current();
        assert_eq!((statement.id(), statement.text()), (1, "SELECT 1"));
        assert_eq!(running.list().len(), 1);
        assert!(statement.check().is_ok());
        running.cancel(1)?;
        assert_eq!(statement.phase(), Phase::Ended);
        assert!(running.cancel(1).is_err());
        let error = statement.ended().await;
        assert_eq!(error.to_string(), "statement 1 was cancelled");
        statement.check()
    };
    assert!(running.track("SELECT 1", work).await.is_err());
    assert!(running.list().is_empty());
    assert!(running.cancel(1).is_err());
    assert_eq!(Statement::current().id(), 0);
}

#[tokio::test]
async fn one_statement_too_many_is_refused() {
    let running = Arc::new(Running::default());
    let all: Vec<_> = (0..MAX_STATEMENTS)
        .map(|_| running.enter("one").unwrap())
        .collect();
    let refused = running.track("another", async { Ok(()) }).await;
    assert!(refused.unwrap_err().to_string().contains("CANCEL QUERY"));
    drop(all);
    assert!(running.track("another", async { Ok(()) }).await.is_ok());
}

#[test]
fn a_statement_writes_or_is_ended() {
    let running = Arc::new(Running::default());
    let statement = running.enter("INSERT").unwrap();
    statement.begin_writing().unwrap();
    statement.begin_writing().unwrap();
    let late = Cause::TimedOut(Duration::from_secs(1));
    assert_eq!(statement.end(late), Ending::Writing);
    let refused = running.cancel(statement.id()).unwrap_err().to_string();
    assert!(refused.contains("has begun to write"), "{refused}");
    assert_eq!(
        (statement.phase(), statement.cause()),
        (Phase::Writing, None)
    );
    assert!(statement.check().is_ok());
    let statement = running.enter("INSERT").unwrap();
    assert_eq!(statement.end(late), Ending::Now);
    assert_eq!(statement.end(Cause::Cancelled), Ending::Before);
    let refused = statement.begin_writing().unwrap_err().to_string();
    assert!(refused.contains("took longer than 1s"), "{refused}");
}

#[test]
fn of_two_that_decide_at_the_same_time_one_does() {
    let running = Arc::new(Running::default());
    for _ in 0..2000 {
        let statement = running.enter("INSERT").unwrap();
        let other = Arc::clone(&statement);
        let cancels = std::thread::spawn(move || other.end(Cause::Cancelled));
        let writes = statement.begin_writing().is_ok();
        let ended = cancels.join().unwrap() == Ending::Now;
        assert!(writes != ended, "both: {writes}");
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    assert_eq!(beginning("SELECT 1"), "SELECT 1");
    let long = format!("{}é{}", "a".repeat(MAX_TEXT - 1), "b".repeat(10 * MAX_TEXT));
    assert_eq!(beginning(&long), format!("{}…", "a".repeat(MAX_TEXT - 1)));
}
