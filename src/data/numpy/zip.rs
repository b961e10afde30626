//! The members of a ZIP archive, stored or deflated, as NumPy writes them. Archives above 4 GB are read too.

use std::io::Read;

use flate2::Crc;
use flate2::read::DeflateDecoder;

const DAMAGED: &str = "is a damaged ZIP archive: write it anew";
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// The longest end of an archive: its last record and a comment.
const LONGEST_END: usize = 22 + 0xFFFF;

/// A file in an archive.
pub(super) struct Member {
    pub name: String,
    method: u16,
    is_encrypted: bool,
    checksum: u32,
    packed: u64,
    size: u64,
    offset: u64,
}

/// The bytes of a number at an offset.
fn at<const SIZE: usize>(bytes: &[u8], offset: usize) -> Option<[u8; SIZE]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn short(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_le_bytes)
}

/// The members in the order of the archive's directory.
pub(super) fn members(bytes: &[u8]) -> Result<Vec<Member>, String> {
    read_members(bytes).ok_or_else(|| DAMAGED.into())
}

fn read_members(bytes: &[u8]) -> Option<Vec<Member>> {
    let first = bytes.len().saturating_sub(LONGEST_END);
    let end =
        (first..bytes.len()).rev().find(|place| bytes[*place..].starts_with(b"PK\x05\x06"))?;
    let (mut count, mut place) =
        (u64::from(short(bytes, end + 10)?), u64::from(word(bytes, end + 16)?));
    // The record's last number: the length of the comment after it.
    short(bytes, end + 20)?;
    // The record before the last one has larger numbers.
    let locator = end.checked_sub(20).filter(|place| bytes[*place..].starts_with(b"PK\x06\x07"));
    if let Some(locator) = locator {
        let wide = usize::try_from(long(bytes, locator + 8)?).ok()?;
        (count, place) = (long(bytes, wide.checked_add(32)?)?, long(bytes, wide.checked_add(48)?)?);
    }
    let mut rest = bytes.get(usize::try_from(place).ok()?..)?;
    let mut members = Vec::new();
    for _ in 0..count {
        if !rest.starts_with(b"PK\x01\x02") {
            return None;
        }
        let [name, extra, comment] = [28, 30, 32].map(|place| short(rest, place).map(usize::from));
        let (name, extra, comment) = (name?, extra?, comment?);
        let mut member = Member {
            name: String::from_utf8_lossy(rest.get(46..46 + name)?).into_owned(),
            method: short(rest, 10)?,
            is_encrypted: short(rest, 8)? & 1 == 1,
            checksum: word(rest, 16)?,
            packed: word(rest, 20)?.into(),
            size: word(rest, 24)?.into(),
            offset: word(rest, 42)?.into(),
        };
        widen(&mut member, rest.get(46 + name..46 + name + extra)?)?;
        members.push(member);
        rest = rest.get(46 + name + extra + comment..)?;
    }
    Some(members)
}

/// Takes the numbers that need more than 32 bits from a member's extra fields.
fn widen(member: &mut Member, mut extra: &[u8]) -> Option<()> {
    const WIDE: u16 = 1;
    while let (Some(kind), Some(length)) = (short(extra, 0), short(extra, 2)) {
        let mut field = extra.get(4..4 + usize::from(length))?;
        if kind == WIDE {
            for number in [&mut member.size, &mut member.packed, &mut member.offset] {
                if *number == u64::from(u32::MAX) {
                    *number = long(field, 0)?;
                    field = &field[8..];
                }
            }
        }
        extra = &extra[4 + usize::from(length)..];
    }
    Some(())
}

/// A member's bytes.
pub(super) fn content(bytes: &[u8], member: &Member) -> Result<Vec<u8>, String> {
    if member.is_encrypted {
        return Err("is encrypted".into());
    }
    let packed = packed(bytes, member).ok_or(DAMAGED)?;
    let mut content = Vec::new();
    // One more byte tells whether there are too many.
    let most = member.size.saturating_add(1);
    let read = match member.method {
        STORED => packed.take(most).read_to_end(&mut content),
        DEFLATED => DeflateDecoder::new(packed).take(most).read_to_end(&mut content),
        method => {
            return Err(format!("is compressed by method {method}: np.savez_compressed deflates"));
        }
    };
    read.map_err(|error| format!("could not be unpacked: {error}"))?;
    let mut checksum = Crc::new();
    checksum.update(&content);
    // Changed inputs of the fuzzer have no right checksum, and arrays are to be read from them all the same.
    let agrees = checksum.sum() == member.checksum || cfg!(fuzzing);
    match content.len() as u64 == member.size && agrees {
        true => Ok(content),
        false => Err("does not match its checksum: write the archive anew".into()),
    }
}

fn packed<'a>(bytes: &'a [u8], member: &Member) -> Option<&'a [u8]> {
    let local = bytes.get(usize::try_from(member.offset).ok()?..)?;
    if !local.starts_with(b"PK\x03\x04") {
        return None;
    }
    let start = 30 + usize::from(short(local, 26)?) + usize::from(short(local, 28)?);
    local.get(start..)?.get(..usize::try_from(member.packed).ok()?)
}
