//! Rust source, read as far as counting needs: comments and literals are blanked, braces matched.
//!
//! Not a parser: a macro that writes functions from pieces is not understood.

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where it starts, from 1.
    pub(crate) line: usize,
    /// From `fn` to the closing brace, both included.
    pub(crate) lines: usize,
}

/// The source with comments and literals replaced by blanks; every line keeps its number.
pub(crate) fn code(source: &str) -> Vec<char> {
    let mut text: Vec<char> = source.chars().collect();
    let mut at = 0;
    while at < text.len() {
        let end = skipped(&text, at);
        for place in &mut text[at..end] {
            if *place != '\n' {
                *place = ' ';
            }
        }
        at = end.max(at + 1);
    }
    text
}

/// The end of the comment or literal that starts here; `at` itself when none does.
fn skipped(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => position(text, at, |rest| rest[0] == '\n'),
        '/' if next == Some('*') => block_comment(text, at),
        '"' => string(text, at),
        'r' if starts_word(text, at) => raw_string(text, at),
        'b' | 'c' if starts_word(text, at) && next == Some('r') => raw_string(text, at + 1),
        '\'' if next == Some('\\') => 1 + position(text, at + 3, |rest| rest[0] == '\''),
        '\'' if text.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
    .min(text.len())
}

/// The first place from `at` on whose rest satisfies the condition; the end when none does.
fn position(text: &[char], at: usize, found: impl Fn(&[char]) -> bool) -> usize {
    (at..text.len())
        .find(|place| found(&text[*place..]))
        .unwrap_or(text.len())
}

fn block_comment(text: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (1, at + 2);
    while depth > 0 && at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string(text: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `at` is the `r`. What follows may be a raw identifier, or any word: then nothing is skipped.
fn raw_string(text: &[char], at: usize) -> usize {
    let open = position(text, at + 1, |rest| rest[0] != '#');
    let hashes = open - at - 1;
    if text.get(open) != Some(&'"') {
        return at;
    }
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|c| *c == '#')
    };
    position(text, open + 1, closes) + hashes + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn starts_word(text: &[char], at: usize) -> bool {
    at == 0 || !is_word(text[at - 1])
}

fn word_at(text: &[char], at: usize, word: &str) -> bool {
    let end = at + word.chars().count();
    starts_word(text, at)
        && text
            .get(at..end)
            .is_some_and(|found| found.iter().copied().eq(word.chars()))
        && !text.get(end).copied().is_some_and(is_word)
}

fn line_of(text: &[char], at: usize) -> usize {
    1 + text[..at].iter().filter(|c| **c == '\n').count()
}

/// Past the item that starts here: its matching closing brace, or its semicolon.
fn item_end(code: &[char], at: usize) -> (Option<usize>, usize) {
    let mut nested = 0i32;
    for place in at..code.len() {
        match code[place] {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            ';' if nested == 0 => return (None, place + 1),
            '{' if nested == 0 => return (Some(place), closing(code, place) + 1),
            _ => {}
        }
    }
    (None, code.len())
}

/// The brace that closes the one at `open`; the last place when none does.
fn closing(code: &[char], open: usize) -> usize {
    let mut depth = 0;
    for (place, c) in code.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    code.len() - 1
}

/// The code without its `#[cfg(test)]` items.
pub(crate) fn without_tests(code: &[char]) -> Vec<char> {
    let mark: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut text = code.to_vec();
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(&mark) {
            let (_, end) = item_end(&text, at + mark.len());
            text[at..end]
                .iter_mut()
                .filter(|c| **c != '\n')
                .for_each(|c| *c = ' ');
            at = end;
        } else {
            at += 1;
        }
    }
    text
}

/// Every function that has a body, nested ones too.
pub(crate) fn functions(code: &[char]) -> Vec<Function> {
    let mut found = Vec::new();
    for at in (0..code.len()).filter(|at| word_at(code, *at, "fn")) {
        let start = position(code, at + 2, |rest| !rest[0].is_whitespace());
        let end = position(code, start, |rest| !is_word(rest[0]));
        let name: String = code[start..end].iter().collect();
        if name.is_empty() {
            continue; // the type of a function pointer
        }
        if let (Some(_), body_end) = item_end(code, end) {
            let line = line_of(code, at);
            let lines = 1 + line_of(code, body_end - 1) - line;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Whether the crate says `#![level(lint)]`, alone or in a list.
pub(crate) fn has_inner_attribute(code: &[char], level: &str, lint: &str) -> bool {
    let packed: String = code.iter().filter(|c| !c.is_whitespace()).collect();
    packed
        .split(&format!("#![{level}("))
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .any(|lints| lints.split(',').any(|name| name == lint))
}

/// Macros and words that mark unfinished work, with their lines.
pub(crate) fn leftovers(source: &str) -> Vec<(usize, &'static str)> {
    const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];
    const WORDS: [&str; 2] = [concat!("FIX", "ME"), concat!("X", "XX")];
    let code = code(source);
    let text: Vec<char> = source.chars().collect();
    let called =
        |at: usize, name: &str| word_at(&code, at, name) && code.get(at + name.len()) == Some(&'!');
    let mut found = Vec::new();
    for at in 0..text.len() {
        let name = MACROS.into_iter().find(|name| called(at, name));
        let word = WORDS.into_iter().find(|word| word_at(&text, at, word));
        found.extend(name.or(word).map(|what| (line_of(&text, at), what)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(source: &str) -> String {
        code(source)
            .into_iter()
            .collect::<String>()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(blanked("a // { \nb /* { /* } */ { */ c"), "a b c");
        assert_eq!(blanked(r#"f("{ \" {", b"{", c"{") g"#), "f( , b , c ) g");
        assert_eq!(
            blanked(r####"x(r"\", br#"{ " {"#, r##"{"# {"##) y"####),
            "x( , , ) y"
        );
        assert_eq!(
            blanked(r"let c = ('{', '\'', '\u{7b}', b'{');"),
            "let c = ( , , , b );"
        );
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        assert_eq!(
            blanked("fn f<'a>(x: &'a str) {}"),
            "fn f<'a>(x: &'a str) {}"
        );
        assert_eq!(blanked("r#type var bar r"), "r#type var bar r");
    }

    #[test]
    fn unfinished_text_ends_at_the_end() {
        for source in ["/* {", "\"{", "r#\"{", "'\\", "\"\\", "//", "'"] {
            assert_eq!(code(source).len(), source.chars().count(), "{source}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = "/*\n\n*/\nfn a(\n  x: [u8; 2],\n) {\n  \"\n}\n\"\n}\nfn b() {}\nfn c();\n";
        let a = Function {
            name: "a".to_owned(),
            line: 4,
            lines: 7,
        };
        let b = Function {
            name: "b".to_owned(),
            line: 11,
            lines: 1,
        };
        assert_eq!(functions(&code(source)), [a, b]);
    }

    #[test]
    fn a_long_function_is_measured() {
        let source = format!(
            "impl X {{\n    pub fn long() {{\n{}    }}\n}}",
            "        x();\n".repeat(69)
        );
        assert_eq!(functions(&code(&source))[0].lines, 71);
    }

    #[test]
    fn pointers_and_closures_are_no_functions() {
        assert!(functions(&code("type F = fn(u8) -> u8; let x = |fn_: F| { fn_(1) };")).is_empty());
    }

    #[test]
    fn test_modules_are_left_out() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { if x { } }\n}\nfn c() {}\n\
                      #[cfg(test)]\nmod more;\nfn d() {}";
        let kept = functions(&without_tests(&code(source)));
        let names: Vec<(&str, usize)> = kept.iter().map(|f| (f.name.as_str(), f.line)).collect();
        assert_eq!(names, [("a", 1), ("c", 6), ("d", 9)]);
    }

    #[test]
    fn attributes_count_when_they_are_code() {
        let has = |source: &str| has_inner_attribute(&code(source), "forbid", "unsafe_code");
        assert!(has("//! Header.\n#![forbid(unsafe_code)]"));
        assert!(has("#![forbid(missing_docs,\n  unsafe_code)]"));
        assert!(!has("// #![forbid(unsafe_code)]"));
        assert!(!has("#![deny(unsafe_code)]"));
        assert!(!has("#[forbid(unsafe_code)] mod x {}"));
    }

    #[test]
    fn leftovers_are_found_and_mentions_are_not() {
        let fix = concat!("// FIX", "ME: later");
        assert_eq!(
            leftovers(&format!("a();\n{fix}\n")),
            [(2, concat!("FIX", "ME"))]
        );
        assert_eq!(leftovers("f();\n  todo!()"), [(2, "todo")]);
        assert_eq!(leftovers("dbg!(x); unimplemented!()").len(), 2);
        assert!(
            leftovers("// say todo!() in a comment\nlet s = \"dbg!(x)\"; my_todo!()").is_empty()
        );
    }
}
