//! Segments: the journal's files, each named by the first sequence that may be in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes before the first frame: magic, version, first sequence, checksum.
pub(super) const HEADER: u64 = HEADER_BYTES as u64;

const HEADER_BYTES: usize = 24;

const MAGIC: &[u8; 8] = b"TOLLJRNL";
const VERSION: u32 = 3;
const SUFFIX: &str = "journal";

/// Where the segment that begins with `first` is.
pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.{SUFFIX}"))
}

/// The segments in a directory, oldest first: first sequence and size.
pub(super) fn list(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != SUFFIX) {
            continue;
        }
        let first = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(first) = first {
            segments.push((first, entry.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

fn header(first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let fields = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &first.to_le_bytes()].concat();
    for (place, byte) in bytes.iter_mut().zip(&fields) {
        *place = *byte;
    }
    let checksum = crc32c::crc32c(&fields).to_le_bytes();
    for (place, byte) in bytes.iter_mut().skip(fields.len()).zip(checksum) {
        *place = byte;
    }
    bytes
}

/// Makes a segment for appending; only its owner can read it.
pub(super) fn create(directory: &Path, first: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let place = path(directory, first);
    let mut file = options.open(&place)?;
    if let Err(error) = file.write_all(&header(first)) {
        // A full disk: the name must be free for the next try.
        let _ = std::fs::remove_file(&place);
        return Err(error);
    }
    Ok(file)
}

/// Opens a segment for reading. `false`: its header is damaged, so that frames are looked for from the start.
pub(super) fn open(directory: &Path, first: u64) -> io::Result<(File, bool)> {
    let mut file = File::open(path(directory, first))?;
    let mut bytes = [0; HEADER_BYTES];
    let whole = match file.read_exact(&mut bytes) {
        Ok(()) => bytes == header(first),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    let magic = bytes.get(..8) == Some(MAGIC.as_slice());
    let version = bytes.get(8..12).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes);
    let checksum = bytes.get(20..24)
        == Some(crc32c::crc32c(bytes.get(..20).unwrap_or_default()).to_le_bytes().as_slice());
    if let Some(version) = version.filter(|version| magic && checksum && *version != VERSION) {
        let age = if version > VERSION { "a newer" } else { "an older" };
        return Err(io::Error::other(format!(
            "{} was written by {age} version of Tollway, in a form that this one does not read: let that one ship it",
            path(directory, first).display()
        )));
    }
    Ok((file, whole))
}

/// Makes a directory that only its owner can read.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Makes names that were added to or taken from a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}
