//! The log as a whole: what went in comes out, whatever happens in between.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path};

use bytes::Bytes;
use proptest::prelude::*;

use super::{segment, *};
use crate::domain::output::{EngineTime, LogChunk, Stream};

/// Values that overlap, begin alike and repeat in themselves, as the worst secrets would.
const SECRETS: [(&str, &str); 4] = [("ONE", "abab"), ("TWO", "ababcab"), ("THREE", "cabbage"), ("FOUR", "aéab")];

fn masker() -> Masker {
    Masker::new(SECRETS)
}

fn small() -> Limits {
    Limits { max_bytes: 1 << 20, segment_bytes: 700, line_bytes: 24 }
}

fn at(nanos: i64) -> EngineTime {
    EngineTime { seconds: nanos / 1_000_000_000, nanos: u32::try_from(nanos % 1_000_000_000).unwrap() }
}

fn chunk(stream: Stream, nanos: i64, text: &str) -> LogChunk {
    LogChunk { stream, time: at(nanos), bytes: Bytes::copy_from_slice(text.as_bytes()) }
}

/// Output in the order in which an engine stores it: times often equal, in order within a pipe and
/// nearly so across the two, now and then a long pause, pieces that end in the middle of anything.
fn output() -> impl Strategy<Value = Vec<LogChunk>> {
    let text = prop::collection::vec(
        prop_oneof![
            8 => prop::sample::select(vec!["a", "b", "c", "ab", "abab", "cab", "bage", "é"]).prop_map(|s| s.as_bytes().to_vec()),
            2 => Just(b"\n".to_vec()),
            1 => prop::sample::select(vec![&b"\r"[..], b"\xC3", b"\xA9", b"\xE2\x96", b"\0", b" o+= "]).prop_map(<[u8]>::to_vec),
            1 => Just(b"\n{\"chart\":\"l\",\"y\":1}\n".to_vec()),
        ],
        1..12,
    )
    .prop_map(|parts| parts.concat());
    let step = prop::sample::select(vec![0i64, 0, 1, 300_000_000, 50_000_000_000]);
    let skew = prop::sample::select(vec![0i64, 0, 1, 1_500_000_000]);
    prop::collection::vec((any::<bool>(), step, skew, text), 0..60).prop_map(|pieces| {
        let (mut now, mut last) = (1_769_846_400_999_999_990i64, [0i64; 2]);
        pieces
            .into_iter()
            .map(|(stdout, step, skew, bytes)| {
                let stream = if stdout { Stream::Stdout } else { Stream::Stderr };
                now += step;
                let time = (now - skew).max(last[stream as usize]);
                last[stream as usize] = time;
                LogChunk { stream, time: at(time), bytes: bytes.into() }
            })
            .collect()
    })
}

/// What a log must say of `chunks`: each pipe's bytes, masked as a whole.
fn expected(chunks: &[LogChunk]) -> BTreeMap<&'static str, Vec<u8>> {
    let masker = masker();
    let mut said = BTreeMap::new();
    for stream in [Stream::Stdout, Stream::Stderr] {
        let bytes: Vec<u8> =
            chunks.iter().filter(|chunk| chunk.stream == stream).flat_map(|chunk| chunk.bytes.to_vec()).collect();
        let mut masked = Vec::new();
        masker.scan(&bytes, true, |part| match part {
            mask::Part::Shown(bytes) => masked.extend_from_slice(bytes),
            mask::Part::Hidden { mark, .. } => masked.extend_from_slice(mark.as_bytes()),
        });
        if !masked.is_empty() {
            said.insert(Source::Output(stream).as_str(), masked);
        }
    }
    said
}

/// Every record of a log, from the files themselves.
fn records(dir: &Path) -> Vec<(record::Head, Vec<u8>)> {
    let mut all = Vec::new();
    for segment in segment::list(dir).unwrap() {
        assert_eq!(segment.first_line, all.len() as u64, "a segment is named by its first line");
        let mut take = |_, line: &[u8], _| {
            let (head, text) = record::parse(line).unwrap();
            all.push((head, text.to_vec()));
            ControlFlow::Continue(())
        };
        segment.visit(dir, None, &mut take).unwrap();
    }
    all
}

fn said(dir: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let mut said: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for (head, text) in records(dir) {
        let said = said.entry(head.source.as_str()).or_default();
        said.extend(text);
        if !head.partial {
            said.push(b'\n');
        }
    }
    said.retain(|_, bytes| !bytes.is_empty());
    said
}

/// Rows but for their numbers, without those that only tell that something is held back.
fn telling(dir: &Path) -> Vec<(EngineTime, Source, bool, Vec<u8>)> {
    let shown = |(head, text): (record::Head, Vec<u8>)| (head.time, head.source, head.partial, text);
    records(dir).into_iter().filter(|(head, text)| !(head.partial && text.is_empty())).map(shown).collect()
}

/// What the engine says when it is asked to repeat from `since`.
fn repeated(chunks: &[LogChunk], since: Option<EngineTime>) -> Vec<LogChunk> {
    chunks.iter().filter(|chunk| since.is_none_or(|since| chunk.time >= since)).cloned().collect()
}

/// Removes some of the end of the last segment, as a failing machine would.
fn tear(dir: &Path, share: f64) {
    if let Some(last) = segment::list(dir).unwrap().pop()
        && !last.compressed
    {
        let file = fs::OpenOptions::new().write(true).open(last.path(dir)).unwrap();
        let len = file.metadata().unwrap().len();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "any place will do"
        )]
        file.set_len((len as f64 * share) as u64).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn crashes_anywhere_neither_lose_nor_double_a_byte(
        chunks in output(),
        crashes in prop::collection::vec((0usize..80, 1usize..9, 0.0..=1.0f64), 0..5),
    ) {
        let (straight, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut log = LogWriter::open(straight.path(), small(), masker()).unwrap();
        log.write(&chunks).unwrap();
        log.finish().unwrap();
        prop_assert_eq!(said(straight.path()), expected(&chunks));

        for (reached, batch, torn) in crashes {
            let mut log = LogWriter::open(crashed.path(), small(), masker()).unwrap();
            let coming = repeated(&chunks, log.resume_since());
            for batch in coming[..reached.min(coming.len())].chunks(batch) {
                log.write(batch).unwrap();
            }
            drop(log);
            tear(crashed.path(), torn);
        }
        let mut log = LogWriter::open(crashed.path(), small(), masker()).unwrap();
        let coming = repeated(&chunks, log.resume_since());
        log.write(&coming).unwrap();
        log.finish().unwrap();
        prop_assert_eq!(telling(crashed.path()), telling(straight.path()));
    }

    #[test]
    fn the_engine_may_cut_its_output_anew_when_it_repeats(chunks in output(), reached in 0usize..60, cut in 1usize..9) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), small(), masker()).unwrap();
        log.write(&chunks[..reached.min(chunks.len())]).unwrap();
        drop(log);
        let mut log = LogWriter::open(dir.path(), small(), masker()).unwrap();
        for chunk in repeated(&chunks, log.resume_since()) {
            for piece in chunk.bytes.chunks(cut) {
                log.write(&[LogChunk { bytes: Bytes::copy_from_slice(piece), ..chunk.clone() }]).unwrap();
            }
        }
        log.finish().unwrap();
        prop_assert_eq!(said(dir.path()), expected(&chunks));
    }

    #[test]
    fn a_crash_while_finishing_changes_nothing(chunks in output(), keep in 0usize..6) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), small(), masker()).unwrap();
        log.write(&chunks).unwrap();
        let plain: Vec<_> = segment::list(dir.path()).unwrap().into_iter().map(|segment| segment.path(dir.path())).collect();
        let copies: Vec<_> = plain.iter().map(|path| fs::read(path).unwrap()).collect();
        let total = log.finish().unwrap().lines;
        let before = telling(dir.path());
        // Renamed, but the plain one not yet removed; and one that is half made.
        if let (Some(path), Some(copy)) = (plain.get(keep), copies.get(keep)) {
            fs::write(path, copy).unwrap();
            fs::write(path.with_extension("tmp"), b"half").unwrap();
        }
        prop_assert_eq!(LogReader::open(dir.path()).total().unwrap(), total);
        let mut log = LogWriter::open(dir.path(), small(), masker()).unwrap();
        let again = repeated(&chunks, log.resume_since());
        log.write(&again).unwrap();
        log.finish().unwrap();
        prop_assert_eq!(telling(dir.path()), before);
        prop_assert!(fs::read_dir(dir.path()).unwrap().all(|entry| entry.unwrap().path().extension().unwrap() == "zst"));
    }

    #[test]
    fn a_range_is_what_counting_by_hand_gives(chunks in output(), start in 0u64..80, limit in 0usize..30, compressed: bool) {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = LogReader::open(dir.path());
        let mut log = LogWriter::open(dir.path(), small(), masker()).unwrap();
        // Followed while it grows, the way a viewer does.
        let mut followed = Vec::new();
        let mut points = Vec::new();
        for batch in chunks.chunks(3) {
            points.extend(log.write(batch).unwrap().points);
            prop_assert_eq!(reader.total().unwrap(), log.total());
            while let rows @ [_, ..] = &reader.range(followed.len() as u64, 4).unwrap()[..] {
                followed.extend_from_slice(rows);
            }
        }
        if compressed {
            log.finish().unwrap();
        }
        let all = records(dir.path());
        let by_hand: Vec<Row> = (0..).zip(&all).map(|(line, (head, text))| Row {
            line, time: head.time, source: head.source, partial: head.partial, text: String::from_utf8_lossy(text).into_owned(),
        }).collect();
        while let rows @ [_, ..] = &reader.range(followed.len() as u64, 4).unwrap()[..] {
            followed.extend_from_slice(rows);
        }
        prop_assert_eq!(&followed, &by_hand);
        prop_assert_eq!(reader.points(0).unwrap(), (points, None));
        let range: Vec<_> = by_hand.iter().skip(usize::try_from(start).unwrap()).take(limit).cloned().collect();
        prop_assert_eq!(reader.range(start, limit).unwrap(), range);
        prop_assert_eq!(reader.tail(limit).unwrap(), by_hand[by_hand.len().saturating_sub(limit)..].to_vec());

        let wanted: Vec<Row> = by_hand.iter().filter(|row| row.text.to_lowercase().contains("cab")).cloned().collect();
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(start) = from {
            let piece = reader.search("CAB", true, start, 2, 300).unwrap();
            found.extend(piece.rows);
            from = piece.next;
        }
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_split(cuts in prop::collection::vec(1usize..6, 0..12), before in "[abc ]{0,6}", after in "[abc ]{0,6}") {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), Limits::default(), Masker::new([("KEY", "hunter2-é-secret")])).unwrap();
        let line = format!("{before}hunter2-é-secret{after}\n");
        let mut rest = line.as_bytes();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            log.write(&[LogChunk { bytes: Bytes::copy_from_slice(piece), ..chunk(Stream::Stdout, 5, "") }]).unwrap();
            rest = after;
        }
        log.write(&[LogChunk { bytes: Bytes::copy_from_slice(rest), ..chunk(Stream::Stdout, 6, "") }]).unwrap();
        log.finish().unwrap();
        let text: Vec<u8> = LogReader::open(dir.path()).download().unwrap().flat_map(Result::unwrap).collect();
        prop_assert_eq!(String::from_utf8(text).unwrap(), format!("{before}[secret:KEY]{after}\n"));
    }
}

fn written(limits: Limits, chunks: &[LogChunk]) -> (tempfile::TempDir, LogWriter) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogWriter::open(dir.path(), limits, masker()).unwrap();
    log.write(chunks).unwrap();
    (dir, log)
}

fn texts(dir: &Path) -> Vec<String> {
    LogReader::open(dir).range(0, 1000).unwrap().into_iter().map(|row| row.text).collect()
}

fn downloaded(dir: &Path) -> String {
    String::from_utf8(LogReader::open(dir).download().unwrap().flat_map(Result::unwrap).collect()).unwrap()
}

#[test]
fn a_log_that_grows_too_large_is_cut_with_a_mark_and_an_account() {
    let limits = Limits { max_bytes: 1000, ..small() };
    let lines: Vec<_> = (0..100).map(|i| chunk(Stream::Stdout, i, "0123456789\n")).collect();
    let (dir, mut log) = written(limits, &lines[..50]);
    assert_eq!(log.system("stopping", at(50)).unwrap().lines, 1, "the daemon is still heard");
    log.write(&lines[50..]).unwrap();
    let finished = log.finish().unwrap();
    let rows = LogReader::open(dir.path()).range(0, 1000).unwrap();
    let kept = rows.iter().filter(|row| row.text == "0123456789").count();
    assert!((15..=22).contains(&kept), "{kept}");
    assert_eq!(finished.dropped_bytes, (100 - kept as u64) * 11);
    assert_eq!(
        rows[kept..].iter().map(|row| (row.source.as_str(), row.text.clone())).collect::<Vec<_>>(),
        [
            ("system", "the log is cut here: it has reached 1000 bytes".to_owned()),
            ("system", "stopping".to_owned()),
            ("system", format!("{} bytes of output after the cut were not kept", finished.dropped_bytes)),
        ]
    );
}

#[test]
fn a_cut_log_stays_cut_after_a_crash() {
    let limits = Limits { max_bytes: 1000, ..small() };
    let lines: Vec<_> = (0..100).map(|i| chunk(Stream::Stdout, i, "0123456789\n")).collect();
    let (dir, log) = written(limits, &lines);
    let total = log.total();
    drop(log);
    let mut log = LogWriter::open(dir.path(), limits, masker()).unwrap();
    log.write(&repeated(&lines, log.resume_since())).unwrap();
    assert_eq!(log.total(), total);
    log.finish().unwrap();
    assert!(texts(dir.path()).pop().unwrap().starts_with("at least "));
    assert_eq!(LogWriter::open(dir.path(), limits, masker()).unwrap().finish().unwrap().lines, total + 1);
}

#[test]
fn a_failed_write_is_made_good_by_opening_anew() {
    let lines: Vec<_> = (0..60).map(|i| chunk(Stream::Stdout, i, "0123456789\n")).collect();
    let (dir, mut log) = written(small(), &lines[..10]);
    // A folder in the next segment's place stands for a disk that has no room.
    let probe = tempfile::tempdir().unwrap();
    LogWriter::open(probe.path(), small(), masker()).unwrap().write(&lines).unwrap();
    let second = segment::list(probe.path()).unwrap()[1];
    fs::create_dir(second.path(dir.path())).unwrap();
    assert!(log.write(&lines[10..]).is_err());
    assert!(log.write(&[]).is_err(), "it must not go on as if nothing were missing");
    fs::remove_dir(second.path(dir.path())).unwrap();

    let mut log = LogWriter::open(dir.path(), small(), masker()).unwrap();
    log.write(&repeated(&lines, log.resume_since())).unwrap();
    assert_eq!(texts(dir.path()), vec!["0123456789"; 60]);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("000000000000.log");
    fs::write(&path, "somebody's\nown file\n").unwrap();
    let error = LogWriter::open(dir.path(), small(), masker()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(fs::read(&path).unwrap(), b"somebody's\nown file\n");
}

#[test]
fn a_log_that_is_not_there_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = LogReader::open(&dir.path().join("none"));
    assert_eq!((reader.total().unwrap(), reader.range(0, 9).unwrap(), reader.tail(9).unwrap()), (0, vec![], vec![]));
    assert_eq!(reader.search("x", false, 0, 9, 9).unwrap(), Found { rows: vec![], next: None });
}

#[test]
fn a_progress_bar_is_seen_before_its_newline_with_its_colours() {
    let bar = "\r\x1b[32m 50%|█████     |\x1b[0m";
    let (dir, mut log) = written(Limits::default(), &[chunk(Stream::Stderr, 1, bar)]);
    let row = LogReader::open(dir.path()).range(0, 9).unwrap().remove(0);
    assert_eq!((row.text.as_str(), row.partial), (bar, true));
    log.write(&[chunk(Stream::Stdout, 2, "between\n"), chunk(Stream::Stderr, 3, " done\n")]).unwrap();
    assert_eq!(texts(dir.path()), [bar, "between", " done"]);
    assert_eq!(downloaded(dir.path()), format!("{bar}\nbetween\n done\n"));
}

#[test]
fn a_character_split_between_pieces_stays_whole() {
    let (dir, mut log) = written(Limits::default(), &[]);
    for (i, piece) in (0..).zip("a█b\n".as_bytes().chunks(2)) {
        log.write(&[LogChunk { bytes: Bytes::copy_from_slice(piece), ..chunk(Stream::Stdout, i, "") }]).unwrap();
    }
    assert_eq!(texts(dir.path()).concat(), "a█b");
}

#[test]
fn a_long_line_is_several_rows_and_one_line_of_the_download() {
    let long = "é".repeat(100);
    let (dir, _log) = written(small(), &[chunk(Stream::Stdout, 1, &format!("{long}\nnext\n"))]);
    let rows = LogReader::open(dir.path()).range(0, 99).unwrap();
    assert!(rows.iter().all(|row| row.text.len() <= 24 && !row.text.contains('\u{FFFD}')));
    assert_eq!(downloaded(dir.path()), format!("{long}\nnext\n"));
}

#[test]
fn the_daemons_words_are_masked_and_split_into_lines() {
    let (dir, mut log) = written(small(), &[]);
    let appended = log.system("Step 1\nRUN echo cabbage and more than fits\n", at(1)).unwrap();
    assert_eq!((appended.first_line, appended.lines, appended.total()), (0, 3, 3));
    assert_eq!(downloaded(dir.path()), "Step 1\nRUN echo [secret:THREE] and more than fits\n");
    assert_eq!(log.resume_since(), None, "the engine knows nothing of them");
}

#[test]
fn a_point_is_told_with_its_line() {
    let (_dir, mut log) = written(Limits::default(), &[chunk(Stream::Stdout, 1, "epoch 1\n")]);
    let text = "{\"chart\":\"loss\",\"x\":1,\"y\":0.5}\n";
    let points = log.write(&[chunk(Stream::Stdout, 2, text), chunk(Stream::Stderr, 2, "x\n")]).unwrap().points;
    let point = crate::domain::chart::Point { chart: "loss".into(), x: Some(1.0), y: 0.5 };
    assert_eq!(points, [LinePoint { line: 1, point }]);
}
