//! The ring under wraps, torn writes, foreign files and random ones.

use std::io::Write as _;

use super::*;

/// The smallest file that is taken.
const SIZE: u64 = AREA + 2 * MAX_PAYLOAD as u64;

#[test]
fn what_was_written_is_read_again_also_after_a_restart_and_many_rounds() {
    let (file, ring) = new_ring();
    let mut random = Random(7);
    for number in 0_u64..4_000 {
        let payload = payload(number, random.below(9_000));
        append(&ring, number, &payload);
        if number.is_multiple_of(397) {
            let before = contents(&ring);
            assert!(before.last().is_some_and(|(time, _)| *time == number), "{number}");
            // Without the group that was open: it takes no more deltas.
            let reopened = open(file.try_clone().unwrap());
            assert_eq!(contents(&reopened), before, "{number}");
        }
    }
    let kept = contents(&ring);
    assert!(kept.first().unwrap().0 > 3_000, "the oldest are overwritten");
    for (index, (time, read)) in kept.iter().enumerate() {
        assert_eq!(*time, kept[0].0 + index as u64, "none is missing between");
        assert_eq!(&payload(*time, read.len() as u64), read);
    }
    let bytes: u64 = kept.iter().map(|(_, read)| read.len() as u64 + frame::HEAD as u64).sum();
    assert!(SIZE / 2 < bytes, "{bytes} of {SIZE} bytes are used");
}

#[test]
fn a_write_torn_at_any_byte_costs_that_frame_alone() {
    let (file, ring) = new_ring();
    for number in 0..4 {
        append(&ring, number, &payload(number, 40));
    }
    let whole = contents(&ring);
    let last = ring.index().groups.back().unwrap().end;
    let start = last - 40 - frame::HEAD as u64;
    let mut bytes = vec![0; 40 + frame::HEAD];
    file.read_exact_at(&mut bytes, start).unwrap();
    for length in 0..bytes.len() {
        let mut torn = bytes.clone();
        torn.iter_mut().skip(length).for_each(|byte| *byte = !*byte);
        file.write_all_at(&torn, start).unwrap();
        let reopened = open(file.try_clone().unwrap());
        assert_eq!(contents(&reopened), whole[..3], "{length}");
        // What comes next takes its place.
        append(&reopened, 10, &payload(10, 20));
        assert_eq!(contents(&reopened).last().unwrap().0, 10, "{length}");
    }
}

#[test]
fn a_group_that_is_overwritten_while_it_is_read_is_not_taken_for_another() {
    let (_, ring) = new_ring();
    append(&ring, 0, &payload(0, 100));
    append(&ring, 1, &payload(1, 100));
    let old = *ring.index().groups.front().unwrap();
    let mut number = 2;
    while ring.index().groups.front().map(|group| group.offset) == Some(old.offset) {
        append(&ring, number, &payload(number, 8_000));
        number += 1;
    }
    assert_eq!(ring.read_group(&old).unwrap(), []);
}

#[test]
fn a_file_of_another_version_or_size_is_begun_anew() {
    for change in [8, 16, 0] {
        let (file, ring) = new_ring();
        append(&ring, 1, &payload(1, 100));
        file.write_all_at(&[9], change).unwrap();
        let ring = open(file.try_clone().unwrap());
        assert_eq!(contents(&ring), []);
        assert!(ring.begin().unwrap());
        append(&ring, 0, &payload(0, 100));
        let again = open(file);
        assert!(!again.begin().unwrap(), "it is ours");
        assert_eq!(contents(&again).len(), 1, "nothing of before comes back");
    }
}

#[test]
fn random_bytes_never_do_harm() {
    let (file, ring) = new_ring();
    let mut random = Random(42);
    for number in 0..600 {
        append(&ring, number, &payload(number, random.below(4_000)));
    }
    for round in 0..200 {
        for _ in 0..random.below(50) {
            let at = AREA + random.below(SIZE - AREA - 300);
            let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.byte()).collect();
            // Whole heads, too, of frames that are not there.
            let forged = if round % 3 == 0 { MAGIC_OF_FRAME.to_vec() } else { bytes };
            file.write_all_at(&forged, at).unwrap();
        }
        let ring = open(file.try_clone().unwrap());
        for (time, read) in contents(&ring) {
            if time < 600 {
                assert_eq!(read, payload(time, read.len() as u64), "seed 42, round {round}");
            }
        }
        append(&ring, 1_000, &payload(1_000, 500));
        assert_eq!(contents(&ring).last().map(|(time, _)| *time), Some(1_000));
    }
}

#[test]
fn a_write_that_fails_is_an_error_and_what_is_kept_stays() {
    let (_, ring) = new_ring();
    append(&ring, 0, &payload(0, 100));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let mut copy = File::create(&path).unwrap();
    let mut bytes = vec![0; usize::try_from(SIZE).unwrap()];
    ring.file.read_exact_at(&mut bytes, 0).unwrap();
    copy.write_all(&bytes).unwrap();
    let ring = open(File::open(&path).unwrap());
    ring.append(Kind::Key, 1, b"no right to write").unwrap_err();
    assert_eq!(contents(&ring).len(), 1);
    // Somebody cut it short.
    copy.set_len(AREA + 10).unwrap();
    let group = *ring.index().groups.front().unwrap();
    assert_eq!(ring.read_group(&group).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    Ring::new(File::open(&path).unwrap()).unwrap_err();
}

const MAGIC_OF_FRAME: [u8; 8] = [b'O', b'S', b'T', b'f', 0, 0, 0, 2];

fn new_ring() -> (File, Ring) {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    let ring = open(file.try_clone().unwrap());
    assert!(ring.begin().unwrap());
    (file, ring)
}

fn open(file: File) -> Ring {
    let ring = Ring::new(file).unwrap();
    ring.scan().unwrap();
    ring
}

/// Writes a frame: a delta, but each seventh time, or when there is no room, a key frame.
fn append(ring: &Ring, time: u64, payload: &[u8]) {
    let is_key = time.is_multiple_of(7) || !ring.takes_delta(payload.len());
    let kind = if is_key { Kind::Key } else { Kind::Delta };
    ring.append(kind, time, payload).unwrap();
}

/// All that can be read, the oldest first.
fn contents(ring: &Ring) -> Vec<(u64, Vec<u8>)> {
    let groups = ring.index().groups.clone();
    let frames = groups.iter().flat_map(|group| {
        let frames = ring.read_group(group).unwrap();
        assert_eq!(frames.len(), group.frames as usize);
        frames
    });
    frames.map(|(head, payload)| (head.time_ms, payload)).collect()
}

fn payload(number: u64, length: u64) -> Vec<u8> {
    let mut random = Random(number + 1);
    (0..length).map(|_| random.byte()).collect()
}

/// The generator of Steele, Lea and Flood: a seed is a sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
