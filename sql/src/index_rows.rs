//! Reading what an index answers of one segment: its first rows, or how many there are.
//!
//! Invariant: hidden and expired rows are neither taken nor counted. What is taken of a segment
//! depends on the segment and its hidden rows alone; so slices that were opened before and after the
//! index was ready have every row among the first ones, once.
//!
//! Not here: whether there is such an answer (`index_answer`), and rows in memory, which are all read.

use netabase_store::{Error, KeyRange, OuterRows, SegmentView, TableSnapshot};

use crate::access::Order;
use crate::index_answer::{First, IndexAnswer, Question};
use crate::lookup::few;

/// Segments that are asked for their first rows, when a query is planned.
const ASKED_SEGMENTS: usize = 4;

/// The first rows of a segment, ascending by position; `None` if they are better found among all.
pub(crate) fn first_rows(
    view: &SegmentView,
    order: &Order,
    first: &First,
) -> Result<Option<Vec<u32>>, Error> {
    if !can_walk(view, order, first)? {
        return Ok(None);
    }
    let most = few(view);
    let mut all = Vec::new();
    for walk in &first.walks {
        let mut found = Vec::new();
        for range in walk {
            let missing = first.rows - found.len();
            if missing == 0 {
                break;
            }
            let wanted = match first.descending {
                false => OuterRows::First(missing),
                true => OuterRows::Last(missing),
            };
            match outer_rows(view, order, range, wanted)? {
                Some(rows) => found.extend(rows),
                None => return Ok(None),
            }
        }
        all.extend(found);
        if all.len() as u64 > most {
            return Ok(None);
        }
    }
    all.sort_unstable();
    Ok(Some(all))
}

/// How many live rows of a segment lie in ranges; `None` if the index is not ready.
pub(crate) fn count_rows(
    view: &SegmentView,
    order: &Order,
    ranges: &[KeyRange],
) -> Result<Option<u64>, Error> {
    let mut rows = 0;
    for range in ranges {
        rows += match order {
            Order::PrimaryKey { unique: true } => {
                let row = view.row_at(range)?;
                u64::from(row.is_some_and(|row| view.is_live(row)))
            }
            Order::PrimaryKey { unique: false } => {
                let found = view.rows_in(range)?;
                match view.live_rows() == view.rows() {
                    true => found.len() as u64,
                    false => found.filter(|row| view.is_live(*row)).count() as u64,
                }
            }
            Order::Index(index) => match view.count_live(index, range)? {
                Some(rows) => rows,
                None => return Ok(None),
            },
        };
    }
    Ok(Some(rows))
}

/// Whether an answer saves work in a snapshot: for the first rows, if a large segment has them at
/// hand; for a count, if most rows are in segments that have the index.
pub(crate) fn is_worth_it(snapshot: &TableSnapshot, answer: &IndexAnswer) -> bool {
    let shards = snapshot.shards.iter();
    let mut segments: Vec<&SegmentView> = shards.flat_map(|shard| &shard.segments).collect();
    // What cannot be read here fails when it is scanned.
    match &answer.question {
        Question::First(first) => {
            segments.sort_by_key(|segment| std::cmp::Reverse(segment.rows()));
            let mut asked = segments.into_iter().take(ASKED_SEGMENTS);
            asked.any(|segment| can_walk(segment, &answer.order, first).unwrap_or(false))
        }
        Question::Count(_) => {
            let of = |indexed: bool| {
                let same = |s: &&&SegmentView| is_ready(s, &answer.order) == indexed;
                segments.iter().filter(same).map(|s| s.rows()).sum::<u64>()
            };
            of(true) > of(false)
        }
    }
}

fn is_ready(view: &SegmentView, order: &Order) -> bool {
    match order {
        Order::PrimaryKey { .. } => true,
        Order::Index(index) => view.is_indexed(index).unwrap_or(false),
    }
}

/// Whether few rows of a segment are wanted, and they lie in the wanted order.
fn can_walk(view: &SegmentView, order: &Order, first: &First) -> Result<bool, Error> {
    if first.rows as u64 > few(view) || !is_ready(view, order) {
        return Ok(false);
    }
    if first.without_nulls.is_empty() {
        return Ok(true);
    }
    let summaries = view.summaries()?;
    let has_none = |column: &usize| summaries.get(*column).is_some_and(|of| of.nulls == 0);
    Ok(first.without_nulls.iter().all(has_none))
}

/// The live rows at one end of a range; `None` if the index is not ready.
fn outer_rows(
    view: &SegmentView,
    order: &Order,
    range: &KeyRange,
    wanted: OuterRows,
) -> Result<Option<Vec<u32>>, Error> {
    if let Order::Index(index) = order {
        return view.outer_rows(index, range, wanted);
    }
    let live = view.rows_in(range)?.filter(|row| view.is_live(*row));
    Ok(Some(match wanted {
        OuterRows::First(rows) => live.take(rows).collect(),
        OuterRows::Last(rows) => live.rev().take(rows).collect(),
    }))
}
