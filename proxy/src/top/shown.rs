//! What is known of the server: the last snapshot, what changed since the one before, and whether
//! it still answers.

use ostler_status::{Snapshot, UnixTime};

use super::state::Seen;

/// What the server said, or that it says nothing.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// It could not be asked: why.
    Trouble(String),
}

/// What the screen is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) snapshot: Option<Box<Snapshot>>,
    pub(crate) rates: Rates,
    /// Why what is shown is not from now, and since when.
    pub(crate) trouble: Option<(String, UnixTime)>,
}

/// What happened between two snapshots, a second; `None` where that cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<f64>,
    /// Of these, answered with 500 to 599.
    pub(crate) errors: Option<f64>,
    pub(crate) shed: Option<f64>,
    pub(crate) received_bytes: Option<f64>,
    pub(crate) sent_bytes: Option<f64>,
    /// Of one processor: 1.5 is one and a half.
    pub(crate) processors: Option<f64>,
}

impl Shown {
    /// Takes in what the server said at `now`.
    #[must_use]
    pub(crate) fn note(self, news: News, now: UnixTime) -> Self {
        match news {
            News::Trouble(why) => {
                let since = self.trouble.map_or(now, |(_, since)| since);
                Self { trouble: Some((why, since)), ..self }
            }
            News::Snapshot(snapshot) => {
                let rates = match &self.snapshot {
                    // The same moment again: while the past stands still.
                    Some(before) if before.taken() == snapshot.taken() => self.rates,
                    Some(before) => Rates::between(before, &snapshot),
                    None => Rates::default(),
                };
                Self { snapshot: Some(snapshot), rates, trouble: None }
            }
        }
    }

    /// What a key may depend on.
    pub(crate) fn seen(&self, now: UnixTime) -> Seen {
        let pools = self.snapshot.iter().flat_map(|snapshot| snapshot.pools.keys().cloned());
        let taken = self.snapshot.as_ref().map_or(now, |snapshot| snapshot.taken());
        Seen { pools: pools.collect(), taken, now }
    }
}

impl Rates {
    fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let seconds = after.server.uptime_s - before.server.uptime_s;
        let is_same = before.server.started == after.server.started;
        if !is_same || seconds <= 0.0 {
            return Self::default();
        }
        let counted = |count: fn(&Snapshot) -> u64| {
            #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
            let rate = count(after).checked_sub(count(before))? as f64 / seconds;
            Some(rate)
        };
        // Workers that ended took their time with them.
        let processors = (processor_s(after) - processor_s(before)).max(0.0) / seconds;
        Self {
            requests: counted(|snapshot| snapshot.requests.total),
            errors: counted(|snapshot| snapshot.requests.by_status.server_error),
            shed: counted(|it| it.pools.values().map(|pool| pool.shed_total.sum()).sum()),
            received_bytes: counted(|snapshot| snapshot.requests.bytes_received_total),
            sent_bytes: counted(|snapshot| snapshot.requests.bytes_sent_total),
            processors: Some(processors),
        }
    }
}

fn processor_s(snapshot: &Snapshot) -> f64 {
    let machine = &snapshot.machine;
    let own = machine.cpu_user_s + machine.cpu_system_s;
    own + machine.cpu_children_user_s + machine.cpu_children_system_s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_by_time() {
        let rates = noted(&[snapshot(10.0, 100, 1.0), snapshot(12.0, 150, 4.0)]).rates;
        assert_eq!((rates.requests, rates.processors), (Some(25.0), Some(1.5)));
        let twice = [snapshot(10.0, 100, 1.0), snapshot(12.0, 150, 4.0), snapshot(12.0, 150, 4.0)];
        assert_eq!(noted(&twice).rates.requests, Some(25.0), "the same moment twice");
    }

    #[test]
    fn what_cannot_be_told_is_not_made_up() {
        let none = Rates::default();
        assert_eq!(noted(&[snapshot(10.0, 100, 1.0)]).rates, none, "the first");
        let back = noted(&[snapshot(12.0, 150, 4.0), snapshot(10.0, 100, 1.0)]);
        assert_eq!(back.rates, none, "back in time");
        let mut another = snapshot(13.0, 3, 0.1);
        another.server.started = UnixTime::from_ms(9);
        assert_eq!(noted(&[snapshot(12.0, 150, 4.0), another]).rates, none, "another server");
        let gone = noted(&[snapshot(10.0, 100, 9.0), snapshot(12.0, 150, 4.0)]);
        assert_eq!(gone.rates.processors, Some(0.0), "a worker took its time with it");
    }

    #[test]
    fn a_server_that_is_gone_leaves_its_last_snapshot_and_the_time_since_when() {
        let at = UnixTime::from_ms;
        let trouble = |shown: Shown, why: &str, now| shown.note(News::Trouble(why.into()), at(now));
        let shown = trouble(trouble(noted(&[snapshot(1.0, 1, 0.0)]), "gone", 5), "still", 9);
        assert_eq!(shown.trouble, Some(("still".to_owned(), at(5))));
        assert!(shown.snapshot.is_some());
        let back = shown.note(News::Snapshot(Box::new(snapshot(2.0, 2, 0.0))), at(11));
        assert_eq!(back.trouble, None);
    }

    fn noted(snapshots: &[Snapshot]) -> Shown {
        let note = |shown: Shown, snapshot: &Snapshot| {
            shown.note(News::Snapshot(Box::new(snapshot.clone())), UnixTime::from_ms(1))
        };
        snapshots.iter().fold(Shown::default(), note)
    }

    fn snapshot(uptime_s: f64, requests: u64, cpu_s: f64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.server.uptime_s = uptime_s;
        snapshot.requests.total = requests;
        snapshot.machine.cpu_children_user_s = cpu_s;
        snapshot
    }
}
