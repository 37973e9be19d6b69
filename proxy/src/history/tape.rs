//! Writes snapshots into the ring: what becomes a key frame, a delta, and a frame of steps.

use std::io;

use ostler_status::{Snapshot, Step, Summary};

use super::MAX_AGE_MS;
use super::codec::{self, Encoder};
use super::frame::Kind;
use super::ring::Ring;

/// Snapshots of a group, and so how many are lost with its key frame: a minute.
const GROUP: u32 = 60;

/// How far the ring is written.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// `None`: the next frame is a key frame.
    group: Option<Group>,
    /// The first step that is not in the file.
    pub(super) next_step: u64,
}

#[derive(Debug)]
struct Group {
    encoder: Encoder,
    key_length: usize,
    frames: u32,
    last_ms: u64,
}

impl Group {
    /// Whether a snapshot of this moment may be in it. Between two of a group no moment is without
    /// an answer, and none has two: a gap or a clock that was set back begins the next.
    fn goes_on_at(&self, time_ms: u64) -> bool {
        let next_ms = self.last_ms.saturating_add(1)..=self.last_ms.saturating_add(MAX_AGE_MS);
        self.frames < GROUP && next_ms.contains(&time_ms)
    }
}

impl Tape {
    /// Writes a snapshot that was thinned; before a key frame the steps that have ended, from one
    /// number up to another. Returns their sum, if they were written.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; the next frame is a key frame then.
    pub(super) fn write(
        &mut self,
        ring: &Ring,
        snapshot: &Snapshot,
        steps: impl FnOnce(u64, u64) -> Vec<Step>,
    ) -> io::Result<Option<Summary>> {
        let mut group = self.group.take();
        let json = codec::to_json(snapshot)?;
        let time_ms = snapshot.taken().ms;
        let mut summary = None;
        if !Self::write_delta(&mut group, ring, time_ms, &json)? {
            summary = self.write_steps(ring, snapshot, steps)?;
            let (key, encoder) = Encoder::begin(&json)?;
            ring.append(Kind::Key, time_ms, &key)?;
            group = Some(Group { encoder, key_length: key.len(), frames: 1, last_ms: time_ms });
        }
        self.group = group;
        Ok(summary)
    }

    /// Writes a delta, if that is possible and worth it. Returns whether it was.
    fn write_delta(
        group: &mut Option<Group>,
        ring: &Ring,
        time_ms: u64,
        json: &[u8],
    ) -> io::Result<bool> {
        let Some(group) = group.as_mut().filter(|group| group.goes_on_at(time_ms)) else {
            return Ok(false);
        };
        let delta = group.encoder.delta(json)?;
        // One that shares little with its key frame costs as much as the next key frame.
        if group.key_length / 2 < delta.len() || !ring.takes_delta(delta.len()) {
            return Ok(false);
        }
        ring.append(Kind::Delta, time_ms, &delta)?;
        group.frames += 1;
        group.last_ms = time_ms;
        Ok(true)
    }

    /// Writes the steps that have ended since they were written last.
    fn write_steps(
        &mut self,
        ring: &Ring,
        snapshot: &Snapshot,
        steps: impl FnOnce(u64, u64) -> Vec<Step>,
    ) -> io::Result<Option<Summary>> {
        let now = snapshot.taken();
        let current = Step::number_of(now);
        let steps = steps(self.next_step, current);
        if !steps.is_empty() {
            ring.append(Kind::Minute, now.ms, &codec::minute(&steps)?)?;
        }
        self.next_step = current;
        Ok((!steps.is_empty()).then(|| Summary::of(now, &steps)))
    }
}
