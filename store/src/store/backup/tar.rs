//! The headers of tar archives, as far as backups need them.
//!
//! Why tar: every system can list and unpack it, and what is unpacked is a backup in a folder. Why
//! not a library: plain files with short names are one header each (POSIX ustar), and lengths above
//! 8 GiB one convention that everybody knows. Non-goals: links, owners, folders, long names.

/// Bytes of a header; contents are filled up to a multiple of it.
pub(super) const BLOCK: usize = 512;
/// Longest name.
const NAME: usize = 100;
/// Where the fields lie.
const MODE: usize = 100;
const SIZE: usize = 124;
const TIME: usize = 136;
const SUM: usize = 148;
const KIND: usize = 156;
const MAGIC: usize = 257;
/// Largest length in octal digits.
const MAX_OCTAL: u64 = 0o777_7777_7777;

/// The header of a file; `None` if the name is too long.
pub(super) fn header(name: &str, size: u64, seconds: u64) -> Option<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    if name.len() > NAME {
        return None;
    }
    put(&mut header, 0, name.as_bytes());
    put(&mut header, MODE, b"0000644\0");
    put(&mut header, MODE + 8, b"0000000\0");
    put(&mut header, MODE + 16, b"0000000\0");
    if size <= MAX_OCTAL {
        put(&mut header, SIZE, format!("{size:011o}\0").as_bytes());
    } else {
        put(&mut header, SIZE, &[0x80]);
        put(&mut header, SIZE + 4, &size.to_be_bytes());
    }
    let seconds = seconds.min(MAX_OCTAL);
    put(&mut header, TIME, format!("{seconds:011o}\0").as_bytes());
    put(&mut header, KIND, b"0");
    put(&mut header, MAGIC, b"ustar\x0000");
    let sum = checksum(&header);
    put(&mut header, SUM, format!("{sum:06o}\0 ").as_bytes());
    Some(header)
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Name and length of a file.
    File(String, u64),
    /// The end of the archive.
    End,
    /// None of ours.
    Wrong,
}

pub(super) fn parse(header: &[u8; BLOCK]) -> Parsed {
    if header.iter().all(|byte| *byte == 0) {
        return Parsed::End;
    }
    let name = text(header, 0, NAME);
    let kind = header.get(KIND);
    let file = kind == Some(&b'0') || kind == Some(&0);
    match (name, size(header), octal(header, SUM, 8)) {
        (Some(name), Some(size), Some(sum)) if file && sum == checksum(header) => {
            Parsed::File(name.trim_start_matches("./").to_owned(), size)
        }
        _ => Parsed::Wrong,
    }
}

/// Bytes that follow contents of this length up to the next header.
pub(super) fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

fn size(header: &[u8; BLOCK]) -> Option<u64> {
    if header.get(SIZE) == Some(&0x80) {
        let bytes = header.get(SIZE + 4..SIZE + 12)?;
        return bytes.try_into().ok().map(u64::from_be_bytes);
    }
    octal(header, SIZE, 12)
}

fn octal(header: &[u8; BLOCK], at: usize, len: usize) -> Option<u64> {
    u64::from_str_radix(text(header, at, len)?.trim(), 8).ok()
}

fn text(header: &[u8; BLOCK], at: usize, len: usize) -> Option<&str> {
    let field = header.get(at..at + len)?;
    let field = field.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(field).ok()
}

/// The sum of all bytes, those of the checksum taken for spaces.
fn checksum(header: &[u8; BLOCK]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| match at {
        SUM..KIND => u64::from(b' '),
        _ => u64::from(*byte),
    };
    header.iter().enumerate().map(byte).sum()
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (to, from) in header.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_at_every_size() {
        for size in [0, 1, 512, MAX_OCTAL, MAX_OCTAL + 1, u64::MAX] {
            let header = header("segments/a/0/1.parquet", size, 1_700_000_000).unwrap();
            let name = "segments/a/0/1.parquet".to_owned();
            assert_eq!(parse(&header), Parsed::File(name, size));
            let mut damaged = header;
            damaged[3] ^= 1;
            assert_eq!(parse(&damaged), Parsed::Wrong);
        }
        assert_eq!(parse(&[0; BLOCK]), Parsed::End);
        assert!(header(&"x".repeat(101), 0, 0).is_none());
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
    }
}
