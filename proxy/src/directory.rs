//! A directory of files as an origin: conditional requests, ranges, an index page.
//!
//! A path is opened with `openat2` beneath the directory: neither `..` nor a symbolic link can
//! lead out of it, whatever the file system does meanwhile. Only regular files are served.

mod conditions;
mod open_files;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ostler_policy::http::answer::{ClientBody, write_field, write_status_line};
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use self::conditions::Outcome;
use self::open_files::{OpenFile, OpenFiles};
use crate::clock;
use crate::connection::{Client, Ending};
use crate::entry::Entry;
use crate::request::{Request, left, respond};
use crate::respond::RequestError;

/// The file that stands for a directory.
const INDEX: &str = "index.html";
/// How much of a file is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A directory whose files are served.
#[derive(Debug)]
pub(crate) struct Directory {
    root: OwnedFd,
    open: OpenFiles,
}

/// What a path leads to.
enum Found {
    File(Arc<OpenFile>),
    /// A directory that was asked for without its final slash.
    Directory,
}

impl Directory {
    /// Opens the directory; it may be replaced on disk only by a reload.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { root, open: OpenFiles::new() })
    }

    /// Closes files that nobody asked for lately.
    pub(crate) fn close_old_files(&self, now: Instant) {
        self.open.close_old(now);
    }

    /// Finds the file for a decoded path that begins with a slash.
    fn find(&self, path: &[u8], now: Instant) -> Result<Found, RequestError> {
        if let Some(file) = self.open.get(path, now) {
            return Ok(Found::File(file));
        }
        let found = self.look_for(path, now)?;
        if let Found::File(file) = &found {
            self.open.keep(path, file);
        }
        Ok(found)
    }

    fn look_for(&self, path: &[u8], now: Instant) -> Result<Found, RequestError> {
        let mut relative = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let is_directory = relative.is_empty() || relative.ends_with(b"/");
        if is_directory {
            relative.extend_from_slice(INDEX.as_bytes());
        }
        let file = File::from(self.open_beneath(&relative)?);
        let metadata = file.metadata().map_err(|_error| RequestError::NoFile)?;
        if metadata.is_file() {
            Ok(Found::File(Arc::new(OpenFile::new(file, &metadata, path, now))))
        } else if metadata.is_dir() && !is_directory {
            Ok(Found::Directory)
        } else {
            Err(RequestError::NoFile)
        }
    }

    /// Opens a file. Descriptors that are only kept open are given up for it.
    fn open_beneath(&self, relative: &[u8]) -> Result<OwnedFd, RequestError> {
        let opened = self.try_open_beneath(relative);
        if !matches!(opened, Err(RequestError::NoResources(_))) {
            return opened;
        }
        self.open.close_all();
        self.try_open_beneath(relative)
    }

    fn try_open_beneath(&self, relative: &[u8]) -> Result<OwnedFd, RequestError> {
        use rustix::io::Errno;
        // Not blocking: a named pipe without a writer must not hold the loop.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: something was renamed meanwhile, and the kernel cannot tell whether the path
        // still lies beneath the root (openat2(2)).
        for _ in 0..8 {
            match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), resolve) {
                Ok(file) => return Ok(file),
                Err(Errno::AGAIN) => {}
                Err(Errno::ACCESS) => return Err(RequestError::Forbidden),
                Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                    return Err(RequestError::NoResources(error.into()));
                }
                Err(_) => return Err(RequestError::NoFile),
            }
        }
        Err(RequestError::NoFile)
    }
}

/// Answers from a directory. `path` is decoded and begins with a slash.
pub(crate) async fn answer(
    client: &mut Client<'_>,
    request: &mut Request<'_>,
    entry: &mut Entry,
    (directory, path): (&Directory, &[u8]),
) -> Result<Ending, RequestError> {
    if !matches!(request.head.method(), "GET" | "HEAD") {
        return Err(RequestError::Method("GET, HEAD".to_owned()));
    }
    // A body has no meaning here, but it may be there (RFC 9110 §9.3.1).
    request.body.collect(client, PIECE_BYTES).await?;
    let file = match directory.find(path, clock::now())? {
        Found::File(file) => file,
        Found::Directory => return add_slash(client, request, entry).await,
    };
    let (validators, size) = (&file.validators, file.size);
    match validators.decide(&request.head, size) {
        Outcome::NotModified => {
            let fields: [(&str, &[u8]); 2] = [
                ("etag", validators.etag.as_bytes()),
                ("last-modified", validators.last_modified.as_bytes()),
            ];
            respond(client, request, entry, (304, "Not Modified"), &fields, b"").await
        }
        Outcome::Failed => {
            respond(client, request, entry, (412, "Precondition Failed"), &[], b"").await
        }
        Outcome::Unsatisfiable => Err(RequestError::Range(size)),
        Outcome::Whole => {
            let part = Part { start: 0, length: size, is_range: false };
            send(client, request, entry, &file, &part).await
        }
        Outcome::Range { start, length } => {
            let part = Part { start, length, is_range: true };
            send(client, request, entry, &file, &part).await
        }
    }
}

/// Sends the client to the directory's own address, so that relative links work.
async fn add_slash(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
) -> Result<Ending, RequestError> {
    let path = request.target.origin_form.split('?').next().unwrap_or_default();
    // One slash in front: two would name another host.
    let location = ["/", path.trim_start_matches('/'), "/", request.target.query()].concat();
    let fields: [(&str, &[u8]); 1] = [("location", location.as_bytes())];
    respond(client, request, entry, (301, "Moved Permanently"), &fields, b"").await
}

/// Which part of a file is sent.
struct Part {
    start: u64,
    length: u64,
    is_range: bool,
}

async fn send(
    client: &mut Client<'_>,
    request: &Request<'_>,
    entry: &mut Entry,
    file: &OpenFile,
    part: &Part,
) -> Result<Ending, RequestError> {
    let (status, phrase) = if part.is_range { (206, "Partial Content") } else { (200, "OK") };
    entry.status = status;
    let date = clock::http_date();
    let out = &mut client.out;
    write_status_line(out, status, phrase.as_bytes());
    write_field(out, b"content-type", file.media_type.as_bytes());
    write_field(out, b"content-length", part.length.to_string().as_bytes());
    if part.is_range {
        let last = part.start + part.length - 1;
        let range = format!("bytes {}-{last}/{}", part.start, file.size);
        write_field(out, b"content-range", range.as_bytes());
    }
    write_field(out, b"accept-ranges", b"bytes");
    write_field(out, b"etag", file.validators.etag.as_bytes());
    write_field(out, b"last-modified", file.validators.last_modified.as_bytes());
    write_field(out, b"date", &date);
    request.to_client(ClientBody::AsStated, &date).write_framing(out);
    out.extend_from_slice(b"\r\n");
    let length = if request.is_head() { 0 } else { part.length };
    Ok(match send_bytes(client, &file.file, part.start, length).await {
        Ok(true) => request.ending(),
        Ok(false) => Ending::Abort,
        Err(_left) => left(entry),
    })
}

/// Sends the head that is waiting, and a part of a file. False when the file shrank meanwhile.
async fn send_bytes(
    client: &mut Client<'_>,
    file: &File,
    start: u64,
    length: u64,
) -> io::Result<bool> {
    let mut at = start;
    let end = start.saturating_add(length);
    loop {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let filled = client.out.len();
        client.out.reserve(wanted);
        let count = rustix::io::pread(file, spare_capacity(&mut client.out), at).unwrap_or(0);
        let count = count.min(wanted);
        client.out.truncate(filled + count);
        at += count as u64;
        client.flush().await?;
        if count == 0 || at == end {
            return Ok(at == end);
        }
    }
}

/// The media type by the file's name.
fn media_type(path: &[u8]) -> String {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = if name.is_empty() { INDEX.into() } else { String::from_utf8_lossy(name) };
    let guess = mime_guess::from_path(name.as_ref()).first();
    match guess {
        Some(found) if found.type_() == "text" && found.get_param("charset").is_none() => {
            format!("{found}; charset=utf-8")
        }
        Some(found) => found.to_string(),
        None => "application/octet-stream".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_follow_the_name() {
        let check = |path: &str, expected: &str| {
            assert_eq!(media_type(path.as_bytes()), expected, "{path}");
        };
        check("/a.css", "text/css; charset=utf-8");
        check("/", "text/html; charset=utf-8");
        check("/a.svg", "image/svg+xml");
        check("/a.unknown-ending", "application/octet-stream");
        check("/html", "application/octet-stream");
    }
}
