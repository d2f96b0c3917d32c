//! The promises under faults where tasks run in git worktrees: conductor killed while it makes worktrees, commits,
//! moves branches and integrates. After each kill the next plain build ends right, the one after it runs nothing,
//! what is the user's is as it was, and git finds nothing left over.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::ground::Ground;
use crate::seeds;

const TASKS: usize = 12;

/// Twelve tasks that need nobody, editors of a shared file, one result that stays on its branch, and one that needs all.
fn manifest() -> String {
    let mut text = "conductor: 1\ndefaults: { isolation: worktree }\ntasks:\n".to_owned();
    let mut needs = Vec::new();
    for task in 1..=TASKS {
        let _ = writeln!(
            text,
            "  T{task}: {{ inputs: [in.txt, 'src/**'], outputs: [out/{task}/], run: 'for n in 1 2 3; do cat in.txt src/* > out/{task}/$n; done; git status --porcelain > out/{task}/status' }}"
        );
        needs.push(format!("T{task}"));
    }
    text +=
        "  first: { inputs: [in.txt], edits: [shared.txt], outputs: [], run: 'cat in.txt >> shared.txt' }\n";
    text += "  second: { needs: [first], inputs: [], edits: [shared.txt], outputs: [second.txt], run: 'echo second >> shared.txt; cp shared.txt second.txt' }\n";
    text +=
        "  stays: { inputs: [in.txt], integrate: branch, outputs: [stays.txt], run: cp in.txt stays.txt }\n";
    let _ = writeln!(
        text,
        "  last: {{ needs: [{}, stays], inputs: [], outputs: [last.txt], run: 'cat stays.txt out/*/2 > last.txt' }}",
        needs.join(", ")
    );
    text
}

fn git(ground: &Ground, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(ground.root())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A repository in the middle of a person's work.
fn repository() -> Ground {
    let files = [
        ("src/a", "a\n"),
        ("src/b", "b\n"),
        ("shared.txt", "base\n"),
        ("tracked.txt", "t\n"),
        ("in.txt", "0\n"),
    ];
    let ground = Ground::with(&manifest(), &files);
    ground.write(".gitignore", "*.tmp\n/out/\n/last.txt\n/second.txt\n");
    git(&ground, &["init", "-q"]);
    git(&ground, &["add", "-A"]);
    git(&ground, &["commit", "-qm", "first"]);
    ground.write("tracked.txt", "stashed\n");
    git(&ground, &["stash", "-q"]);
    ground.write("tracked.txt", "staged\n");
    git(&ground, &["add", "tracked.txt"]);
    ground.write("tracked.txt", "changed\n");
    ground.write("untracked.txt", "u\n");
    ground.write("ignored.tmp", "i\n");
    ground
}

/// Files below `folder`, with what they hold.
fn files(folder: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, found);
        } else {
            found.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
}

/// What is the user's: git's folder without objects and conductor's branches, and files that nobody declares.
fn users(ground: &Ground) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    files(&ground.path(".git"), &mut found);
    let own = ["objects", "refs/heads/conductor", "logs/refs/heads/conductor"];
    found.retain(|(path, _)| !own.iter().any(|own| path.starts_with(ground.path(".git").join(own))));
    for file in ["tracked.txt", "untracked.txt", "ignored.tmp", "src/a", "src/b", ".gitignore"] {
        found.push((ground.path(file), fs::read(ground.path(file)).unwrap()));
    }
    found.sort();
    found
}

fn assert_same(before: &[(PathBuf, Vec<u8>)], now: &[(PathBuf, Vec<u8>)], when: &str) {
    let names = |part: &[(PathBuf, Vec<u8>)]| part.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(before), names(now), "files of the user's or of git's {when}");
    for (before, now) in before.iter().zip(now) {
        assert!(before == now, "{} changed {when}", before.0.display());
    }
}

/// The tree and the branches hold what the tasks make of `input`.
fn assert_right(ground: &Ground, input: &str, when: &str) {
    let each = format!("{input}a\nb\n");
    for task in 1..=TASKS {
        assert_eq!(ground.read(&format!("out/{task}/3")), each, "T{task} {when}");
        assert_eq!(ground.read(&format!("out/{task}/status")), "?? out/\n", "T{task} {when}");
        let on_branch = git(ground, &["show", &format!("conductor/T{task}:out/{task}/1")]);
        assert_eq!(on_branch, each.trim_end(), "the branch of T{task} {when}");
        let differs = git(ground, &["diff", "--name-only", "HEAD", &format!("conductor/T{task}")]);
        assert_eq!(differs.lines().count(), 4, "the branch of T{task} {when}: {differs}");
    }
    let shared = format!("base\n{input}second\n");
    assert_eq!(ground.read("shared.txt"), shared, "{when}");
    assert_eq!(ground.read("second.txt"), shared, "{when}");
    assert_eq!(git(ground, &["show", "conductor/second:shared.txt"]), shared.trim_end(), "{when}");
    assert_eq!(git(ground, &["show", "conductor/stays:stays.txt"]), input.trim_end(), "{when}");
    assert_eq!(ground.read("last.txt"), input.to_owned() + &each.repeat(TASKS), "{when}");
    assert!(!ground.path("stays.txt").exists(), "{when}");
}

fn assert_nothing_left(ground: &Ground, when: &str) {
    let trees = git(ground, &["worktree", "list"]);
    assert_eq!(trees.lines().count(), 1, "worktrees {when}: {trees}");
    let branches = git(ground, &["for-each-ref", "--format=%(refname)", "refs/"]);
    assert_eq!(branches.lines().count(), TASKS + 4 + 2, "references {when}: {branches}");
    for gone in [
        ".git/worktrees",
        ".git/conductor",
        ".conductor/workspaces",
        ".conductor/aside",
        ".conductor/conflicts",
    ] {
        let left = ground.path(gone);
        assert!(fs::read_dir(&left).map_or(0, Iterator::count) == 0, "{gone} is left {when}");
    }
    let mut found = Vec::new();
    files(&ground.path(".git"), &mut found);
    let locks: Vec<&PathBuf> = found
        .iter()
        .map(|(path, _)| path)
        .filter(|path| path.extension().is_some_and(|end| end == "lock"))
        .collect();
    assert!(locks.is_empty(), "locks {when}: {locks:?}");
    let objects = git(ground, &["count-objects", "-v"]);
    assert!(objects.contains("\ngarbage: 0\n"), "half-written objects {when}: {objects}");
    git(ground, &["fsck", "--no-progress", "--no-dangling", "--strict"]);
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

#[test]
fn worktrees_heal_after_kill_9_at_any_moment_and_the_users_part_of_git_stays_as_it_was() {
    let ground = repository();
    let mut random = seeds::dice("kills_of_worktrees", 11);
    let mut longest = 1500;
    let before = users(&ground);
    for round in seeds::kills("kills_of_worktrees", 12) {
        let input = format!("round {round}\n");
        ground.write("in.txt", &input);
        let mut build = ground.start(&["-j12"]);
        std::thread::sleep(Duration::from_millis(next(&mut random) % longest));
        build.kill().unwrap();
        build.wait().unwrap();
        // Sometimes several crashes in a row, the last of them perhaps during recovery.
        if round % 3 == 0 {
            let when = format!("after kill {round}");
            let began = std::time::Instant::now();
            ground.heals(&when);
            // As long as two builds take, so that most kills hit one.
            longest = u64::try_from(began.elapsed().as_millis()).unwrap_or(1500).clamp(200, 3000);
            assert_same(&before, &users(&ground), &when);
            assert_right(&ground, &input, &when);
            assert_nothing_left(&ground, &when);
        }
    }
}

#[test]
fn a_kept_worktree_survives_a_crash_and_what_the_crash_left_does_not() {
    let ground = Ground::with(
        "conductor: 1
defaults: { isolation: worktree }
tasks:
  fails: { inputs: [in.txt], outputs: [a], run: grep -q good in.txt; touch a }
  waits: { inputs: [], outputs: [b], run: 'touch b; [ -e ../../../never ] || sleep 100' }
",
        &[("in.txt", "bad\n")],
    );
    git(&ground, &["init", "-q"]);
    git(&ground, &["add", "-A"]);
    git(&ground, &["commit", "-qm", "first"]);
    assert_eq!(ground.run(&["build", "fails"]).code, Some(1));
    let mut build = ground.start(&["waits"]);
    let place = ground.path(".conductor/workspaces/waits/b");
    let began = std::time::Instant::now();
    while !place.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the task never started");
        std::thread::sleep(Duration::from_millis(5));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    assert_eq!(git(&ground, &["worktree", "list"]).lines().count(), 3);
    ground.write(
        "conductor.yaml",
        fs::read_to_string(ground.path("conductor.yaml"))
            .unwrap()
            .replace("[ -e ../../../never ] || sleep 100", "touch b"),
    );
    assert_eq!(ground.run(&["build", "waits"]).code, Some(0));
    let left = git(&ground, &["worktree", "list"]);
    assert!(left.contains("workspaces/fails") && left.lines().count() == 2, "{left}");
    ground.write("in.txt", "good\n");
    ground.heals("after the repair");
    assert_eq!(git(&ground, &["worktree", "list"]).lines().count(), 1);
}
