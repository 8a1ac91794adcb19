//! Bytes that are not what was written are never taken for rows.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind, Result};

/// Every so many bytes are damaged in turn.
const STEP: usize = 97;

fn small() -> (Fixture, SegmentMeta, RecordBatch) {
    let rows = plain_rows(0..9_000);
    let fixture = Fixture::new(&rows.schema(), &[0]);
    let meta = fixture.write(1, &rows, &stamps_of(0..9_000));
    (fixture, meta, rows)
}

/// Everything that can be asked of a segment.
fn read_everything(segment: &Segment, key: &[u8]) -> Result<RecordBatch> {
    segment.locate_one(key)?;
    segment.take(&[5_000], &[0, 1, 2])?;
    segment.stamp(17)?;
    segment.stamps(0)?;
    segment.column_stats()?;
    read_all(segment)
}

fn assert_names(error: &Error, path: &Path) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let text = error.to_string();
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains("Restore"),
        "{text}"
    );
}

#[test]
fn flipped_bits_are_noticed() {
    let (fixture, meta, rows) = small();
    let key = fixture.keys(&rows).value(4_321).to_vec();
    for path in [data_path(fixture.path(), 1), index_path(fixture.path(), 1)] {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(STEP) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            assert_names(&fixture.open(&meta).verify().unwrap_err(), &path);
            match read_everything(&fixture.open(&meta), &key) {
                Ok(read) => assert_eq!(read, rows),
                Err(error) => assert_names(&error, &path),
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(read_everything(&fixture.open(&meta), &key).unwrap(), rows);
    fixture.open(&meta).verify().unwrap();
}

#[test]
fn missing_shorter_and_longer_files_are_noticed() {
    let (fixture, meta, _) = small();
    for path in [data_path(fixture.path(), 1), index_path(fixture.path(), 1)] {
        let whole = fs::read(&path).unwrap();
        let longer = [&whole[..], b"x"].concat();
        for wrong in [&whole[..whole.len() - 1], &whole[..10], b"", &longer] {
            fs::write(&path, wrong).unwrap();
            assert_names(&fixture.open(&meta).verify().unwrap_err(), &path);
        }
        fs::remove_file(&path).unwrap();
        assert_names(&fixture.open(&meta).verify().unwrap_err(), &path);
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn swapped_files_are_noticed() {
    let (fixture, meta, rows) = small();
    let other = fixture.write(2, &rows, &Stamps::One(stamp(9, "bob")));
    let data = [1, 2].map(|number| data_path(fixture.path(), number));
    let index = [1, 2].map(|number| index_path(fixture.path(), number));
    let original = fs::read(&index[0]).unwrap();
    fs::copy(&index[1], &index[0]).unwrap();
    assert_names(&fixture.open(&meta).verify().unwrap_err(), &index[0]);
    // Even with a checkpoint entry that lists the wrong file's checksum.
    let mixed = SegmentMeta {
        number: 1,
        ..other.clone()
    };
    assert_names(&fixture.open(&mixed).verify().unwrap_err(), &index[0]);
    fs::write(&index[0], original).unwrap();
    fs::copy(&data[1], &data[0]).unwrap();
    assert_names(&fixture.open(&meta).verify().unwrap_err(), &data[0]);
}

#[test]
fn a_newer_format_asks_for_a_newer_release() {
    let (fixture, mut meta, _) = small();
    let path = index_path(fixture.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] = 2;
    fs::write(&path, &bytes).unwrap();
    meta.index_checksum = *blake3::hash(&bytes).as_bytes();
    let error = fixture.open(&meta).verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("newer netabase"));
}

proptest! {
    #[test]
    fn arbitrary_index_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        decode_index_for_fuzzing(&bytes);
        let framed = [&b"NBSI\x01\x00"[..], &bytes].concat();
        decode_index_for_fuzzing(&framed);
    }

    #[test]
    fn damaged_index_bytes_never_panic(flips in prop::collection::vec(any::<(u16, u8)>(), 1..20)) {
        let (fixture, _, _) = shared();
        let mut bytes = fs::read(index_path(fixture.path(), 1)).unwrap();
        assert!(decode_index_for_fuzzing(&bytes));
        for (at, flip) in flips {
            let at = at as usize % bytes.len();
            bytes[at] ^= flip;
        }
        decode_index_for_fuzzing(&bytes);
    }
}

fn shared() -> &'static (Fixture, SegmentMeta, RecordBatch) {
    static SHARED: std::sync::OnceLock<(Fixture, SegmentMeta, RecordBatch)> =
        std::sync::OnceLock::new();
    SHARED.get_or_init(small)
}
