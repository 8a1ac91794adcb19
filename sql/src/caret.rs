//! A line of a text with a caret below a place in it.
//!
//! Invariant: the caret stands below the character, however wide those before it are on a
//! terminal; nothing in the text can move the cursor.

use unicode_width::UnicodeWidthChar;

use crate::blame::Place;

/// The most columns of a line that are shown.
const MAX_COLUMNS: usize = 72;
/// The columns before the place that are shown of a longer line.
const COLUMNS_BEFORE: usize = 36;
/// What stands for the rest of a line.
const REST: &str = "...";

/// `LINE 2: …` and a caret below it, without a line break at the end.
pub(crate) fn shown(text: &str, place: Place) -> String {
    let number = usize::try_from(place.line.max(1)).unwrap_or(usize::MAX);
    let line = text.split('\n').nth(number - 1).unwrap_or_default();
    let characters: Vec<(char, usize)> = line.trim_end().chars().map(visible).collect();
    let at = usize::try_from(place.column.max(1)).unwrap_or(usize::MAX) - 1;
    let at = at.min(characters.len());
    let width = |part: &[(char, usize)]| part.iter().map(|(_, width)| width).sum::<usize>();
    let (before, after) = characters.split_at(at);
    let (mut start, mut end) = (0, characters.len());
    if width(&characters) > MAX_COLUMNS {
        let mut room = COLUMNS_BEFORE;
        start = fitting(before.iter().rev(), &mut room);
        start = before.len() - start;
        // What the part before the place leaves is given to the part behind it.
        let mut room = MAX_COLUMNS - COLUMNS_BEFORE + room;
        end = at + fitting(after.iter(), &mut room);
    }
    let mut shown = format!("LINE {number}: ");
    let mut column = shown.len();
    if start > 0 {
        shown.push_str(REST);
        column += REST.len();
    }
    let part = characters.get(start..end).unwrap_or_default();
    shown.extend(part.iter().map(|(character, _)| character));
    if end < characters.len() {
        shown.push_str(REST);
    }
    column += width(characters.get(start..at).unwrap_or_default());
    format!("{shown}\n{}^", " ".repeat(column))
}

/// How many of some characters fit.
fn fitting<'a>(characters: impl Iterator<Item = &'a (char, usize)>, room: &mut usize) -> usize {
    let mut count = 0;
    for (_, width) in characters {
        match room.checked_sub(*width) {
            Some(left) => *room = left,
            None => break,
        }
        count += 1;
    }
    count
}

/// A character as it is shown, and how many columns it takes.
fn visible(character: char) -> (char, usize) {
    match character.width() {
        Some(width) => (character, width),
        // Tabs and whatever else controls a terminal.
        None => (' ', 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, line: u64, column: u64) -> String {
        shown(text, Place { line, column })
    }

    #[test]
    fn the_caret_is_below_the_place() {
        let one = at("SELECT nmae FROM t", 1, 8);
        assert_eq!(one, "LINE 1: SELECT nmae FROM t\n               ^");
        let two = at("SELECT *\r\n\tFROM\x1b[2J t\r\n", 2, 2);
        assert_eq!(two, "LINE 2:  FROM [2J t\n         ^");
        // Behind the end, and beyond the text.
        assert_eq!(at("SELECT", 1, 7), "LINE 1: SELECT\n              ^");
        assert_eq!(at("SELECT", 9, 9), "LINE 9: \n        ^");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let shown = at("SELECT '日本', 'é' AS ü, x", 1, 23);
        let (line, caret) = shown.split_once('\n').unwrap();
        assert_eq!(line, "LINE 1: SELECT '日本', 'é' AS ü, x");
        assert_eq!(caret.len(), 8 + 22 + 2 + 1);
    }

    #[test]
    fn long_lines_are_cut_to_what_is_around_the_place() {
        let long = format!("SELECT {}wrong{}", "a, ".repeat(1000), ", b".repeat(1000));
        let shown = at(&long, 1, 3008);
        let (line, caret) = shown.split_once('\n').unwrap();
        assert!(line.starts_with("LINE 1: ...") && line.ends_with("..."));
        assert!(line.len() <= 8 + MAX_COLUMNS + 2 * REST.len());
        assert_eq!(&line[caret.len() - 1..][..5], "wrong");
        let shown = at(&long, 1, 1);
        assert!(shown.starts_with("LINE 1: SELECT a"), "{shown}");
    }
}
