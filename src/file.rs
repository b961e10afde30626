//! Files that a user names: only regular files are opened, and messages name common mistakes.

pub(crate) mod tensors;

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file; links are followed. To open a named pipe is to wait for its writer, and a device may have no end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    match irregular(fs::metadata(path)?.file_type()) {
        Some(what) => {
            Err(io::Error::other(format!("it is a {what}, and only regular files are read")))
        }
        None => File::open(path),
    }
}

/// The bytes of a regular file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a regular file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a path is a link that leads nowhere.
pub(crate) fn is_dangling(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() && fs::metadata(path).is_err()
}

/// What a link that leads nowhere is, and what to do.
pub(crate) const DANGLING: &str = "is a link that leads nowhere; mend it, or remove it";

/// What lies at a path where no regular file does.
pub(crate) fn irregular(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    if kind.is_dir() {
        return Some("folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("named pipe");
        }
        if kind.is_socket() {
            return Some("socket");
        }
        if kind.is_block_device() || kind.is_char_device() {
            return Some("device");
        }
    }
    Some("file of another kind")
}

/// The first line of the text that Git stores in place of a large file.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// Whether a file's bytes are Git LFS's pointer to the file.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(POINTER)
}

/// What a pointer in place of a file means, for messages.
pub(crate) const POINTER_ADVICE: &str =
    "is Git LFS's pointer to the file, not the file itself: git lfs pull gets it";

/// What a file is whose first bytes are of none of the formats that are read here, and what to do about it.
pub(crate) fn mistaken(bytes: &[u8]) -> Option<&'static str> {
    let begins = |start: &[u8]| bytes.starts_with(start);
    let text = bytes.trim_ascii_start();
    let is_page = ["<!doctype html", "<html"].iter().any(|tag| {
        text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    });
    match bytes {
        _ if is_pointer(bytes) => Some(POINTER_ADVICE),
        _ if is_page => {
            Some("is a web page that was saved in place of the file: get the file again")
        }
        _ if is_pytorch(bytes) => Some(
            "is PyTorch's .pt: safetensors.torch.save_file writes its tensors for other programs",
        ),
        _ if begins(b"PK\x03\x04") => Some("is a ZIP archive, as .npz and PyTorch's .pt are"),
        _ if begins(b"\x93NUMPY") => Some("is an array of NumPy's"),
        _ if begins(b"\x1f\x8b") => Some("is compressed by gzip: gunzip unpacks it"),
        _ if begins(b"II*\0") || begins(b"MM\0*") => {
            Some("is a TIFF, which cannot be decoded here: convert it to PNG")
        }
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
            Some("is a HEIC, AVIF or film, which cannot be decoded here: convert it to PNG")
        }
        _ => None,
    }
}

/// Whether a file begins as PyTorch's archives do, whose first member is the pickled object.
pub(crate) fn is_pytorch(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    start.starts_with(b"PK\x03\x04") && start.windows(8).any(|name| name == b"data.pkl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert_eq!(error, "it is a folder, and only regular files are read");
        assert_eq!(open(&folder.path().join("a")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Without the check, the first would wait for ever and the last would never end.
    #[cfg(unix)]
    #[test]
    fn pipes_sockets_and_devices_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("pipe"), at("link")).unwrap();
        for (path, what) in [
            (at("pipe"), "named pipe"),
            (at("link"), "named pipe"),
            (at("socket"), "socket"),
            ("/dev/zero".into(), "device"),
        ] {
            let error = read(&path).unwrap_err().to_string();
            assert_eq!(error, format!("it is a {what}, and only regular files are read"));
            assert_eq!(read_text(&path).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn what_lies_in_place_of_a_file_is_recognised() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        assert!(mistaken(pointer).unwrap().contains("git lfs pull"));
        assert!(mistaken(b"\n <!DOCTYPE HTML>").unwrap().contains("web page"));
        assert!(mistaken(b"<html lang=\"en\">").unwrap().contains("web page"));
        assert!(mistaken(b"\0\0\0\x18ftypheic").unwrap().contains("HEIC"));
        assert_eq!(mistaken(b"\x89PNG\r\n\x1a\n"), None);
        assert_eq!(mistaken(b""), None);
    }
}
