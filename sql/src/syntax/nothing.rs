//! `WHEN … THEN DO NOTHING` in MERGE.
//!
//! Idea: the parser knows changes alone there. It gets one of a column that no table has, which [`is_nothing`] knows
//! again. Invariant: only what stands behind the THEN of a WHEN [NOT] MATCHED is replaced.

use datafusion::sql::sqlparser::ast::{AssignmentTarget, MergeAction, ObjectName};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::statement::is_word;

/// Not a name that anybody would give to a column.
const NOTHING: &str = "$nothing";

/// The tokens with changes that the parser knows.
pub(super) fn changed(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut made: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut last = Words::default();
    for token in tokens {
        if matches!(token.token, Token::Whitespace(_)) {
            made.push(token);
            continue;
        }
        let span = token.span;
        let ends = last.push(&token.token);
        made.push(token);
        let Some(inserts) = ends else { continue };
        while made.pop().is_some_and(|token| !is_word(&token.token, "do")) {}
        let words = replacement(inserts).into_iter();
        made.extend(words.map(|token| TokenWithSpan { token, span }));
    }
    made
}

/// Whether a clause of MERGE does nothing.
pub(crate) fn is_nothing(action: &MergeAction) -> bool {
    let is_marked = |name: &ObjectName| match name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|name| name.value == NOTHING),
        _ => false,
    };
    match action {
        MergeAction::Insert(insert) => matches!(insert.columns.as_slice(), [one] if is_marked(one)),
        MergeAction::Update(update) => match update.assignments.as_slice() {
            [one] => {
                matches!(&one.target, AssignmentTarget::ColumnName(name) if is_marked(name))
            }
            _ => false,
        },
        MergeAction::Delete { .. } => false,
    }
}

/// Where a walk over the tokens is.
#[derive(Debug, Default)]
struct Words {
    /// Of the last WHEN [NOT] MATCHED, whether rows are inserted there.
    inserts: Option<bool>,
    /// The last words, the latest first.
    latest: [Option<String>; 3],
}

impl Words {
    /// Takes a token; tells whether rows are inserted in the clause whose DO NOTHING it ends.
    fn push(&mut self, token: &Token) -> Option<bool> {
        let word = match token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
            _ => None,
        };
        let [one, two, _] = std::mem::take(&mut self.latest);
        self.latest = [word, one, two];
        let [one, two, three] = self.latest.each_ref().map(|word| word.as_deref());
        match (three, two, one) {
            (_, Some("when"), Some("matched")) => self.inserts = Some(false),
            (Some("when"), Some("not"), Some("matched")) => self.inserts = Some(true),
            (Some("matched"), Some("by"), Some("source")) => self.inserts = Some(false),
            (Some("then"), Some("do"), Some("nothing")) => return self.inserts.take(),
            _ => {}
        }
        None
    }
}

/// `UPDATE SET "$nothing" = 0` or `INSERT ("$nothing") VALUES (0)`.
fn replacement(inserts: bool) -> Vec<Token> {
    let name = Token::make_word(NOTHING, Some('"'));
    let zero = Token::Number("0".to_owned(), false);
    match inserts {
        false => vec![
            Token::make_keyword("UPDATE"),
            Token::make_keyword("SET"),
            name,
            Token::Eq,
            zero,
        ],
        true => vec![
            Token::make_keyword("INSERT"),
            Token::LParen,
            name,
            Token::RParen,
            Token::make_keyword("VALUES"),
            Token::LParen,
            zero,
            Token::RParen,
        ],
    }
}
