//! Scripts of statements from a seed.

use super::dice::Dice;
use super::expr::Maker;
use super::schema::Table;
use super::tree::{Tree, sql};

/// Statements of a script after its tables are made and filled.
const STATEMENTS: usize = 240;
/// Rows that a table starts with, at most.
const FIRST_ROWS: usize = 30;
/// Whole tables are compared after so many statements.
const COMPARED_EVERY: usize = 12;
/// Indexes of one table.
const INDEXES: usize = 3;

/// What is done to both databases, or to ours between statements.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Sql(Tree),
    /// All tables are read whole.
    Compare,
    /// Rows of the log go where a checkpoint puts them.
    Checkpoint,
    /// All rows go to segments.
    Flush,
    /// The segments of a table are merged.
    Compact(String),
    /// The store is closed, and opened again.
    Reopen,
}

/// A script, and how our engine runs it.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) target_partitions: usize,
    pub(super) batch_size: usize,
    pub(super) steps: Vec<Step>,
}

impl Script {
    /// The script of a seed.
    pub(super) fn random(seed: u64) -> Self {
        let mut writer = Writer {
            dice: Dice::new(seed),
            tables: Vec::new(),
            steps: Vec::new(),
            indexes: 0,
        };
        let target_partitions = [1, 2, 4][writer.dice.below(3)];
        let batch_size = [3, 64, 8192][writer.dice.below(3)];
        for index in 0..2 + writer.dice.below(2) {
            let table = Table::random(&mut writer.dice, format!("t{index}"));
            writer.create(table);
        }
        for count in 1..=STATEMENTS {
            writer.statement();
            if count % COMPARED_EVERY == 0 {
                writer.steps.push(Step::Compare);
            }
        }
        Self {
            seed,
            target_partitions,
            batch_size,
            steps: writer.steps,
        }
    }

    /// How many statements it has.
    pub(super) fn statements(&self) -> usize {
        let steps = self.steps.iter();
        steps.filter(|step| matches!(step, Step::Sql(_))).count()
    }
}

struct Writer {
    dice: Dice,
    tables: Vec<Table>,
    steps: Vec<Step>,
    /// Indexes that were made so far.
    indexes: usize,
}

impl Writer {
    fn maker(&mut self) -> Maker<'_> {
        Maker {
            dice: &mut self.dice,
            tables: &self.tables,
            names: 0,
            named: Vec::new(),
        }
    }

    /// Makes a table and fills it, in place of the one of its name.
    fn create(&mut self, table: Table) {
        let create = table.create(&mut self.dice);
        self.steps.push(Step::Sql(create));
        self.tables.retain(|other| other.name != table.name);
        self.tables.push(table.clone());
        if self.dice.percent(95) {
            let rows = self.maker().insert_values(&table, FIRST_ROWS);
            self.steps.push(Step::Sql(rows));
        }
    }

    fn statement(&mut self) {
        let table = self.tables[self.dice.below(self.tables.len())].clone();
        let kind = self.dice.weighted(&[52, 18, 9, 8, 3, 1, 1, 6]);
        let tree = match kind {
            0 => self.maker().statement(),
            1 => self.maker().insert(&table),
            2 => self.maker().update(&table),
            3 => self.maker().delete(&table),
            4 => self.index(&table),
            5 => {
                self.steps
                    .push(Step::Sql(sql![format!("DROP TABLE {}", table.name)]));
                let table = Table::random(&mut self.dice, table.name);
                return self.create(table);
            }
            6 => self.maker().wrong(&table),
            _ => {
                let upkeep = self.upkeep(table.name);
                return self.steps.push(upkeep);
            }
        };
        self.steps.push(Step::Sql(tree));
    }

    fn upkeep(&mut self, table: String) -> Step {
        match self.dice.weighted(&[15, 50, 25, 10]) {
            0 => Step::Checkpoint,
            1 => Step::Flush,
            2 => Step::Compact(table),
            _ => Step::Reopen,
        }
    }

    /// Makes an index, or removes one.
    fn index(&mut self, table: &Table) -> Tree {
        let place = self
            .tables
            .iter()
            .position(|other| other.name == table.name);
        let table = &mut self.tables[place.unwrap_or_default()];
        if table.indexed.len() >= INDEXES || (!table.indexed.is_empty() && self.dice.percent(25)) {
            let index = table.indexed.remove(0);
            return sql![format!("DROP INDEX i{index}")];
        }
        self.indexes += 1;
        table.indexed.push(self.indexes);
        let first = self.dice.below(table.columns.len());
        let mut names = vec![table.columns[first].name.as_str()];
        if self.dice.percent(30) {
            let second = (first + 1) % table.columns.len();
            names.push(&table.columns[second].name);
        }
        let (name, columns) = (&table.name, names.join(", "));
        sql![format!(
            "CREATE INDEX i{} ON {name} ({columns})",
            self.indexes
        )]
    }
}
