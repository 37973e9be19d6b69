//! Signals that whoever started the supervisor ignores, as `nohup` and shells do.
//!
//! A program that a process becomes inherits what is ignored; what is caught is at its default
//! there. So whatever is ignored is caught first.

use std::io;

use procfs::process::Process;
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// `exec` takes care of the first. The others are faults of the process itself, which the kernel
/// does not let anybody ignore.
const LEFT_ALONE: [Signal; 4] = [Signal::PIPE, Signal::ILL, Signal::FPE, Signal::SEGV];

/// Sees to it that the program which this process becomes ignores nothing.
pub(crate) fn restore() -> io::Result<()> {
    let status = Process::myself().and_then(|myself| myself.status()).map_err(io::Error::other)?;
    let ignored: Vec<i32> = ignored(status.sigign).collect();
    if ignored.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    ignored.into_iter().try_for_each(catch)
}

fn catch(number: i32) -> io::Result<()> {
    match signal(SignalKind::from_raw(number)) {
        // The C library keeps some signals for itself (`nptl(7)`), and refuses to touch them.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// The numbers of the signals in a mask, but for those that are left alone.
fn ignored(mask: u64) -> impl Iterator<Item = i32> {
    let is_in = move |number: &i32| mask & (1 << (number - 1)) != 0;
    (1..=64).filter(is_in).filter(|number| LEFT_ALONE.iter().all(|one| one.as_raw() != *number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_signal() {
        assert_eq!(ignored(0).count(), 0);
        assert_eq!(ignored(0b101).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(ignored(1 << 63).collect::<Vec<_>>(), [64]);
        assert_eq!(ignored(1 << 12).count(), 0, "broken pipes");
    }
}
