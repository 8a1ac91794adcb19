//! The stamps of a batch's rows: one for all, or one each.

use std::sync::Arc;

use arrow::buffer::BooleanBuffer;
use serde::{Deserialize, Serialize};

use crate::clock::Version;
use crate::ids::{Author, Stamp};

/// Version and author of every row of a batch. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Stamps {
    One(Stamp),
    PerRow(Arc<PerRow>),
}

/// Authors are kept once; rows refer to them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PerRow {
    versions: Vec<Version>,
    authors: Vec<Author>,
    author_of: Vec<u32>,
}

impl Stamps {
    pub(crate) fn version(&self, row: usize) -> Version {
        match self {
            Self::One(stamp) => stamp.version,
            Self::PerRow(rows) => rows.versions.get(row).copied().unwrap_or_default(),
        }
    }

    pub(crate) fn author(&self, row: usize) -> Option<&Author> {
        match self {
            Self::One(stamp) => Some(&stamp.author),
            Self::PerRow(rows) => rows
                .author_of
                .get(row)
                .and_then(|&author| rows.authors.get(author as usize)),
        }
    }

    pub(crate) fn stamp(&self, row: usize) -> Stamp {
        Stamp {
            version: self.version(row),
            author: self.author(row).cloned().unwrap_or_default(),
        }
    }

    /// The stamps of the given rows.
    pub(crate) fn select(&self, rows: &[u32]) -> Self {
        if let Self::One(stamp) = self {
            return Self::One(stamp.clone());
        }
        let mut selected = PerRow::default();
        rows.iter()
            .for_each(|&row| selected.push(self, row as usize));
        selected.simplified()
    }

    /// The greatest version.
    pub(crate) fn newest(&self) -> Version {
        match self {
            Self::One(stamp) => stamp.version,
            Self::PerRow(rows) => rows.versions.iter().copied().max().unwrap_or_default(),
        }
    }

    /// Whether there is a stamp for each of `rows` rows.
    pub(crate) fn covers(&self, rows: usize) -> bool {
        match self {
            Self::One(_) => true,
            Self::PerRow(stamps) => {
                stamps.versions.len() == rows
                    && stamps.author_of.len() == rows
                    && stamps
                        .author_of
                        .iter()
                        .all(|&author| (author as usize) < stamps.authors.len())
            }
        }
    }

    /// Bytes held beside the batch itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::PerRow(rows) => {
                rows.versions.capacity() * size_of::<Version>()
                    + rows.author_of.capacity() * size_of::<u32>()
                    + rows
                        .authors
                        .iter()
                        .map(|author| author.len())
                        .sum::<usize>()
            }
        }
    }

    /// The stamps of single rows of several batches.
    pub(crate) fn collect<'a>(rows: impl Iterator<Item = (&'a Stamps, usize)>) -> Self {
        let mut all = PerRow::default();
        rows.for_each(|(stamps, row)| all.push(stamps, row));
        all.simplified()
    }

    /// The stamps of the chosen rows (`None`: the first `len`) of several batches, one after the
    /// other.
    pub(crate) fn gather<'a>(
        parts: impl Iterator<Item = (&'a Stamps, Option<BooleanBuffer>, usize)>,
    ) -> Self {
        let mut all = PerRow::default();
        for (stamps, chosen, len) in parts {
            match chosen {
                Some(chosen) => chosen.set_indices().for_each(|row| all.push(stamps, row)),
                None => (0..len).for_each(|row| all.push(stamps, row)),
            }
        }
        all.simplified()
    }
}

impl PerRow {
    fn push(&mut self, from: &Stamps, row: usize) {
        let last = self.author_of.last().copied().unwrap_or_default() as usize;
        let author = from.author(row);
        let index = if author.is_some() && self.authors.get(last) == author {
            last
        } else {
            self.index_of(author.cloned().unwrap_or_default())
        };
        self.versions.push(from.version(row));
        self.author_of.push(index as u32);
    }

    fn index_of(&mut self, author: Author) -> usize {
        let known = self.authors.iter().position(|known| *known == author);
        known.unwrap_or_else(|| {
            self.authors.push(author);
            self.authors.len() - 1
        })
    }

    fn simplified(self) -> Stamps {
        let same = self.authors.len() == 1
            && self
                .versions
                .windows(2)
                .all(|pair| pair.first() == pair.last());
        match (same, self.authors.first(), self.versions.first()) {
            (true, Some(author), Some(&version)) => Stamps::One(Stamp {
                version,
                author: author.clone(),
            }),
            _ => Stamps::PerRow(Arc::new(self)),
        }
    }
}
