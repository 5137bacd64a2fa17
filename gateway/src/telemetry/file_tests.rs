use std::os::unix::fs::symlink;
use std::sync::Mutex;

use super::*;

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn open(path: &Path, rotate_size: u64, rotate_keep: usize) -> LogFile {
    let output = Output::File(path.into());
    let report = |level: Level, message: &str| REPORTS.lock().unwrap().push(format!("{level} {message}"));
    let options = SinkOptions { name: "test", output: &output, rotate_size, rotate_keep, queue: 1, shards: 1, report };
    LogFile::open(&options, Arc::default(), Arc::default()).unwrap().unwrap()
}

fn dropped(file: &LogFile) -> u64 {
    file.drops.load(Ordering::Relaxed)
}

/// The files of a folder and what is in them.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn check(files: &[(String, String)], expected: &[(&str, &str)]) {
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(files, expected);
}

#[test]
fn a_full_file_is_set_aside_between_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = open(&path, 10, 2);
    file.write_lines(b"one\ntwo\nthree\nfour\nmuch too long a line\nfive\n");
    check(&contents(folder.path()), &[("log", "five\n"), ("log.1", "much too long a line\n"), ("log.2", "four\n")]);
    assert_eq!(dropped(&file), 0);
}

#[test]
fn the_size_there_was_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "old line\n").unwrap();
    open(&path, 10, 3).write_lines(b"new\n");
    check(&contents(folder.path()), &[("log", "new\n"), ("log.1", "old line\n")]);
}

#[test]
fn nothing_kept_means_the_old_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(&folder.path().join("log"), 5, 0);
    file.write_lines(b"one\ntwo\n");
    check(&contents(folder.path()), &[("log", "two\n")]);
}

#[test]
fn a_file_someone_else_moved_is_not_rotated_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = open(&path, 5, 3);
    file.write_lines(b"one\n");
    fs::rename(&path, folder.path().join("moved")).unwrap();
    fs::write(&path, "").unwrap();
    file.write_lines(b"two\n");
    check(&contents(folder.path()), &[("log", "two\n"), ("moved", "one\n")]);
}

#[test]
fn a_file_that_cannot_be_set_aside_is_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = open(&path, 5, 1);
    fs::create_dir(folder.path().join("log.1")).unwrap();
    file.write_lines(b"one\ntwo\nthree\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    let told = format!("ERROR cannot rotate {}: ", path.display());
    assert!(REPORTS.lock().unwrap().iter().any(|report| report.starts_with(&told)));
}

#[test]
fn a_full_disk_loses_lines_counts_them_and_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full");
    symlink("/dev/full", &path).unwrap();
    // A rotation of a device would be a catastrophe: it must not happen at any size.
    let mut file = open(&path, 1, 1);
    let before = REPORTS.lock().unwrap().iter().filter(|report| report.contains("No space left")).count();
    for n in 1..=5 {
        file.write_lines(b"a\nb\nc\n");
        assert_eq!(dropped(&file), n * 3);
    }
    let told = REPORTS.lock().unwrap().iter().filter(|report| report.contains("No space left")).count() - before;
    assert_eq!(told, 1);
    assert!(Path::new("/dev/full").exists());

    // Room again.
    fs::remove_file(&path).unwrap();
    file.reopen();
    file.write_lines(b"d\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "d\n");
    assert_eq!(dropped(&file), 15);
}

#[test]
fn the_rest_of_a_cut_line_is_what_comes_first() {
    type Case = (&'static [u8], usize, bool, &'static [u8], &'static [u8]);
    let cases: [Case; 7] = [
        (b"one\ntwo\nthree\n", 0, false, b"", b"one\ntwo\nthree\n"),
        (b"one\ntwo\nthree\n", 2, false, b"e\n", b"two\nthree\n"),
        (b"one\ntwo\nthree\n", 4, false, b"", b"two\nthree\n"),
        (b"one\ntwo\nthree\n", 5, false, b"wo\n", b"three\n"),
        (b"one\ntwo\nthree\n", 13, false, b"\n", b""),
        (b"e\n", 0, true, b"e\n", b""),
        (b"e\n", 1, true, b"\n", b""),
    ];
    for (bytes, written, begun, carry, lost) in cases {
        assert_eq!(split_cut(bytes, written, begun), (carry, lost), "{written} of {bytes:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = open(&path, 0, 0);
    file.write_lines(b"first\n");
    file.file.write_all(b"sec").unwrap();
    file.carry = b"ond\n".to_vec();
    file.write_lines(b"third\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\nthird\n");
}

#[test]
fn not_for_all_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    drop(open(&path, 0, 0));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o007, 0);
}
