//! Who may read and write the cache, and whose results count.

use super::{Restored as _, chain, checkout, files, world};
use crate::support::World;

const ONE: &str = "tasks: { A: { inputs: [a], outputs: [o], run: cp a o } }\n";

/// As the last build of the day finds it.
fn gone(w: &World) -> &World {
    w.remove("o")
}

#[test]
fn the_variable_says_at_most_how_the_cache_is_used() {
    let w = world(ONE);
    w.file("a", "1").build(&[]).success();
    let w = w.env("CONDUCTOR_CACHE", "off");
    gone(&w).build(&[]).success().ran(&["A"]);
    let w = w.env("CONDUCTOR_CACHE", "ro");
    gone(&w).build(&[]).success().restored(&["A"]);
    w.file("a", "2").build(&[]).success().ran(&["A"]);
    gone(&w).build(&[]).success().ran(&["A"]);
    let w = w.env("CONDUCTOR_CACHE", "perhaps");
    w.run(&["build", "--force"]).success().says("CONDUCTOR_CACHE is `perhaps`");
}

#[test]
fn the_manifest_says_how_it_is_used() {
    let w = world(&format!("cache: {{ write: off }}\n{ONE}"));
    w.file("a", "1").build(&[]).success();
    assert_eq!(files(&w, "actions").len(), 0);
    w.manifest(&format!("cache: {{ read: off }}\n{ONE}"));
    w.build(&["--force"]).success();
    assert_eq!(files(&w, "actions").len(), 1);
    gone(&w).build(&[]).success().ran(&["A"]);
    w.manifest(ONE);
    gone(&w).build(&[]).success().restored(&["A"]);
    w.manifest(&format!("cache: {{ read: everything }}\n{ONE}"));
    w.build(&[]).fails_with(2);
}

#[test]
fn the_folder_is_the_variables_then_the_manifests() {
    let w = world(&format!("cache: {{ dir: kept/here }}\n{ONE}"));
    w.file("a", "1").build(&[]).success();
    assert!(w.has("kept/here/v2/actions") && !w.has(".conductor/cache"));
    let w = w.env("CONDUCTOR_CACHE_DIR", "other");
    gone(&w).build(&[]).success().ran(&["A"]);
    assert!(w.has("other/v2/actions"));
}

#[test]
fn a_pull_request_that_may_come_from_a_fork_reads_and_writes_nothing() {
    let w = world(ONE);
    w.file("a", "1").build(&[]).success();
    let w = w.env("GITHUB_EVENT_NAME", "pull_request");
    gone(&w).build(&[]).success().restored(&["A"]);
    w.file("a", "2").build(&[]).success().ran(&["A"]);
    assert_eq!(files(&w, "actions").len(), 1);
    w.run(&["cache", "stat"]).success().says("read only: GitHub says");
    w.manifest(&format!("cache: {{ write: all }}\n{ONE}"));
    w.file("a", "3").build(&[]).success().ran(&["A"]);
    assert_eq!(files(&w, "actions").len(), 2);
}

/// The public key of a secret one, as `cache stat` tells it.
fn public(w: &World) -> String {
    let stat = w.run(&["cache", "stat", "--format", "json"]);
    stat.success().json()["signs_as"].as_str().unwrap().to_owned()
}

#[test]
fn where_signatures_count_unsigned_and_wrongly_signed_results_are_misses_with_a_warning() {
    let secret = |byte: &str| byte.repeat(32);
    let ci = world(ONE).env("CONDUCTOR_CACHE_KEY", &secret("01"));
    let key = public(&ci);
    ci.file("a", "signed").build(&[]).success();
    let anyone = checkout(&ci);
    anyone.file("a", "unsigned").build(&[]).success();
    let stranger = checkout(&ci).env("CONDUCTOR_CACHE_KEY", &secret("02"));
    stranger.file("a", "by a stranger").build(&[]).success();
    let reader = checkout(&ci).env("CONDUCTOR_CACHE_TRUST", &key).env("CONDUCTOR_CACHE", "ro");
    reader.file("a", "signed").build(&[]).success().restored(&["A"]);
    for (content, why) in
        [("unsigned", "it is not signed"), ("by a stranger", "by a key that is not trusted")]
    {
        reader.file("a", content);
        reader.run(&["build"]).success().says(why);
        assert_eq!(reader.read("o"), content);
        reader.run(&["log", "A"]);
    }
    assert_eq!(files(&ci, "actions").len(), 3, "what others trust stays");
    reader.run(&["cache", "verify"]).success();
    // Who trusts anyone takes all of them, but nothing whose signature is wrong.
    anyone.file("a", "signed").build(&[]).success().restored(&["A"]);
    for file in files(&ci, "actions") {
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.len() - 3;
        bytes[at] ^= 1;
        // With a checksum that is right again: what a forger would write.
        let sum = blake3::hash(&bytes[32..]);
        bytes[16..32].copy_from_slice(&sum.as_bytes()[..16]);
        std::fs::write(&file, bytes).unwrap();
    }
    anyone.remove("o").file("a", "signed");
    let built = anyone.run(&["build"]);
    built.success().says("its signature is wrong");
    assert_eq!(anyone.read("o"), "signed");
}

#[test]
fn keys_come_from_files_too_and_a_wrong_one_turns_the_cache_off() {
    let w = world(ONE);
    w.file("key", format!("{}\n", "03".repeat(32))).file("a", "1");
    let w = w.env("CONDUCTOR_CACHE_KEY_FILE", "key");
    let key = public(&w);
    w.file("trusted", format!("# of CI\n{key} # since May\n"));
    let w = w.env("CONDUCTOR_CACHE_TRUST_FILE", "trusted");
    w.build(&[]).success();
    gone(&w).build(&[]).success().restored(&["A"]);
    w.file("trusted", "nonsense\n");
    gone(&w).run(&["build"]).success().says("the cache is off").never_says("restored");
    let w = w.env("CONDUCTOR_CACHE_TRUST_FILE", "missing");
    w.run(&["build", "--force"]).success().says("CONDUCTOR_CACHE_TRUST_FILE names");
}

#[test]
fn nothing_unsigned_counts_where_the_manifest_says_so() {
    let w = world(ONE);
    w.file("a", "1").build(&[]).success();
    w.manifest(&format!("cache: {{ read: signed }}\n{ONE}"));
    gone(&w).build(&[]).success().ran(&["A"]);
    let w = w.env("CONDUCTOR_CACHE_KEY", &"04".repeat(32));
    gone(&w).build(&[]).success().ran(&["A"]);
    gone(&w).build(&[]).success().restored(&["A"]);
}

/// Puts an entry into the cache of `w` that claims to be the result of its task `A`, which made `o`.
fn forge(w: &World, change: impl FnOnce(&mut conductor::store::CacheEntry)) {
    use conductor::model::{ActionKey, Entry, EntryKind, OutputEntry, WorkspacePath};
    use conductor::store::{Cache, CacheEntry, CacheOptions, CachedFile, Draft, Maker, Source};
    let key = w.why("A").json()["recorded"]["key"].as_str().unwrap().parse().unwrap();
    let from = w.root().with_file_name("evil");
    std::fs::write(&from, "evil").unwrap();
    let digest = conductor::model::Digest::of(b"evil");
    let entry = Entry { kind: EntryKind::File, executable: false, digest };
    let output = OutputEntry { path: WorkspacePath::new("o").unwrap(), entry };
    let mut forged = CacheEntry {
        key: ActionKey(key),
        validation_key: digest,
        outputs: vec![CachedFile { output, mode: 0o644, size: 4 }],
        edited: Vec::new(),
        evidence: Vec::new(),
        duration: std::time::Duration::ZERO,
        agent: None,
        approval: None,
        beside: Vec::new(),
        by: Maker::default(),
        bound_to: None,
    };
    change(&mut forged);
    let source = |entry: Entry| Source { entry, from: from.clone(), as_made: false };
    let outputs = forged.outputs.iter().map(|file| source(file.output.entry)).collect();
    let edits = forged.edited.iter().map(|edit| source(edit.after)).collect();
    let cache = Cache::open(CacheOptions {
        dir: w.path(".conductor/cache"),
        read: true,
        write: true,
        ..CacheOptions::default()
    });
    cache.keep(Draft { entry: forged, outputs, edits, beside: Vec::new(), discovered: None });
    assert_eq!(cache.settle(), []);
}

/// What is changed of an honest entry.
type Forgery<'a> = (&'a str, Box<dyn Fn(&mut conductor::store::CacheEntry) + 'a>);

#[test]
fn an_entry_that_a_stranger_made_up_writes_nothing_that_the_task_does_not_declare() {
    use conductor::model::{Entry, EntryKind, WorkspacePath};
    use conductor::store::{CacheEntry, CachedEdit};
    let path = |text: &str| WorkspacePath::new(text).unwrap();
    let other = |entry: &mut CacheEntry, name: &str| {
        let mut file = entry.outputs[0].clone();
        file.output.path = path(name);
        entry.outputs.push(file);
        entry.outputs.sort_by(|a, b| a.output.path.cmp(&b.output.path));
    };
    let forgeries: [Forgery<'_>; 7] = [
        ("another file", Box::new(|entry| other(entry, "a"))),
        ("a new file", Box::new(|entry| other(entry, "z/deep"))),
        ("something below the output", Box::new(|entry| other(entry, "o/below"))),
        ("git's hooks", Box::new(|entry| other(entry, ".git/hooks/post-checkout"))),
        ("no output at all", Box::new(|entry| entry.outputs.clear())),
        (
            "another file in the place of the output",
            Box::new(|entry| entry.outputs[0].output.path = path("a")),
        ),
        (
            "an edit",
            Box::new(|entry| {
                let after = entry.outputs[0].output.entry;
                let before = Entry {
                    kind: EntryKind::Absent,
                    executable: false,
                    digest: conductor::model::Digest::of(b""),
                };
                entry.edited.push(CachedEdit { path: path("a"), before, after, size: 4 });
            }),
        ),
    ];
    let w = world(ONE);
    w.file("a", "1").build(&[]).success();
    for (what, forgery) in &forgeries {
        forge(&w, forgery);
        w.remove("o");
        let before = w.tree().files();
        w.run(&["build"]).success().never_says("restored from the cache");
        assert_eq!((w.read("a"), w.read("o")), ("1".to_owned(), "1".to_owned()), "{what}");
        let after = w.tree().files();
        let came: Vec<_> =
            after.iter().filter(|file| !before.contains(file) && !file.starts_with(".conductor/")).collect();
        assert_eq!(came, ["o"], "{what}");
    }
    // What it could have made is another matter: there only a signature helps.
    forge(&w, |_| {});
    w.remove("o").build(&[]).success().restored(&["A"]);
    assert_eq!(w.read("o"), "evil");
}

#[test]
fn an_entry_under_another_key_is_no_answer() {
    let w = chain();
    let [first, second] = &files(&w, "actions")[..] else { panic!("two entries") };
    std::fs::copy(first, second).unwrap();
    w.remove("out").remove("b");
    let built = w.build(&[]);
    built.success();
    assert_eq!((w.read("out/a"), w.read("b")), ("ONE\n".to_owned(), "ONE\nONE\n".to_owned()));
}
