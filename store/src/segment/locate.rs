//! From keys to rows.
//!
//! Idea: the key range and the filters rule out most keys that are not there; the sparse index
//! names the page of the others. Few keys of a group: their pages alone are decoded, and only the
//! probed rows are turned into keys; the second time, the keys of the page are made and kept. Many
//! keys: the keys of the whole group are made once.
//! Invariant: every key that is there is found, whatever the cache holds.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};

use super::blocks::damaged;
use super::cache::{KEYS, WHOLE};
use super::index::Index;
use super::load::Loaded;
use super::{GROUP_ROWS, PAGE_ROWS, Segment, filter};
use crate::error::Result;

/// Pages of a group.
pub(super) const PAGES: usize = GROUP_ROWS / PAGE_ROWS;

/// Share of a group's pages from which on all of it is decoded: one in so many.
pub(super) const PAGES_TO_WHOLE: usize = 4;

/// From so many keys in one page on, all keys of the page are made instead of probing.
const PROBED_KEYS: usize = 8;

/// A key that may be there.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    index: usize,
    /// Counted over the segment.
    page: usize,
}

impl Segment {
    /// Calls `found` with (index in `keys`, row) for every key that is there. `keys` ascend.
    pub(crate) fn locate(&self, keys: &[&[u8]], found: &mut dyn FnMut(usize, u32)) -> Result<()> {
        let from = keys.partition_point(|key| *key < &self.meta.min_key[..]);
        let until = keys.partition_point(|key| *key <= &self.meta.max_key[..]);
        if from >= until {
            return Ok(());
        }
        let wanted = wanted(self.load()?, keys, from..until);
        for group in wanted.chunk_by(|a, b| a.page / PAGES == b.page / PAGES) {
            self.locate_in_group(keys, group, found)?;
        }
        Ok(())
    }

    /// The row of a key. What is cached is found without setting memory aside.
    pub(crate) fn locate_one(&self, key: &[u8]) -> Result<Option<u32>> {
        if key < &self.meta.min_key[..] || key > &self.meta.max_key[..] {
            return Ok(None);
        }
        let index = &self.load()?.index;
        let page = page_of(index, 0, key);
        let (group, in_group) = (page / PAGES, page % PAGES);
        if !may_be_in(index, page, key) {
            return Ok(None);
        }
        if let Some((keys, rows)) = self.cached_page_keys(group, in_group)
            && let Some(keys) = keys.as_binary_opt::<i32>()
        {
            let start = rows.start;
            let found = binary_search(keys, rows, key);
            return Ok(found.map(|row| row_of(page, row - start)));
        }
        let mut row = None;
        let wanted = Wanted { index: 0, page };
        self.locate_in_page(group, &[key], &[wanted], &mut |_, found| row = Some(found))?;
        Ok(row)
    }

    fn locate_in_group(
        &self,
        keys: &[&[u8]],
        wanted: &[Wanted],
        found: &mut dyn FnMut(usize, u32),
    ) -> Result<()> {
        let Some(group) = wanted.first().map(|wanted| wanted.page / PAGES) else {
            return Ok(());
        };
        let cached = self.cached_keys(self.cache_key(group, KEYS as usize, WHOLE));
        let pages = wanted.chunk_by(|a, b| a.page == b.page);
        let many = pages.clone().count() * PAGES_TO_WHOLE > PAGES;
        let whole = match cached {
            None if many => Some(self.keys(group)?),
            cached => cached,
        };
        for page in pages {
            match &whole {
                Some(all) => {
                    let start = page_in_group(page) * PAGE_ROWS;
                    let len = PAGE_ROWS.min(all.len().saturating_sub(start));
                    search(&all.slice(start, len), keys, page, found);
                }
                None => self.locate_in_page(group, keys, page, found)?,
            }
        }
        Ok(())
    }

    fn locate_in_page(
        &self,
        group: usize,
        keys: &[&[u8]],
        wanted: &[Wanted],
        found: &mut dyn FnMut(usize, u32),
    ) -> Result<()> {
        let page = page_in_group(wanted);
        let of_page = match self.page_keys_again(group, page)? {
            None if wanted.len() >= PROBED_KEYS => Some(self.page_keys(group, page)?),
            known => known,
        };
        if let Some(of_page) = of_page {
            search(&of_page, keys, wanted, found);
            return Ok(());
        }
        let columns = self.page(group, self.keys.columns(), page)?;
        for wanted in wanted {
            let Some(key) = keys.get(wanted.index) else {
                continue;
            };
            if let Ok(row) = self.probe(&columns, key)? {
                found(wanted.index, row_of(wanted.page, row));
            }
        }
        Ok(())
    }

    /// The first row of a page whose key is not less than `key`.
    pub(super) fn first_in_page(&self, group: usize, page: usize, key: &[u8]) -> Result<usize> {
        if let Some(of_page) = self.page_keys_again(group, page)? {
            return Ok(partition_point(&of_page, 0..of_page.len(), key));
        }
        let columns = self.page(group, self.keys.columns(), page)?;
        let row = self.probe(&columns, key)?;
        Ok(row.unwrap_or_else(|behind| behind))
    }

    /// The keys of a page that is not asked for the first time: these are worth making, and kept. The
    /// first time, `None`: few rows are enough.
    fn page_keys_again(&self, group: usize, page: usize) -> Result<Option<BinaryArray>> {
        if let Some(known) = self.known_page_keys(group, page) {
            return Ok(Some(known));
        }
        let again = self.keys.columns().first().is_some_and(|&column| {
            let cached = |page| self.place.cache.get(self.cache_key(group, column, page));
            cached(page as u32).or_else(|| cached(WHOLE)).is_some()
        });
        again.then(|| self.page_keys(group, page)).transpose()
    }

    pub(super) fn known_page_keys(&self, group: usize, page: usize) -> Option<BinaryArray> {
        let (keys, rows) = self.cached_page_keys(group, page)?;
        let keys = keys.as_binary_opt::<i32>()?;
        Some(keys.slice(rows.start, rows.len()))
    }

    /// Keys in the cache, and which of them are those of the page.
    fn cached_page_keys(&self, group: usize, page: usize) -> Option<(ArrayRef, Range<usize>)> {
        let cached = |page| {
            let key = self.cache_key(group, KEYS as usize, page);
            self.place.cache.get(key)
        };
        if let Some(keys) = cached(page as u32) {
            let rows = 0..keys.len();
            return Some((keys, rows));
        }
        let all = cached(WHOLE)?;
        let start = (page * PAGE_ROWS).min(all.len());
        let end = (start + PAGE_ROWS).min(all.len());
        Some((all, start..end))
    }

    /// The keys of a page. Kept in the cache.
    fn page_keys(&self, group: usize, page: usize) -> Result<BinaryArray> {
        if let Some(known) = self.known_page_keys(group, page) {
            return Ok(known);
        }
        let columns = self.page(group, self.keys.columns(), page)?;
        let of_page = self.encode_keys(&columns)?;
        let values: ArrayRef = Arc::new(of_page.clone());
        let cache_key = self.cache_key(group, KEYS as usize, page as u32);
        self.place.cache.insert(cache_key, &values);
        Ok(of_page)
    }

    /// The row with a key, or else the first one behind it: a binary search that makes keys of the
    /// rows it looks at only.
    fn probe(&self, columns: &[ArrayRef], key: &[u8]) -> Result<std::result::Result<usize, usize>> {
        let (mut low, mut high) = (0, columns.first().map_or(0, |column| column.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            let order = self.keys.compare(columns, middle, key);
            match order.map_err(|error| damaged(&self.data_path(), error))? {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }
}

/// The keys that range, filters and sparse index do not rule out, with their pages.
fn wanted(loaded: &Loaded, keys: &[&[u8]], range: Range<usize>) -> Vec<Wanted> {
    let index = &loaded.index;
    let mut wanted = Vec::with_capacity(range.len());
    let mut first = 0;
    for (at, key) in keys.iter().enumerate().take(range.end).skip(range.start) {
        first = page_of(index, first, key);
        if may_be_in(index, first, key) {
            wanted.push(Wanted {
                index: at,
                page: first,
            });
        }
    }
    wanted
}

/// The page that has a key, if any has: `first` or a later one.
fn page_of(index: &Index, first: usize, key: &[u8]) -> usize {
    let later = index.page_keys.get(first..).unwrap_or_default();
    // The page before the first one that begins behind the key.
    let behind = later.partition_point(|start| &start[..] <= key);
    first + behind.saturating_sub(1)
}

/// Whether the filter of the page's group lets a key pass.
fn may_be_in(index: &Index, page: usize, key: &[u8]) -> bool {
    let filter = index.filters.get(page / PAGES);
    filter.is_none_or(|filter| filter::may_contain(filter, filter::hash_key(key)))
}

/// The place of a key among ascending ones.
fn binary_search(keys: &BinaryArray, rows: Range<usize>, key: &[u8]) -> Option<usize> {
    let Range {
        start: mut low,
        end: mut high,
    } = rows;
    while low < high {
        let middle = low + (high - low) / 2;
        match keys.value(middle).cmp(key) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Some(middle),
        }
    }
    None
}

fn page_in_group(wanted: &[Wanted]) -> usize {
    wanted.first().map_or(0, |wanted| wanted.page % PAGES)
}

fn row_of(page: usize, offset: usize) -> u32 {
    (page * PAGE_ROWS + offset) as u32
}

/// Looks for ascending keys among the keys of their page.
fn search(
    of_page: &BinaryArray,
    keys: &[&[u8]],
    wanted: &[Wanted],
    found: &mut dyn FnMut(usize, u32),
) {
    let mut from = 0;
    for wanted in wanted {
        let Some(key) = keys.get(wanted.index) else {
            continue;
        };
        from = lower_bound(of_page, from, key);
        if from < of_page.len() && of_page.value(from) == *key {
            found(wanted.index, row_of(wanted.page, from));
        }
    }
}

/// The first row from `from` on whose key is not less than `key`. Steps grow, for near ones.
pub(super) fn lower_bound(keys: &BinaryArray, from: usize, key: &[u8]) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step <= keys.len() && keys.value(low + step - 1) < key {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(keys.len());
    partition_point(keys, low..high, key)
}

/// The first of ascending keys that is not less than `key`; the range's end if all are.
fn partition_point(keys: &BinaryArray, within: Range<usize>, key: &[u8]) -> usize {
    let (mut low, mut high) = (within.start, within.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if keys.value(middle) < key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
