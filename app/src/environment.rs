//! What the environment says about this worker: where it listens and how much it runs at once.
//!
//! Pure: it is handed the variables and the process id. Under Ostler (`OSTLER_POOL` is set)
//! everything must be there and nothing is guessed; by hand there are defaults.

use crate::listen::ListenAddress;

/// Where a worker listens when it is started by hand and nobody says otherwise.
const LISTEN_BY_HAND: &str = "127.0.0.1:8000";

/// Threads of a worker that is started by hand: enough to see requests run side by side.
const THREADS_BY_HAND: usize = 4;

/// Why the environment does not describe a worker.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Under Ostler, a variable of the worker contract is not set.
    #[error("{name} is not set")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A variable has a value that it cannot have.
    #[error("{name} is {value:?}, but has to be {expected}")]
    Invalid {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// Under Ostler, no listening socket was handed to this very process.
    #[error(
        "no listening socket for this process: LISTEN_FDS is {count:?}, LISTEN_PID is {pid:?}, \
         the process is {this} (a wrapper such as sh -c must use exec)"
    )]
    NoSocket {
        /// `LISTEN_FDS`, which has to be 1.
        count: Option<String>,
        /// `LISTEN_PID`, which has to be this process.
        pid: Option<String>,
        /// This process.
        this: u32,
    },
}

/// The environment of a worker, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) socket: Socket,
    /// At least 1.
    pub(crate) threads: usize,
    /// At least `threads`.
    pub(crate) concurrency: usize,
    /// The descriptors of the ring link, if there is one.
    pub(crate) link: Option<Vec<i32>>,
    /// The descriptor of the control socket, if there is one.
    pub(crate) control: Option<i32>,
}

/// Where requests come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    /// Descriptor 3 is a listening UNIX socket.
    Inherited,
    /// Nothing was inherited: bind this.
    Bind(ListenAddress),
}

impl Environment {
    /// Reads the variables of process `pid` through `variable`.
    pub(crate) fn read(
        pid: u32,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Self, EnvironmentError> {
        let count = variable("LISTEN_FDS");
        let owner = variable("LISTEN_PID");
        let inherited = count.as_deref() == Some("1")
            && owner.as_ref().and_then(|owner| owner.parse().ok()) == Some(pid);
        let under_ostler = variable("OSTLER_POOL").is_some();
        if under_ostler && !inherited {
            return Err(EnvironmentError::NoSocket { count, pid: owner, this: pid });
        }
        let threads = match number("OSTLER_THREADS", &variable)? {
            Some(threads) => threads,
            None if under_ostler => {
                return Err(EnvironmentError::Missing { name: "OSTLER_THREADS" });
            }
            None => THREADS_BY_HAND,
        };
        let concurrency = match number("OSTLER_CONCURRENCY", &variable)? {
            Some(concurrency) if concurrency < threads => {
                return Err(EnvironmentError::Invalid {
                    name: "OSTLER_CONCURRENCY",
                    value: concurrency.to_string(),
                    expected: "at least OSTLER_THREADS",
                });
            }
            Some(concurrency) => concurrency,
            None if under_ostler => {
                return Err(EnvironmentError::Missing { name: "OSTLER_CONCURRENCY" });
            }
            None => threads,
        };
        let socket = if inherited { Socket::Inherited } else { Socket::Bind(address(&variable)?) };
        // Like the socket, they are for the process that they were started for.
        let (link, control) =
            if inherited { (link(&variable)?, control(&variable)?) } else { (None, None) };
        Ok(Self { socket, threads, concurrency, link, control })
    }
}

/// Reads `OSTLER_LINK`: numbers of descriptors with commas between them.
fn link(
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Vec<i32>>, EnvironmentError> {
    let name = "OSTLER_LINK";
    let Some(value) = variable(name) else { return Ok(None) };
    let numbers: Result<Vec<i32>, _> = value.split(',').map(str::parse).collect();
    let expected = "numbers of descriptors with commas between them";
    numbers.map(Some).map_err(|_not_numbers| EnvironmentError::Invalid { name, value, expected })
}

/// Reads `OSTLER_CONTROL`: the number of a descriptor.
fn control(
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<i32>, EnvironmentError> {
    let name = "OSTLER_CONTROL";
    let Some(value) = variable(name) else { return Ok(None) };
    let expected = "the number of a descriptor";
    let number = value.parse().ok().filter(|&number| 2 < number);
    number.map(Some).ok_or(EnvironmentError::Invalid { name, value, expected })
}

fn number(
    name: &'static str,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<usize>, EnvironmentError> {
    let Some(value) = variable(name) else { return Ok(None) };
    match value.parse() {
        Ok(number) if 0 < number => Ok(Some(number)),
        Ok(_) | Err(_) => {
            let expected = "a whole number greater than zero";
            Err(EnvironmentError::Invalid { name, value, expected })
        }
    }
}

fn address(
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<ListenAddress, EnvironmentError> {
    let name = "OSTLER_LISTEN";
    let value = variable(name).unwrap_or_else(|| LISTEN_BY_HAND.to_owned());
    value.parse().map_err(|_not_an_address| EnvironmentError::Invalid {
        name,
        value,
        expected: "ADDRESS:PORT or unix:PATH",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_everything_has_a_default() {
        check("", Ok((bind("127.0.0.1:8000"), 4, 4)));
        check("OSTLER_LISTEN=unix:/tmp/a OSTLER_THREADS=2", Ok((bind("unix:/tmp/a"), 2, 2)));
        check("OSTLER_CONCURRENCY=9", Ok((bind("127.0.0.1:8000"), 4, 9)));
        // A socket that was meant for a parent of this process is not ours.
        check("LISTEN_FDS=1 LISTEN_PID=6", Ok((bind("127.0.0.1:8000"), 4, 4)));
    }

    #[test]
    fn an_inherited_socket_is_taken_with_or_without_ostler() {
        check("LISTEN_FDS=1 LISTEN_PID=7", Ok((Socket::Inherited, 4, 4)));
        check(
            "LISTEN_FDS=1 LISTEN_PID=7 OSTLER_POOL=web OSTLER_THREADS=15 OSTLER_CONCURRENCY=20",
            Ok((Socket::Inherited, 15, 20)),
        );
    }

    #[test]
    fn under_ostler_nothing_is_guessed() {
        let missing = |name| Err(EnvironmentError::Missing { name });
        let under = "LISTEN_FDS=1 LISTEN_PID=7 OSTLER_POOL=web";
        check(under, missing("OSTLER_THREADS"));
        check(&format!("{under} OSTLER_THREADS=3"), missing("OSTLER_CONCURRENCY"));
        check(
            "OSTLER_POOL=web OSTLER_THREADS=3 LISTEN_FDS=1 LISTEN_PID=6",
            Err(EnvironmentError::NoSocket {
                count: Some("1".to_owned()),
                pid: Some("6".to_owned()),
                this: 7,
            }),
        );
    }

    #[test]
    fn garbled_values_are_named() {
        let invalid = |name, value: &str, expected| {
            Err(EnvironmentError::Invalid { name, value: value.to_owned(), expected })
        };
        let positive = "a whole number greater than zero";
        check("OSTLER_THREADS=0", invalid("OSTLER_THREADS", "0", positive));
        check("OSTLER_THREADS=many", invalid("OSTLER_THREADS", "many", positive));
        check("OSTLER_CONCURRENCY=-1", invalid("OSTLER_CONCURRENCY", "-1", positive));
        check(
            "OSTLER_THREADS=4 OSTLER_CONCURRENCY=3",
            invalid("OSTLER_CONCURRENCY", "3", "at least OSTLER_THREADS"),
        );
        let inherited = "LISTEN_FDS=1 LISTEN_PID=7";
        let numbers = "numbers of descriptors with commas between them";
        check(&format!("{inherited} OSTLER_LINK=4,x"), invalid("OSTLER_LINK", "4,x", numbers));
        let number = "the number of a descriptor";
        for value in ["x", "-1", "2", "4,5"] {
            let variables = format!("{inherited} OSTLER_CONTROL={value}");
            check(&variables, invalid("OSTLER_CONTROL", value, number));
        }
        check("OSTLER_LISTEN=8000", invalid("OSTLER_LISTEN", "8000", "ADDRESS:PORT or unix:PATH"));
    }

    #[track_caller]
    fn check(variables: &str, expected: Result<(Socket, usize, usize), EnvironmentError>) {
        let variable = |name: &'static str| {
            let mut pairs = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let expected = expected.map(|(socket, threads, concurrency)| Environment {
            socket,
            threads,
            concurrency,
            link: None,
            control: None,
        });
        assert_eq!(Environment::read(7, variable), expected, "variables: {variables}");
    }

    fn bind(address: &str) -> Socket {
        Socket::Bind(address.parse().unwrap())
    }
}
