//! The commit log: the truth from which everything else is rebuilt.
//!
//! Idea: files `000001.log`, `000002.log`, … written at their ends. Each begins with a header (magic, format,
//! number, checksum) and holds frames (length, kind, payload, checksum). Checkpoints are files of
//! frames too, but written as a whole.
//!
//! Every frame also carries `durable`: where the last frame of its file ends that was known to be on
//! disk when it was written. A bad frame is a torn tail, safe to cut off, unless a later frame proves by
//! its `durable` that the bad bytes had already been acknowledged; then it is damage, and the open
//! fails without touching the file. Several frames that go to disk in one write share a `durable`,
//! so that a half-written group is never mistaken for damage. Zeros at the end of the last file are
//! neither: a few are written ahead of the frames.
//!
//! Invariant: nothing that was acknowledged is cut off.
//! Non-goals: the log does not know what the payloads mean.

mod file;
mod frame;
mod scan;

pub(crate) use file::{FrameFolder, LogWriter, MAX_FILE_NUMBER, Series, WholeFile};
pub use frame::MAX_FRAME_BYTES;
pub(crate) use frame::{Frame, FrameKind};
pub use scan::TornTail;
pub(crate) use scan::{ScannedFrame, decode_frame, find_checkpoint, scan_file};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::disk::OsDisk;
    use crate::error::ErrorKind;

    fn frame(text: &str) -> Frame {
        Frame::new(FrameKind::Write, text.as_bytes().to_vec()).unwrap()
    }

    fn folder(dir: &std::path::Path) -> FrameFolder {
        FrameFolder::new(Arc::new(OsDisk), dir.to_path_buf(), Series::Log)
    }

    fn texts(dir: &std::path::Path) -> crate::error::Result<(Vec<String>, bool)> {
        let mut texts = Vec::new();
        let scanned = scan_file(&folder(dir), 1, true, |frame| {
            texts.push(String::from_utf8(frame.payload).unwrap());
            Ok(())
        })?;
        Ok((texts, scanned.torn.is_some()))
    }

    #[test]
    fn a_half_written_group_is_a_torn_tail_but_an_acknowledged_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(folder(dir.path()), 1).unwrap();
        log.append([frame("first")].iter()).unwrap();
        log.sync().unwrap();
        let group_starts = log.len() as usize;
        log.append([frame("second"), frame("third"), frame("fourth")].iter())
            .unwrap();
        let path = folder(dir.path()).file(1);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(texts(dir.path()).unwrap().0.len(), 4);

        // The pages of the group reached the disk in another order, and "second" did not.
        let mut torn = bytes.clone();
        torn[group_starts + 25] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(texts(dir.path()).unwrap(), (vec!["first".to_owned()], true));

        // A frame written after a sync proves that "second" had been acknowledged.
        fs::write(&path, &bytes).unwrap();
        log.sync().unwrap();
        log.append([frame("fifth")].iter()).unwrap();
        let mut damaged = fs::read(&path).unwrap();
        damaged[group_starts + 25] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(texts(dir.path()).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_torn_frame_that_holds_bytes_of_another_log_is_a_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(folder(dir.path()), 1).unwrap();
        log.append([frame("first")].iter()).unwrap();
        log.sync().unwrap();
        let start = log.len() as usize;
        let inner = frame("of another log");
        let stored = [&inner.header(1 << 40)[..], inner.payload()].concat();
        let outer = Frame::new(FrameKind::Write, stored).unwrap();
        log.append([outer].iter()).unwrap();
        let path = folder(dir.path()).file(1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[start] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(texts(dir.path()).unwrap(), (vec!["first".to_owned()], true));
    }

    #[test]
    fn zeros_ahead_of_small_groups_are_no_torn_tail() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(folder(dir.path()), 1).unwrap();
        let path = folder(dir.path()).file(1);
        let len = || fs::metadata(&path).unwrap().len();
        let mut wanted = Vec::new();
        let mut starts = Vec::new();
        for number in 0..40 {
            starts.push(log.len() as usize);
            wanted.push(format!("frame {number}"));
            log.append([frame(&wanted[number])].iter()).unwrap();
            log.sync().unwrap();
        }
        assert!(len() > log.len());
        assert_eq!(texts(dir.path()).unwrap(), (wanted.clone(), false));
        let bytes = fs::read(&path).unwrap();

        // The last frame is torn.
        let mut torn = bytes.clone();
        torn[starts[39] + 25] = 0;
        fs::write(&path, &torn).unwrap();
        let scanned = scan_file(&folder(dir.path()), 1, true, |_| Ok(())).unwrap();
        let tail = scanned.torn.unwrap();
        assert_eq!((tail.offset, scanned.size), (starts[39] as u64, len()));
        assert_eq!(tail.offset + tail.bytes, len());
        // An earlier one was acknowledged, also if nothing is left of it.
        let mut damaged = bytes.clone();
        damaged[starts[38]..starts[39]].fill(0);
        fs::write(&path, &damaged).unwrap();
        assert_eq!(texts(dir.path()).unwrap_err().kind(), ErrorKind::Corrupt);
        // More zeros than are ever written ahead are a torn tail, and so is anything among them.
        for (zeros, last) in [(300 << 10, 0), (100, 1)] {
            let mut longer = bytes[..log.len() as usize].to_vec();
            longer.resize(longer.len() + zeros, 0);
            *longer.last_mut().unwrap() = last;
            fs::write(&path, &longer).unwrap();
            assert_eq!(texts(dir.path()).unwrap(), (wanted.clone(), true));
        }
        // Zeros in a file that is followed by another one are damage.
        fs::write(&path, &bytes).unwrap();
        let failed = scan_file(&folder(dir.path()), 1, false, |_| Ok(()));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Corrupt);

        // Whoever goes on begins behind the last frame.
        let mut log = LogWriter::resume(folder(dir.path()), 1, log.len()).unwrap();
        assert_eq!(len(), log.len());
        // A large group goes over the zeros and beyond, without new ones.
        for _ in 0..9 {
            log.append([frame("small")].iter()).unwrap();
            log.sync().unwrap();
            wanted.push("small".to_owned());
        }
        assert!(len() > log.len());
        let large = "x".repeat(3 << 20);
        log.append([frame("before"), frame(&large)].iter()).unwrap();
        log.sync().unwrap();
        wanted.extend(["before".to_owned(), large]);
        assert_eq!(len(), log.len());
        assert_eq!(texts(dir.path()).unwrap(), (wanted, false));
        // The next file begins behind one without zeros.
        for _ in 0..9 {
            log.append([frame("small")].iter()).unwrap();
            log.sync().unwrap();
        }
        let end = log.len();
        assert!(len() > end);
        log.rotate().unwrap();
        assert_eq!(len(), end);
        assert_eq!((log.number(), log.len()), (2, 24));
        // There are not many more of them than frames, and no more than are taken for zeros.
        let second = folder(dir.path()).file(2);
        for number in 0..600 {
            log.append([frame(&"x".repeat(number * 997 % 15_000))].iter())
                .unwrap();
            log.sync().unwrap();
            let zeros = fs::metadata(&second).unwrap().len() - log.len();
            assert!(zeros <= (2 * log.len()).min(file::MAX_ZEROS), "{zeros}");
        }
        log.cut_zeros().unwrap();
        assert_eq!(fs::metadata(&second).unwrap().len(), log.len());
    }

    #[test]
    fn large_and_small_frames_mix() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(folder(dir.path()), 1).unwrap();
        let large = "x".repeat(3 << 20);
        let all = ["a", &large, "b", &large, ""];
        log.append(all.map(frame).iter()).unwrap();
        log.sync().unwrap();
        let path = folder(dir.path()).file(1);
        assert_eq!(fs::metadata(&path).unwrap().len(), log.len());
        assert_eq!(texts(dir.path()).unwrap().0, all);
        let too_large = Frame::new(FrameKind::Write, vec![0; MAX_FRAME_BYTES + 1]);
        assert_eq!(too_large.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
