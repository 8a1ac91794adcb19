//! How old the rows of a segment are.
//!
//! Invariant: a group's bounds are those of its rows' versions, exactly.

use arrow::array::AsArray;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::UInt64Type;

use super::Segment;
use super::blocks::damaged;
use crate::clock::Version;
use crate::error::Result;

impl Segment {
    /// Which rows of a group were written at `cutoff` or later; `None`: all. Reads versions only
    /// where the bounds do not tell.
    pub(crate) fn younger(&self, group: usize, cutoff: Version) -> Result<Option<BooleanBuffer>> {
        let rows = self.group_rows(group);
        if self.meta.oldest >= cutoff {
            return Ok(None);
        }
        if self.meta.newest < cutoff {
            return Ok(Some(BooleanBuffer::new_unset(rows)));
        }
        match self.ages()?.get(group) {
            Some((_, oldest)) if *oldest >= cutoff => Ok(None),
            Some((newest, _)) if *newest < cutoff => Ok(Some(BooleanBuffer::new_unset(rows))),
            _ => {
                let versions = self.versions_of(group)?;
                Ok(Some(BooleanBuffer::collect_bool(rows, |row| {
                    versions.get(row).is_some_and(|v| *v >= cutoff.0)
                })))
            }
        }
    }

    /// The greatest and the least version of every group.
    fn ages(&self) -> Result<&[(Version, Version)]> {
        if let Some(ages) = self.ages.get() {
            return Ok(ages);
        }
        let ages = (0..self.groups())
            .map(|group| {
                let versions = self.versions_of(group)?;
                let newest = versions.iter().max().copied().unwrap_or_default();
                let oldest = versions.iter().min().copied().unwrap_or_default();
                Ok((Version(newest), Version(oldest)))
            })
            .collect::<Result<_>>()?;
        Ok(self.ages.get_or_init(|| ages))
    }

    fn versions_of(&self, group: usize) -> Result<Vec<u64>> {
        let versions = self.versions(group)?;
        match versions.as_primitive_opt::<UInt64Type>() {
            Some(versions) => Ok(versions.values().to_vec()),
            None => Err(damaged(&self.data_path(), "its versions are not versions")),
        }
    }
}
