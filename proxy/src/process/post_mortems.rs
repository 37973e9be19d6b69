//! What the supervisor wrote down of workers, made ready for the status page.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::time::Duration;

use ostler_status as status;
use ostler_status::UnixTime;
use ostler_supervisor::post_mortem::{HeldRequest, Moment, PostMortem, ThreadTrace};

use crate::snapshot;

/// Reads the records of a pool. What cannot be read is logged, and shown as none.
pub(super) fn read(file: OwnedFd) -> Vec<status::PostMortem> {
    match records(file) {
        Ok(records) => records.into_iter().map(shown).collect(),
        Err(error) => {
            tracing::error!(%error, "post_mortems_not_read");
            Vec::new()
        }
    }
}

fn records(file: OwnedFd) -> io::Result<Vec<PostMortem>> {
    let mut file = File::from(file);
    file.rewind()?;
    Ok(serde_json::from_str(&io::read_to_string(file)?)?)
}

fn shown(record: PostMortem) -> status::PostMortem {
    status::PostMortem {
        at: UnixTime::from_ms(record.at_unix_ms),
        moment: match record.moment {
            Moment::Stuck => status::Moment::Stuck,
            Moment::Killed => status::Moment::Killed,
            Moment::Crashed => status::Moment::Crashed,
        },
        slot: record.id.slot,
        generation: record.id.generation,
        pid: record.pid,
        exit: record.exit,
        requests: record.requests.into_iter().map(request).collect(),
        requests_left_out: record.requests_left_out,
        threads: record.threads.into_iter().map(thread).collect(),
        output: record.output,
        rss_bytes: record.rss_bytes,
        cpu_s: record.cpu_us.map(|us| Duration::from_micros(us).as_secs_f64()),
    }
}

fn request(held: HeldRequest) -> status::HeldRequest {
    status::HeldRequest {
        id: held.id,
        method: held.method,
        target: held.target,
        host: held.host,
        client: held.client,
        age_ms: held.age_ms,
        stuck: held.is_stuck,
        cpu_ms: held.cpu_us.map(|us| us / 1_000),
        costs: snapshot::costs(&held.costs),
        thread: held.thread.map(thread),
    }
}

fn thread(trace: ThreadTrace) -> status::ThreadTrace {
    status::ThreadTrace {
        tid: trace.tid,
        name: trace.name,
        state: trace.state,
        wait_channel: trace.wait_channel,
        system_call: trace.system_call,
        stack: trace.stack,
        frames: trace.frames,
    }
}
