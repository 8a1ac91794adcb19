//! Statements as trees of text.
//!
//! A tree can be written in both dialects, and gives smaller trees that mean something similar, for a
//! difference to be shown as shortly as it can be. Invariant: what makes a statement mean the same in
//! both dialects (guards against division by zero, orders that are total) lies in text that is never
//! taken out of its node.

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Int,
    Real,
    Text,
    Bool,
    Blob,
}

/// Who is to read a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Ours,
    Sqlite,
    /// SQLite, which is to compute each relation behind FROM by itself.
    SqliteApart,
}

/// What may be done to a node to make it smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing; its parts may be made smaller.
    Fixed,
    /// It may become one of the values of the same type inside of it, or a literal.
    Value(Type),
    /// It may go.
    Optional,
    /// It may go, and then the rows come in any order.
    Order,
    /// Any of its parts but the last one left may go; what stands between them.
    List(&'static str),
}

/// A part of a node.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    /// The same thing, said differently.
    Dialects {
        ours: String,
        sqlite: String,
    },
    /// What keeps SQLite from joining a relation with what is around it.
    Apart(&'static str),
    Tree(Tree),
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Tree> for Part {
    fn from(tree: Tree) -> Self {
        Self::Tree(tree)
    }
}

/// A node and what is below it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    role: Role,
    parts: Vec<Part>,
}

/// A node that stays, of parts.
macro_rules! sql {
    ($($part:expr),* $(,)?) => {
        $crate::cases::differential::tree::Tree::fixed(
            vec![$($crate::cases::differential::tree::Part::from($part)),*]
        )
    };
}
pub(super) use sql;

/// Text that differs between the dialects.
pub(super) fn either(ours: &str, sqlite: &str) -> Part {
    Part::Dialects {
        ours: ours.to_owned(),
        sqlite: sqlite.to_owned(),
    }
}

/// A query or the name of a relation, which SQLite may be told to compute by itself.
pub(super) fn relation(query: impl Into<Part>, is_query: bool) -> Tree {
    let (before, after) = match is_query {
        true => ("(", ")"),
        false => ("", ""),
    };
    let opened = match is_query {
        true => "WITH apart AS MATERIALIZED (",
        false => "(WITH apart AS MATERIALIZED (SELECT * FROM ",
    };
    let closed = match is_query {
        true => ") SELECT * FROM apart",
        false => ") SELECT * FROM apart)",
    };
    let (opened, query, closed) = (Part::Apart(opened), query.into(), Part::Apart(closed));
    sql![before, opened, query, closed, after]
}

impl Tree {
    pub(super) fn fixed(parts: Vec<Part>) -> Self {
        let role = Role::Fixed;
        Self { role, parts }
    }

    /// The same parts, in another role.
    pub(super) fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    pub(super) fn optional(self) -> Self {
        self.role(Role::Optional)
    }

    /// Nothing at all.
    pub(super) fn nothing() -> Self {
        Self::fixed(Vec::new())
    }

    /// Trees one after the other, any of which may go.
    pub(super) fn list(between: &'static str, trees: impl IntoIterator<Item = Tree>) -> Self {
        Self::fixed(trees.into_iter().map(Part::Tree).collect()).role(Role::List(between))
    }

    /// Trees one after the other, all of which stay.
    pub(super) fn row(trees: impl IntoIterator<Item = Tree>) -> Self {
        let mut parts = Vec::new();
        for tree in trees {
            if !parts.is_empty() {
                parts.push(Part::from(", "));
            }
            parts.push(Part::Tree(tree));
        }
        Self::fixed(parts)
    }

    /// Whether it is a query whose rows come in an order.
    pub(super) fn is_ordered(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Tree(tree) => tree.role == Role::Order,
            _ => false,
        })
    }

    /// The text of the statement.
    pub(super) fn text(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        self.write(dialect, &mut text);
        text
    }

    fn write(&self, dialect: Dialect, into: &mut String) {
        for (index, part) in self.parts.iter().enumerate() {
            if let (Role::List(between), true) = (self.role, index > 0) {
                into.push_str(between);
            }
            match part {
                Part::Text(text) => into.push_str(text),
                Part::Dialects { ours, sqlite } => into.push_str(match dialect {
                    Dialect::Ours => ours,
                    Dialect::Sqlite | Dialect::SqliteApart => sqlite,
                }),
                Part::Apart(text) if dialect == Dialect::SqliteApart => into.push_str(text),
                Part::Apart(_) => {}
                Part::Tree(tree) => tree.write(dialect, into),
            }
        }
    }

    /// Trees with less text, those that lack most first.
    pub(super) fn smaller(&self) -> Vec<Tree> {
        let length = self.text(Dialect::Ours).len();
        let mut found: Vec<(usize, Tree)> = self.alternatives().into_iter().map(sized).collect();
        found.retain(|(size, _)| *size < length);
        for (index, part) in self.parts.iter().enumerate() {
            let Part::Tree(child) = part else { continue };
            for smaller in child.smaller() {
                let mut tree = self.clone();
                tree.parts[index] = Part::Tree(smaller);
                found.push(sized(tree));
            }
        }
        found.sort_by_key(|(size, _)| *size);
        found.into_iter().map(|(_, tree)| tree).collect()
    }

    /// What this node itself may become.
    fn alternatives(&self) -> Vec<Tree> {
        match self.role {
            Role::Fixed => Vec::new(),
            Role::Optional | Role::Order => vec![Self::nothing()],
            Role::List(_) if self.parts.len() < 2 => Vec::new(),
            Role::List(_) => (0..self.parts.len())
                .map(|index| {
                    let mut tree = self.clone();
                    tree.parts.remove(index);
                    tree
                })
                .collect(),
            Role::Value(ty) => {
                let mut found = Vec::new();
                self.values_inside(ty, &mut found);
                let literals = literals(ty).iter().map(|text| sql![*text].role(self.role));
                found.extend(literals);
                found
            }
        }
    }

    fn values_inside(&self, ty: Type, into: &mut Vec<Tree>) {
        for part in &self.parts {
            if let Part::Tree(tree) = part {
                match tree.role == Role::Value(ty) {
                    true => into.push(tree.clone()),
                    false => tree.values_inside(ty, into),
                }
            }
        }
    }
}

fn sized(tree: Tree) -> (usize, Tree) {
    (tree.text(Dialect::Ours).len(), tree)
}

fn literals(ty: Type) -> &'static [&'static str] {
    match ty {
        Type::Int => &["0", "1", "NULL"],
        Type::Real => &["0.5", "NULL"],
        Type::Text => &["''", "'a'", "NULL"],
        Type::Bool => &["TRUE", "FALSE", "NULL"],
        Type::Blob => &["X'00'", "NULL"],
    }
}
