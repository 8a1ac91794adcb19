//! How the text of statements is read.
//!
//! Idea: sqlparser's generic dialect, which reads most of what others have, except that operators bind
//! as they do in PostgreSQL: `a = b BETWEEN 1 AND 2` is `a = (b BETWEEN 1 AND 2)`. Only the operators of
//! JSON bind as in SQLite, tighter than arithmetic: `doc ->> 'a' = 'x'` compares what `->>` finds.
//! Non-goal: other dialects, which whoever opens an engine may still choose.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::{calls, glob};

/// The operators of JSON: tighter than all arithmetic, and looser than `::`.
const ARROW: u8 = 46;
/// The signs of numbers: `-2 ^ 2` is 4.
const SIGN: u8 = 45;
/// `AT TIME ZONE`.
const TIME_ZONE: u8 = 44;
/// `^` and `**`, which raise to a power.
const POWER: u8 = 43;
/// Operators that have no place of their own, such as `||`, `&` and `<<`.
const OTHER: u8 = 25;
/// `BETWEEN`, `IN`, `LIKE` and what else compares with a pattern, but for `~`.
pub(super) const PATTERN: u8 = 22;

/// The dialect.
#[derive(Debug)]
pub(crate) struct NetabaseDialect;

/// Whatever the generic dialect says to these.
macro_rules! generic {
    ($($question:ident,)*) => {
        $(fn $question(&self) -> bool {
            GenericDialect.$question()
        })*
    };
}

impl Dialect for NetabaseDialect {
    fn dialect(&self) -> TypeId {
        GenericDialect.dialect()
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        if glob::is_next(parser) {
            return Some(Ok(PATTERN));
        }
        let precedence = match &parser.peek_token_ref().token {
            Token::Arrow
            | Token::LongArrow
            | Token::HashArrow
            | Token::HashLongArrow
            | Token::HashMinus => ARROW,
            Token::Caret => POWER,
            Token::Mul if is_power(parser) => POWER,
            Token::Tilde
            | Token::TildeAsterisk
            | Token::ExclamationMarkTilde
            | Token::ExclamationMarkTildeAsterisk
            | Token::DoubleTilde
            | Token::DoubleTildeAsterisk
            | Token::ExclamationMarkDoubleTilde
            | Token::ExclamationMarkDoubleTildeAsterisk
            | Token::StringConcat
            | Token::Pipe
            | Token::Ampersand
            | Token::Sharp
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::Overlap
            | Token::AtArrow
            | Token::ArrowAt
            | Token::AtQuestion
            | Token::AtAt
            | Token::Question
            | Token::QuestionAnd
            | Token::QuestionPipe
            | Token::CustomBinaryOperator(_) => OTHER,
            Token::Word(word) if is_isnull(word) => self.prec_value(Precedence::Is),
            _ => return GenericDialect.get_next_precedence(parser),
        };
        Some(Ok(precedence))
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::AtTz => TIME_ZONE,
            Precedence::Between | Precedence::Like => PATTERN,
            other => GenericDialect.prec_value(other),
        }
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let op = match parser.peek_token_ref().token {
            Token::Minus => UnaryOperator::Minus,
            Token::Plus => UnaryOperator::Plus,
            // The parser would look first whether it is the name of a type, and write an error that it is not.
            Token::Number(..) | Token::SingleQuotedString(_) => {
                return Some(parser.parse_value().map(Expr::Value));
            }
            _ => return calls::parse(parser),
        };
        parser.advance_token();
        let signed = parser.parse_subexpr(SIGN).map(|expr| Expr::UnaryOp {
            op,
            expr: Box::new(expr),
        });
        Some(signed)
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        is_null(parser, expr)
            .or_else(|| distinct_from(parser, expr, precedence))
            .or_else(|| power_or_xor(parser, expr, precedence))
            .or_else(|| between_either(parser, expr))
            .or_else(|| glob::parse(parser, expr))
            .or_else(|| GenericDialect.parse_infix(parser, expr, precedence))
    }

    /// `INSERT INTO t SELECT 1 ON CONFLICT …`.
    fn is_column_alias(&self, kw: &Keyword, parser: &mut Parser<'_>) -> bool {
        *kw != Keyword::ON && GenericDialect.is_column_alias(kw, parser)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        // `#` is an operator.
        ch != '#' && GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    /// `1_000_000`.
    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    /// `INSERT INTO t AS x …`.
    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    /// ALTER COLUMN … TYPE … USING, as PostgreSQL has it.
    fn supports_alter_column_type_using(&self) -> bool {
        true
    }

    generic! {
        allow_extract_custom,
        allow_extract_single_quotes,
        support_map_literal_syntax,
        supports_array_join_syntax,
        supports_array_typedef_with_brackets,
        supports_asc_desc_in_column_definition,
        supports_bitwise_shift_operators,
        supports_comma_separated_set_assignments,
        supports_comma_separated_trim,
        supports_comment_on,
        supports_comment_optimizer_hint,
        supports_connect_by,
        supports_constraint_keyword_without_name,
        supports_create_index_with_clause,
        supports_create_view_comment_syntax,
        supports_cte_without_as,
        supports_data_type_signed_suffix,
        supports_detach,
        supports_dictionary_syntax,
        supports_empty_projections,
        supports_explain_with_utility_options,
        supports_extract_comma_syntax,
        supports_filter_during_aggregation,
        supports_from_first_select,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_install,
        supports_interpolate,
        supports_interval_options,
        supports_key_column_option,
        supports_left_associative_joins_without_parens,
        supports_limit_by,
        supports_limit_comma,
        supports_load_extension,
        supports_match_against,
        supports_match_recognize,
        supports_multiline_comment_hints,
        supports_named_fn_args_with_assignment_operator,
        supports_nested_comments,
        supports_optimize_table,
        supports_parens_around_table_factor,
        supports_parenthesized_set_variables,
        supports_partition_by_after_order_by,
        supports_pipe_operator,
        supports_prewhere,
        supports_projection_trailing_commas,
        supports_quote_delimited_string,
        supports_select_format,
        supports_select_item_multi_column_alias,
        supports_select_wildcard_except,
        supports_select_wildcard_exclude,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_select_wildcard_replace,
        supports_set_names,
        supports_settings,
        supports_start_transaction_modifier,
        supports_string_escape_constant,
        supports_struct_literal,
        supports_try_convert,
        supports_unicode_string_literal,
        supports_update_order_by,
        supports_user_host_grantee,
        supports_values_as_table_factor,
        supports_window_clause_named_window_reference,
        supports_window_function_null_treatment_arg,
        supports_with_fill,
        supports_xml_expressions,
    }
}

fn is_isnull(word: &Word) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case("isnull")
}

/// `x ISNULL`.
fn is_null(parser: &mut Parser<'_>, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    match &parser.peek_token_ref().token {
        Token::Word(word) if is_isnull(word) => {}
        _ => return None,
    }
    parser.advance_token();
    Some(Ok(Expr::IsNull(Box::new(expr.clone()))))
}

/// `IS [NOT] DISTINCT FROM`, whose right side ends where that of a comparison does.
fn distinct_from(
    parser: &mut Parser<'_>,
    expr: &Expr,
    precedence: u8,
) -> Option<Result<Expr, ParserError>> {
    use Keyword::{DISTINCT, FROM, IS, NOT};
    let negated = match () {
        () if parser.parse_keywords(&[IS, DISTINCT, FROM]) => false,
        () if parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]) => true,
        () => return None,
    };
    let left = Box::new(expr.clone());
    Some(parser.parse_subexpr(precedence).map(|right| match negated {
        false => Expr::IsDistinctFrom(left, Box::new(right)),
        true => Expr::IsNotDistinctFrom(left, Box::new(right)),
    }))
}

/// Whether `**` comes next.
fn is_power(parser: &Parser<'_>) -> bool {
    matches!(parser.peek_token_ref().token, Token::Mul)
        && matches!(parser.peek_nth_token_ref(1).token, Token::Mul)
}

/// `^` and `**`, which raise to a power, and `#`, which says in which bits two numbers differ.
fn power_or_xor(
    parser: &mut Parser<'_>,
    expr: &Expr,
    precedence: u8,
) -> Option<Result<Expr, ParserError>> {
    let op = match parser.peek_token_ref().token {
        Token::Caret => BinaryOperator::PGExp,
        Token::Mul if is_power(parser) => {
            parser.advance_token();
            BinaryOperator::PGExp
        }
        Token::Sharp => BinaryOperator::BitwiseXor,
        _ => return None,
    };
    parser.advance_token();
    let left = Box::new(expr.clone());
    let right = parser.parse_subexpr(precedence);
    Some(right.map(|right| Expr::BinaryOp {
        left,
        op,
        right: Box::new(right),
    }))
}

/// `BETWEEN SYMMETRIC`, whose bounds may come in either order.
fn between_either(parser: &mut Parser<'_>, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    use Keyword::{BETWEEN, NOT, SYMMETRIC};
    let negated = match () {
        () if parser.parse_keywords(&[BETWEEN, SYMMETRIC]) => false,
        () if parser.parse_keywords(&[NOT, BETWEEN, SYMMETRIC]) => true,
        () => return None,
    };
    let mut bounds = || -> Result<(Expr, Expr), ParserError> {
        let one = parser.parse_subexpr(PATTERN)?;
        parser.expect_keyword_is(Keyword::AND)?;
        Ok((one, parser.parse_subexpr(PATTERN)?))
    };
    let between = |low: &Expr, high: &Expr| Expr::Between {
        expr: Box::new(expr.clone()),
        negated,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    Some(bounds().map(|(one, other)| {
        let either = Expr::BinaryOp {
            left: Box::new(between(&one, &other)),
            op: match negated {
                false => BinaryOperator::Or,
                true => BinaryOperator::And,
            },
            right: Box::new(between(&other, &one)),
        };
        Expr::Nested(Box::new(either))
    }))
}
