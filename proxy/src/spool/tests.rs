//! What the spool counts, keeps and refuses, on real files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ostler_conf::ByteSize;
use tempfile::TempDir;

use super::*;

fn config(folder: &TempDir, max_bytes: u64) -> SpoolConfig {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    SpoolConfig { directory: folder.path().to_owned(), max_size: ByteSize(max_bytes) }
}

fn open(folder: &TempDir, max_bytes: u64) -> Arc<Spool> {
    Spool::open(&config(folder, max_bytes), None).unwrap()
}

#[test]
fn every_byte_is_counted_and_given_back() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder, 100);
    let mut first = spool.create().unwrap();
    let mut second = spool.create().unwrap();
    first.append(&[1; 60]).unwrap();
    assert_eq!(spool.used_bytes(), 60);
    assert!(spool.expect(40).is_ok() && spool.expect(41).is_err());
    assert!(matches!(second.append(&[2; 41]), Err(SpoolError::Full)));
    assert_eq!((spool.used_bytes(), second.length()), (60, 0), "what was refused counts nothing");
    second.append(&[2; 40]).unwrap();
    assert_eq!(spool.used_bytes(), 100);
    drop(first);
    assert_eq!(spool.used_bytes(), 40);
    drop(second);
    assert_eq!(spool.used_bytes(), 0);
}

#[test]
fn files_have_no_names() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder, 100);
    let mut file = spool.create().unwrap();
    file.append(b"private").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(file.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_is_taken_once_and_read_as_often_as_wanted() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder, 1 << 20);
    let body: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0] ^ 0x5a).collect();
    let mut file = spool.create().unwrap();
    for piece in body.chunks(PIECE_BYTES) {
        file.append(piece).unwrap();
    }
    for _ in 0..2 {
        let (mut read, mut at) = (Vec::new(), 0);
        while at < file.length() {
            at += file.read_at(at, &mut read).unwrap() as u64;
        }
        assert!(read == body);
    }
    let mut taken = Vec::new();
    while 0 < file.length() {
        file.take(&mut taken).unwrap();
    }
    assert!(taken == body);
    assert_eq!(file.read_at(file.end, &mut taken).unwrap(), 0);
}

/// On a file system that can make holes, which those of test machines can.
#[test]
fn an_answer_that_is_taken_as_it_comes_needs_no_room_without_an_end() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder, 4 * GIVE_BACK_BYTES);
    let mut file = spool.create().unwrap();
    let (piece, mut taken) = (vec![7; PIECE_BYTES], Vec::new());
    for _ in 0..200 {
        file.append(&piece).unwrap();
        taken.clear();
        file.take(&mut taken).unwrap();
        assert!(taken == piece);
        assert!(spool.used_bytes() <= GIVE_BACK_BYTES);
    }
    drop(file);
    assert_eq!(spool.used_bytes(), 0);
}

#[test]
fn a_spool_goes_on_counting_for_the_one_before() {
    let folder = TempDir::new().unwrap();
    let before = open(&folder, 100);
    let mut old = before.create().unwrap();
    old.append(&[1; 80]).unwrap();
    let after = Spool::open(&config(&folder, 50), Some(&before)).unwrap();
    let mut new = after.create().unwrap();
    assert!(matches!(new.append(b"x"), Err(SpoolError::Full)), "80 of 50 bytes are used");
    drop(old);
    new.append(b"x").unwrap();
    assert_eq!((before.used_bytes(), after.used_bytes()), (1, 1));
}

#[test]
fn a_directory_that_others_may_use_is_refused() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder, 100);
    let check = |mode: u32, expected: Option<&str>| {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = Spool::open(&config, None).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected, "{mode:o}");
    };
    check(0o700, None);
    check(0o750, Some("its mode is 0750: make it 0700, what is in it is private"));
    check(0o701, Some("its mode is 0701: make it 0700, what is in it is private"));
    let missing = SpoolConfig { directory: folder.path().join("missing"), ..config };
    let error = Spool::open(&missing, None).unwrap_err();
    assert_eq!(error.to_string(), "it cannot be used by the proxy's user");
}

#[test]
fn a_disk_that_is_full_is_an_error_that_counts_nothing() {
    let folder = TempDir::new().unwrap();
    let spool = open(&folder, 1 << 20);
    // Writing to it fails with ENOSPC (full(4)).
    let file = File::options().read(true).write(true).open("/dev/full").unwrap();
    let mut file = SpoolFile {
        file,
        spool: Arc::clone(&spool),
        start: 0,
        given_back: 0,
        end: 0,
        is_punchable: true,
    };
    let error = file.append(&[1; 1000]).unwrap_err();
    assert!(matches!(&error, SpoolError::Io(io) if io.raw_os_error() == Some(28)), "{error:?}");
    assert_eq!((spool.used_bytes(), file.length()), (0, 0));
}
