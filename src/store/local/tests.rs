//! The cache as a whole, without tasks: entries that are kept and found, and what locks allow.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::model::{Digest, Entry, EntryKind, OutputEntry};

fn open(folder: &Path) -> Cache {
    Cache::open(CacheOptions {
        dir: folder.join("cache"),
        read: true,
        write: true,
        root: folder.to_owned(),
        folder: folder.to_owned(),
        ..CacheOptions::default()
    })
}

/// A result that made one file, which lies in `folder`.
fn draft(folder: &Path, content: &[u8]) -> Draft {
    let key = ActionKey(Digest::of(&[b"key of ", content].concat()));
    let from = folder.join("made");
    let entry = Entry { kind: EntryKind::File, executable: false, digest: Digest::of(content) };
    let output = OutputEntry { path: WorkspacePath::new("made").unwrap(), entry };
    let cached = CacheEntry {
        key,
        validation_key: Digest::of(b""),
        outputs: vec![CachedFile { output, mode: 0, size: 0 }],
        edited: Vec::new(),
        evidence: Vec::new(),
        duration: Duration::from_secs(3),
        agent: None,
        approval: None,
        beside: Vec::new(),
        by: Maker::default(),
        bound_to: None,
    };
    let outputs = vec![Source { entry, from, as_made: true }];
    Draft { entry: cached, outputs, edits: Vec::new(), beside: Vec::new(), discovered: None }
}

fn keep(cache: &Cache, folder: &Path, content: &[u8]) -> ActionKey {
    fs::write(folder.join("made"), content).unwrap();
    let draft = draft(folder, content);
    let key = draft.entry.key;
    cache.keep(draft);
    assert_eq!(cache.settle(), []);
    key
}

#[test]
fn what_is_kept_is_found_and_fetched_with_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let large: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    for content in [&b""[..], b"small", &large] {
        let key = keep(&cache, folder.path(), content);
        let entry = cache.find(key).unwrap();
        let to = tempfile::tempdir().unwrap();
        cache.fetch(&entry, to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("made")).unwrap(), content);
    }
    let statistics = cache.statistics();
    assert_eq!((statistics.entries, statistics.blobs), (3, 3));
    assert_eq!(statistics.content_bytes, large.len() as u64 + 5);
    assert!(
        statistics.bytes < statistics.content_bytes,
        "it is compressed, or shares blocks: {statistics:?}"
    );
}

#[test]
fn nothing_is_kept_of_a_file_that_is_another_one_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    fs::write(folder.path().join("made"), "two").unwrap();
    let draft = draft(folder.path(), b"one");
    let key = draft.entry.key;
    cache.keep(draft);
    assert_eq!(cache.settle(), [], "that is no trouble");
    assert_eq!(cache.find(key), None);
}

#[test]
fn content_that_went_after_the_entry_was_found_is_a_miss() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let key = keep(&cache, folder.path(), b"content");
    assert!(cache.may_have(key));
    let entry = cache.find(key).unwrap();
    cache.collect(0, Duration::MAX).unwrap();
    let to = tempfile::tempdir().unwrap();
    assert!(matches!(cache.fetch(&entry, to.path()), Err(Missing::Content(_))));
    assert_eq!(cache.settle(), [], "that is no trouble");
}

#[test]
fn garbage_is_not_collected_while_somebody_reads_and_a_build_does_not_wait_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let key = keep(&cache, folder.path(), b"content");
    let reader = cache.shared.hold().unwrap();
    assert_eq!(cache.collect_if_due(0, Duration::MAX), None);
    assert!(cache.find(key).is_some());
    drop(reader);
    assert_eq!(cache.collect_if_due(0, Duration::MAX), None, "it is new");
    let lock = File::open(cache.dir().join(VERSION).join("lock")).unwrap();
    lock.set_modified(std::time::SystemTime::now() - Duration::from_secs(25 * 60 * 60)).unwrap();
    assert_eq!(cache.collect_if_due(0, Duration::MAX).unwrap().entries, 1);
    assert_eq!(cache.find(key), None);
    assert_eq!(cache.collect_if_due(0, Duration::MAX), None, "once a day");
}

#[test]
fn what_a_killed_write_left_behind_goes_with_the_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let key = keep(&cache, folder.path(), b"content");
    let dir = cache.dir().join(VERSION);
    for left in ["blobs/aa/.tmp-1", "blobs/stray", "actions/z/.tmp-2", "paths/z/bb/.tmp-3"] {
        let left = dir.join(left);
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::write(left, "half").unwrap();
    }
    cache.collect(u64::MAX, Duration::MAX).unwrap();
    assert!(cache.find(key).is_some());
    let left: Vec<_> = cache.shared.blobs.list();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!dir.join("actions/z").exists() && !dir.join("paths/z").exists());
}
