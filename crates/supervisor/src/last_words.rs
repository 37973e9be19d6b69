//! What of a worker's last lines on standard error is told, and where. Pure.
//!
//! A page shows the whole traceback of an error that Python did not survive, however many others
//! it came from. Of other programs the last lines say what there is to say; a log has the others
//! already, each on a line of its own.

/// Lines told where there is no traceback, and in one line of the log.
const LINES: usize = 5;

/// Bytes of these lines.
const BYTES: usize = 2 * 1024;

/// How a traceback begins, that of a group of exceptions after its margin.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// How the report of an interpreter begins that crashed (`faulthandler`).
const CRASH: &str = "Fatal Python error:";

/// What stands between the traceback of an error and that of the one it led to.
const LINKS: [&str; 2] = [
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
];

/// Returns what a page shows of `lines`. What would steer a terminal is replaced, since a message
/// that escapes it could get too long to be sent.
pub(crate) fn of(lines: &[String]) -> Vec<String> {
    let start = traceback(lines).unwrap_or_else(|| in_short(lines));
    let told = lines.get(start..).unwrap_or_default();
    let visible = |letter: char| match letter {
        '\t' => letter,
        _ if letter.is_control() => char::REPLACEMENT_CHARACTER,
        _ => letter,
    };
    told.iter().map(|line| line.chars().map(visible).collect()).collect()
}

/// Returns the last of `lines` as one line.
pub(crate) fn line(lines: &[String]) -> String {
    lines.get(in_short(lines)..).unwrap_or_default().join(" | ")
}

/// Where the last few lines begin.
fn in_short(lines: &[String]) -> usize {
    let mut bytes = 0;
    let mut fits = |line: &&String| {
        bytes += line.len();
        bytes <= BYTES
    };
    let kept = lines.iter().rev().take(LINES).take_while(|line| fits(line)).count();
    lines.len() - kept
}

/// Where the last traceback begins, or the first of those that led to it.
fn traceback(lines: &[String]) -> Option<usize> {
    let begins = |line: &String| line.ends_with(TRACEBACK) || line.starts_with(CRASH);
    let mut start = lines.iter().rposition(begins)?;
    while let Some(link) = link_above(lines, start)
        && let Some(before) = lines.get(..link)?.iter().rposition(begins)
    {
        start = before;
    }
    Some(start)
}

/// The line above `start`, blank ones aside, where it says that another error came before.
fn link_above(lines: &[String], start: usize) -> Option<usize> {
    let above = lines.get(..start)?.iter().rposition(|line| !line.trim().is_empty())?;
    let is_link = LINKS.iter().any(|link| lines.get(above).is_some_and(|line| line == link));
    is_link.then_some(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_traceback_the_last_lines_are_told() {
        check("1\n2\n3\n4\n5\n6\n7", "3\n4\n5\n6\n7");
        check("", "");
        check("one", "one");
        check(&format!("{}\nlast", "x".repeat(BYTES)), "last");
        check(&"x".repeat(BYTES + 1), "");
    }

    #[test]
    fn a_traceback_is_told_from_its_beginning() {
        let frames = "  File \"a.py\", line 1, in <module>\n    import b\n".repeat(20);
        let error = format!("{TRACEBACK}\n{frames}ImportError: b");
        check(&format!("starting\n{error}"), &error);
        check(&format!("{error}\nanother\n{error}"), &error);
        let group = format!("  + Exception Group {TRACEBACK}\n{frames}  | ValueError");
        check(&format!("starting\n{group}"), &group);
        let crash = format!("{CRASH} Segmentation fault\n\nCurrent thread 0x1:\n{frames}");
        check(&format!("{error}\n{crash}"), crash.trim_end_matches('\n'));
    }

    #[test]
    fn the_errors_that_led_to_it_are_told_with_it() {
        let [first, second] =
            ["KeyError: 1", "ValueError: 2"].map(|last| format!("{TRACEBACK}\n  File\n{last}"));
        for link in LINKS {
            let chain = format!("{first}\n\n{link}\n\n{second}\n\n{link}\n\n{first}");
            check(&format!("{second}\n{chain}"), &chain);
        }
        // The beginning of the chain is out of the lines that are kept.
        let rest = format!("{}\n\n{second}", LINKS[0]);
        check(&format!("KeyError: 1\n\n{rest}"), &second);
    }

    #[test]
    fn nothing_that_is_told_steers_a_terminal() {
        check("a\u{1b}[31mb\tc\r", "a\u{fffd}[31mb\tc\u{fffd}");
    }

    #[test]
    fn a_log_has_the_last_five() {
        let lines: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(line(&lines), "2 | 3 | 4 | 5 | 6");
        assert_eq!(line(&[]), "");
    }

    #[track_caller]
    fn check(lines: &str, expected: &str) {
        let split = |text: &str| text.split_terminator('\n').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of(&split(lines)), split(expected), "{lines}");
    }
}
