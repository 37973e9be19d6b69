//! What a path asks the probe to do.

use std::time::Duration;

use http::StatusCode;

/// What a path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `/sleep/MS`: 66 bytes of text after so many milliseconds.
    Sleep(Duration),
    /// `/echo`: the request's body.
    Echo,
    /// `/stream/COUNT/MS`: so many chunks, each after so many milliseconds.
    Stream {
        /// How many.
        count: u32,
        /// Before each.
        pause: Duration,
    },
    /// `/cost/COUNT/MS`: reports so many database queries of 1 ms each, then as `/sleep/MS`.
    Cost {
        /// How many.
        count: u64,
        /// How long it takes afterwards.
        pause: Duration,
    },
    /// `/haunt/MS`: 66 bytes of text at once, while a thread of its own goes on reporting database
    /// queries of this request for so many milliseconds.
    Haunt(Duration),
    /// `/burn/MS`: 66 bytes of text after so many milliseconds of processor time.
    Burn(Duration),
    /// `/unread`: 66 bytes of text after 50 ms, while a task of its own reads the body.
    Unread,
    /// `/broken`: the body of the answer panics.
    Broken,
    /// Anything that takes no time.
    AtOnce(AtOnce),
}

/// What is done at once, and so the same way by a handler and by a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtOnce {
    /// Any other path: 66 bytes of text.
    Hello,
    /// `/abort`: the process aborts.
    Abort,
    /// `/panic`: the handler panics.
    Panic,
    /// `/bytes/N`: so many bytes.
    Bytes(usize),
    /// `/leak/N`: so many bytes that are never given back.
    Leak(usize),
    /// `/head`: the request line, and each field as `name: value` in a line of its own.
    Head,
    /// `/read`: how many tasks of `/unread` have ended.
    Read,
    /// `/cancelled`: how many requests of a service were dropped in their `/sleep`.
    Cancelled,
    /// `/status/CODE`: that status, without a body where it has none.
    Status(StatusCode),
    /// `/whoami`: process, pool, slot and generation.
    Whoami,
}

impl Probe {
    pub(crate) fn of(path: &str) -> Self {
        Self::parse(path).unwrap_or(Self::AtOnce(AtOnce::Hello))
    }

    fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let probe = match parts.next()? {
            "sleep" => Self::Sleep(milliseconds(parts.next()?)?),
            "abort" => Self::AtOnce(AtOnce::Abort),
            "panic" => Self::AtOnce(AtOnce::Panic),
            "bytes" => Self::AtOnce(AtOnce::Bytes(parts.next()?.parse().ok()?)),
            "leak" => Self::AtOnce(AtOnce::Leak(parts.next()?.parse().ok()?)),
            "cost" => Self::Cost {
                count: parts.next()?.parse().ok()?,
                pause: milliseconds(parts.next()?)?,
            },
            "haunt" => Self::Haunt(milliseconds(parts.next()?)?),
            "burn" => Self::Burn(milliseconds(parts.next()?)?),
            "broken" => Self::Broken,
            "echo" => Self::Echo,
            "unread" => Self::Unread,
            "read" => Self::AtOnce(AtOnce::Read),
            "cancelled" => Self::AtOnce(AtOnce::Cancelled),
            "head" => Self::AtOnce(AtOnce::Head),
            "stream" => Self::Stream {
                count: parts.next()?.parse().ok()?,
                pause: milliseconds(parts.next()?)?,
            },
            "status" => Self::AtOnce(AtOnce::Status(parts.next()?.parse().ok()?)),
            "whoami" => Self::AtOnce(AtOnce::Whoami),
            _ => return None,
        };
        parts.next().is_none().then_some(probe)
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}
