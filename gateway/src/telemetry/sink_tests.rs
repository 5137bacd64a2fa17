use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn open(path: &Path, queue: usize, shards: usize) -> (Sink, Arc<AtomicU64>) {
    let drops = Arc::new(AtomicU64::new(0));
    let output = Output::File(path.into());
    let options =
        SinkOptions { name: "test", output: &output, rotate_size: 0, rotate_keep: 0, queue, shards, report: |_, _| {} };
    (Sink::open(options, Arc::clone(&drops)).unwrap().unwrap(), drops)
}

/// A pipe whose reader reads nothing, until told to.
fn fifo(folder: &Path) -> (std::path::PathBuf, File) {
    let path = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // For reading and writing: opens at once, and keeps the pipe from ending.
    let reader = File::options().read(true).write(true).open(&path).unwrap();
    (path, reader)
}

#[test]
fn every_line_of_every_thread_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/demand.log");
    let (sink, drops) = open(&path, 1 << 20, 16);
    thread::scope(|scope| {
        for thread in 0..20 {
            let sink = &sink;
            scope.spawn(move || {
                for n in 0..2000 {
                    sink.submit_with(|out| {
                        out.extend_from_slice(format!("{thread} {n} {}\n", "x".repeat(n % 200)).as_bytes())
                    });
                }
            });
        }
    });
    assert!(sink.shutdown(LONG));
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    let text = fs::read_to_string(&path).unwrap();
    let mut next = [0; 20];
    for line in text.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let (thread, n): (usize, usize) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
        assert_eq!(parts[2].len(), n % 200);
        next[thread] += 1;
    }
    assert_eq!(next, [2000; 20]);
}

#[test]
fn one_buffer_keeps_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (sink, _) = open(&path, 10_000, 1);
    for n in 0..3000 {
        sink.submit_with(|out| out.extend_from_slice(format!("{n}\n").as_bytes()));
    }
    assert!(sink.flush(LONG));
    let expected: String = (0..3000).map(|n| format!("{n}\n")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn dropping_the_sink_writes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (sink, _) = open(&path, 100, 4);
    sink.submit_with(|out| out.extend_from_slice(b"last words\n"));
    drop(sink);
    assert_eq!(fs::read_to_string(&path).unwrap(), "last words\n");
}

#[test]
fn a_pipe_nobody_reads_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut reader) = fifo(folder.path());
    let (sink, drops) = open(&path, 1000, 16);
    let line = [b"x".repeat(199), b"\n".to_vec()].concat();
    let submit = || sink.submit_with(|out| out.extend_from_slice(&line));

    let begin = Instant::now();
    let most = 200_000;
    (0..most).for_each(|_| submit());
    // Half a second would be 2.5 us a line; a write that waits would never end.
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(!sink.flush(Duration::from_millis(100)));
    let dropped = drops.load(Ordering::Relaxed);
    // In the pipe 64 KiB, with the writer one buffer, and what waits.
    assert!(dropped > most - 3000, "{dropped}");
    let waiting: usize = sink.shared.shards.iter().map(|shard| shard.lock().count).sum();
    assert!(waiting <= 1000, "{waiting}");

    // Somebody reads again: lines are taken again, and each line is whole or counted.
    let lines = thread::spawn(move || {
        let (mut got, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        while !got.ends_with(b"end\n") {
            let n = reader.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..n]);
        }
        got.iter().filter(|&&byte| byte == b'\n').count() as u64
    });
    assert!(sink.flush(LONG));
    let dropped = drops.load(Ordering::Relaxed);
    sink.submit_with(|out| out.extend_from_slice(b"end\n"));
    assert!(sink.flush(LONG));
    assert_eq!(lines.join().unwrap() - 1, most - dropped);
}

#[test]
fn a_writer_that_hangs_does_not_hang_the_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _reader) = fifo(folder.path());
    let (sink, _) = open(&path, 1000, 1);
    (0..1000).for_each(|_| sink.submit_with(|out| out.extend_from_slice(&[b'x'; 1000])));
    let begin = Instant::now();
    assert!(!sink.shutdown(Duration::from_millis(100)));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn long_lines_cannot_make_the_queue_large() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _reader) = fifo(folder.path());
    let (sink, drops) = open(&path, 1024, 16);
    (0..1024).for_each(|_| sink.submit_with(|out| out.resize(out.len() + 100_000, b'x')));
    let bytes: usize = sink.shared.shards.iter().map(|shard| shard.lock().bytes.len()).sum();
    assert!(bytes <= 16 * (64 * MEAN_LINE + 100_000), "{bytes}");
    assert!(drops.load(Ordering::Relaxed) > 900);
}

#[test]
fn a_closed_sink_counts_what_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (sink, drops) = open(&folder.path().join("log"), 100, 4);
    assert!(sink.shutdown(LONG));
    assert!(sink.shutdown(LONG));
    sink.submit_with(|out| out.extend_from_slice(b"late\n"));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn reopening_follows_a_file_that_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (sink, _) = open(&path, 100, 4);
    sink.submit_with(|out| out.extend_from_slice(b"before\n"));
    assert!(sink.flush(LONG));
    fs::rename(&path, folder.path().join("moved")).unwrap();
    sink.submit_with(|out| out.extend_from_slice(b"between\n"));
    assert!(sink.flush(LONG));
    sink.reopen();
    assert!(sink.flush(LONG));
    sink.submit_with(|out| out.extend_from_slice(b"after\n"));
    assert!(sink.shutdown(LONG));
    assert_eq!(fs::read_to_string(folder.path().join("moved")).unwrap(), "before\nbetween\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
}
