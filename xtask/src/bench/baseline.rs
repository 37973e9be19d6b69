//! The recorded counts, and how new ones compare with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context;

use crate::project;

/// Instructions for each request, by its name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// How much a count may differ and still be called the same: 3 %.
const TOLERANCE_PERCENT: u64 = 3;

const PREFACE: &str = "\
# Instructions of the proxy process for one request, by `cargo xtask bench`.
#
# A rise of more than 3 % fails the tests. Where it is meant, `cargo xtask bench --record` writes
# this file anew; the commit says what the instructions are spent on. They depend a little on the
# processor, by what the C library has for it, so on another one they are only shown.

";

/// The table of counts in the file, beside the processor.
const COUNTS: &str = "instructions";

/// What is on record.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct Baseline {
    /// What the kernel calls the processor it was counted on.
    processor: String,
    #[serde(rename = "instructions")]
    recorded: Counts,
}

/// A count beside its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Less,
    More,
    /// There is no record.
    New,
}

impl Baseline {
    /// Reads the record; an empty one where there is no file.
    pub(crate) fn read() -> anyhow::Result<Self> {
        match std::fs::read_to_string(path()) {
            Ok(text) => toml::from_str(&text).context("xtask/instructions.toml"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("xtask/instructions.toml"),
        }
    }

    /// Writes new counts over the record. What was not counted stays as it was.
    pub(crate) fn record(mut self, counted: &Counts) -> anyhow::Result<()> {
        self.recorded.extend(counted.iter().map(|(name, count)| (name.clone(), *count)));
        let mut text = PREFACE.to_owned();
        writeln!(text, "processor = {:?}\n\n[{COUNTS}]", processor())?;
        for (name, count) in &self.recorded {
            writeln!(text, "{name} = {count}")?;
        }
        std::fs::write(path(), text).context("xtask/instructions.toml")
    }

    /// Whether the record is of this processor, so that a rise is one of the code.
    pub(crate) fn is_of_this_processor(&self) -> bool {
        self.processor == processor()
    }

    /// How a count compares with its record.
    pub(crate) fn verdict(&self, name: &str, count: u64) -> Verdict {
        let Some(&recorded) = self.recorded.get(name) else { return Verdict::New };
        let tolerated = recorded * TOLERANCE_PERCENT / 100;
        if recorded + tolerated < count {
            Verdict::More
        } else if count + tolerated < recorded {
            Verdict::Less
        } else {
            Verdict::Same
        }
    }

    /// Every count beside its record.
    pub(crate) fn table(&self, counted: &Counts) -> String {
        let mut lines =
            vec![format!("\n{:<22}{:>10}{:>10}{:>9}\n", "request", "recorded", "now", "ratio")];
        for (name, &count) in counted {
            let recorded = self.recorded.get(name).copied();
            let shown = recorded.map_or_else(|| "-".to_owned(), |recorded| recorded.to_string());
            let permille = recorded.and_then(|recorded| (count * 1000).checked_div(recorded));
            let ratio = permille.map_or_else(
                || "-".to_owned(),
                |permille| format!("{}.{:03}", permille / 1000, permille % 1000),
            );
            let word = match self.verdict(name, count) {
                Verdict::Same => "",
                Verdict::Less => "  less: worth recording",
                Verdict::More => "  MORE",
                Verdict::New => "  new",
            };
            lines.push(format!("{name:<22}{shown:>10}{count:>10}{ratio:>9}{word}\n"));
        }
        lines.concat()
    }
}

/// What the kernel calls the processor of this machine.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

fn path() -> PathBuf {
    project().join("xtask/instructions.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_percent_are_the_same_and_more_is_told() {
        let recorded = Counts::from([("get".to_owned(), 10_000)]);
        let baseline = Baseline { processor: String::new(), recorded };
        assert_eq!(baseline.verdict("get", 10_300), Verdict::Same);
        assert_eq!(baseline.verdict("get", 9_700), Verdict::Same);
        assert_eq!(baseline.verdict("get", 10_301), Verdict::More);
        assert_eq!(baseline.verdict("get", 9_699), Verdict::Less);
        assert_eq!(baseline.verdict("post", 1), Verdict::New);
        let table = baseline.table(&Counts::from([("get".to_owned(), 10_400)]));
        assert!(table.contains("10000     10400    1.040  MORE"), "{table}");
    }
}
