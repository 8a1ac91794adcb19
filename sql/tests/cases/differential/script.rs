//! Scripts of statements from a seed.

use super::dice::Dice;
use super::expr::{Maker, Named};
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
            views: Vec::new(),
            made: 0,
            open: false,
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
    views: Vec<Named>,
    /// Indexes and views that were made so far.
    made: usize,
    /// Whether a transaction is open, in which no definition changes.
    open: bool,
}

impl Writer {
    fn maker(&mut self) -> Maker<'_> {
        Maker {
            dice: &mut self.dice,
            tables: &self.tables,
            names: 0,
            named: self.views.clone(),
            views: self.views.len(),
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
        let weights: [usize; 10] = match self.open {
            true => [40, 22, 12, 12, 0, 0, 1, 3, 10, 0],
            false => [50, 18, 9, 8, 3, 1, 1, 6, 2, 1],
        };
        let tree = match self.dice.weighted(&weights) {
            0 => self.maker().statement(),
            1 => self.maker().insert(&table),
            2 => self.maker().update(&table),
            3 => self.maker().delete(&table),
            4 => self.index(&table),
            5 => return self.replace(table),
            6 => self.maker().wrong(&table),
            7 => {
                let upkeep = self.upkeep(table.name);
                return self.steps.push(upkeep);
            }
            8 => self.transaction(),
            _ => {
                self.made += 1;
                let name = format!("v{}", self.made);
                let (tree, view) = self.maker().view(name);
                self.views.push(view);
                tree
            }
        };
        self.steps.push(Step::Sql(tree));
    }

    /// Begins a transaction, or ends it.
    fn transaction(&mut self) -> Tree {
        self.open = !self.open;
        match self.open {
            true => sql!["BEGIN"],
            false => sql![self.dice.pick(&["COMMIT", "ROLLBACK", "COMMIT"])],
        }
    }

    /// Drops a table and makes another one of its name. Views go first: they may read it.
    fn replace(&mut self, table: Table) {
        let views = std::mem::take(&mut self.views);
        let views = views
            .into_iter()
            .map(|view| format!("DROP VIEW {}", view.name));
        let drops = views.chain([format!("DROP TABLE {}", table.name)]);
        self.steps.extend(drops.map(|drop| Step::Sql(sql![drop])));
        let table = Table::random(&mut self.dice, table.name);
        self.create(table);
    }

    fn upkeep(&mut self, table: String) -> Step {
        if self.open {
            return Step::Flush;
        }
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
        self.made += 1;
        table.indexed.push(self.made);
        let first = self.dice.below(table.columns.len());
        let mut names = vec![table.columns[first].name.as_str()];
        if self.dice.percent(30) {
            let second = (first + 1) % table.columns.len();
            names.push(&table.columns[second].name);
        }
        let (name, columns) = (&table.name, names.join(", "));
        sql![format!("CREATE INDEX i{} ON {name} ({columns})", self.made)]
    }
}
