//! What is brought into the tree or put back comes whole or not at all: whatever is killed, however full the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ground::{Built, Ground, Ran, conductor, tree};
use crate::seeds;

/// Files of each result.
const FILES: usize = 40;

/// Outputs, an output folder and edits, all in sandboxes: every file says which round it is of.
const APART: &str = "conductor: 1
defaults: { isolation: sandbox }
tasks:
  one:
    inputs: [round]
    outputs: [made/, single.txt]
    run: for n in $(seq 40); do cat round > made/$n; done; cp round single.txt
  edit:
    needs: [one]
    inputs: [round]
    edits: [src/*]
    run: for n in 1 2 3 4; do cat round >> src/$n; done; cp round src/new; rm -f src/old
  last:
    needs: [edit]
    inputs: [single.txt, src/1]
    outputs: [last.txt]
    run: cat single.txt src/1 > last.txt
";

fn apart() -> Ground {
    let ground =
        Ground::with(APART, &[("round", "0\n"), ("made/mine", "a person's\n"), ("src/old", "old\n")]);
    for n in 1..=4 {
        ground.write(&format!("src/{n}"), "base\n");
    }
    ground
}

fn assert_right(ground: &Ground, when: &str) {
    let round = ground.read("round");
    for n in 1..=FILES {
        assert_eq!(ground.read(&format!("made/{n}")), round, "made/{n} {when}");
    }
    assert_eq!(ground.read("made/mine"), "a person's\n", "{when}");
    for n in 1..=4 {
        assert_eq!(ground.read(&format!("src/{n}")), format!("base\n{round}"), "src/{n} {when}");
    }
    assert_eq!(ground.read("src/new"), round, "{when}");
    assert!(!ground.path("src/old").exists(), "{when}");
    assert_eq!(ground.read("last.txt"), format!("{round}base\n{round}"), "{when}");
}

fn assert_nothing_left(ground: &Ground, when: &str) {
    for folder in [".conductor/aside", ".conductor/workspaces", ".conductor/pending"] {
        let left: Vec<PathBuf> =
            fs::read_dir(ground.path(folder)).into_iter().flatten().flatten().map(|e| e.path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{when}");
    }
    let strange = tree(ground.root()).into_keys().find(|name| name.contains("tmp-"));
    assert_eq!(strange, None, "temporary files {when}");
    let conflicts = fs::read_dir(ground.path(".conductor/conflicts")).map_or(0, Iterator::count);
    assert_eq!(conflicts, 0, "nobody but conductor wrote: {when}");
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn spawn(root: &Path, args: &[&str]) -> Child {
    conductor(root).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Starts conductor and kills it after some time of its life.
fn kill_in(random: &mut Random, root: &Path, args: &[&str], limit: u64) {
    let mut child = spawn(root, args);
    std::thread::sleep(Duration::from_millis(random.below(limit)));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn builds_apart_heal_themselves_after_kill_9_at_any_moment() {
    let ground = apart();
    let mut random = Random(seeds::dice("kills_apart", 11));
    for round in seeds::kills("kills_apart", 30) {
        ground.write("round", format!("{round}\n"));
        kill_in(&mut random, ground.root(), &["build", "-j2"], 400);
        if round % 3 == 0 {
            let when = format!("after kill {round}");
            ground.heals(&when);
            assert_right(&ground, &when);
            assert_nothing_left(&ground, &when);
        }
    }
}

/// `task` makes a folder, a file and edits, of which a person approves; `other` is there to be built.
const ONE: &str = "conductor: 1
tasks:
  task:
    isolation: sandbox
    approve: true
    inputs: [round]
    outputs: [made/, single.txt]
    edits: [src/*]
    run: for n in $(seq 40); do cat round > made/$n; done; cp round single.txt; for n in 1 2 3 4; do cp round src/$n; done
  other: { inputs: [], outputs: [other.txt], run: touch other.txt }
";

fn one() -> Ground {
    let ground = Ground::with(ONE, &[("round", "0\n")]);
    for n in 1..=4 {
        ground.write(&format!("src/{n}"), "base\n");
    }
    ground
}

/// Which rounds the files of the result are of: one, if it is whole.
fn rounds(ground: &Ground) -> Vec<String> {
    let files = (1..=FILES).map(|n| format!("made/{n}")).chain(["single.txt".to_owned()]);
    let files = files.chain((1..=4).map(|n| format!("src/{n}")));
    let mut rounds: Vec<String> = files
        .map(|file| fs::read_to_string(ground.path(&file)).unwrap_or_else(|_| "nothing\n".to_owned()))
        .collect();
    rounds.sort();
    rounds.dedup();
    rounds
}

#[track_caller]
fn expect(ground: &Ground, args: &[&str], code: i32, when: &str) -> Ran {
    let ran = ground.run(args);
    ran.assert_no_panic();
    assert_eq!(ran.code, Some(code), "{args:?} {when}: {}", ran.text());
    ran
}

#[test]
fn a_killed_approval_brings_in_all_or_nothing() {
    let ground = one();
    expect(&ground, &["build"], 5, "at first");
    expect(&ground, &["approve", "task"], 0, "at first");
    let mut random = Random(seeds::dice("kills_of_approvals", 5));
    let (mut before, mut after) = (0, 0);
    for round in seeds::kills("kills_of_approvals", 24) {
        ground.write("round", format!("{round}\n"));
        expect(&ground, &["build"], 5, "with a new round");
        let old = vec![format!("{}\n", round - 1)];
        assert_eq!(rounds(&ground), old, "nothing is in the tree before it is approved");
        kill_in(&mut random, ground.root(), &["approve", "task"], 120);
        let built = ground.run(&["build"]);
        built.assert_no_panic();
        match built.code {
            Some(5) => {
                before += 1;
                assert_eq!(rounds(&ground), old, "{}", built.text());
                expect(&ground, &["approve", "task"], 0, "after a kill");
            }
            Some(0) => after += 1,
            _ => panic!("after kill {round}: {}", built.text()),
        }
        assert_eq!(rounds(&ground), [format!("{round}\n")]);
        expect(&ground, &["build"], 0, "after the approval");
        assert_nothing_left(&ground, &format!("after kill {round}"));
    }
    eprintln!("killed before the record {before} times, after it {after} times");
}

#[test]
fn a_killed_rollback_puts_back_all_or_nothing() {
    let ground = one();
    ground.write("conductor.yaml", ONE.replace("    approve: true\n", ""));
    ground.heals("at first");
    let mut random = Random(seeds::dice("kills_of_rollbacks", 3));
    let mut standing = "0\n".to_owned();
    for round in seeds::kills("kills_of_rollbacks", 24) {
        let new = format!("{round}\n");
        ground.write("round", &new);
        ground.heals("with a new round");
        assert_eq!(rounds(&ground), std::slice::from_ref(&new));
        kill_in(&mut random, ground.root(), &["rollback", "task"], 120);
        // Any build recovers.
        expect(&ground, &["build", "other"], 0, "after a kill");
        let checked = ground.run(&["check", "task"]);
        let back = vec![standing.clone(), "base\n".to_owned()];
        let expected = if checked.code == Some(0) { vec![new.clone()] } else { back.clone() };
        assert_eq!(rounds(&ground), expected, "after kill {round}: {}", checked.text());
        if checked.code == Some(0) {
            expect(&ground, &["rollback", "task"], 0, "the bytes are still there");
            assert_eq!(rounds(&ground), back, "after kill {round}");
        }
        ground.heals("after a rollback");
        assert_eq!(rounds(&ground), std::slice::from_ref(&new));
        assert_nothing_left(&ground, &format!("after kill {round}"));
        standing = new;
    }
}

/// Unmounts when the test ends, however it ends.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn builds_apart_and_rollbacks_heal_themselves_after_a_full_disk() {
    let ground = Ground::new();
    let disk = ground.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&disk).status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!(
            "SKIPPED: builds_apart_and_rollbacks_heal_themselves_after_a_full_disk: no tmpfs can be mounted here"
        );
        return;
    }
    let _within = Unmount(disk.clone());
    let file = |path: &str, content: &str| {
        let path = disk.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    file("conductor.yaml", &ONE.replace("    approve: true\n", ""));
    for n in 1..=4 {
        file(&format!("src/{n}"), "base\n");
    }
    let run = |args: &[&str]| {
        let ran = Ran::from_output(&conductor(&disk).args(args).output().unwrap());
        ran.assert_no_panic();
        ran
    };
    // Longer than a page, so that each file takes room.
    let content = |round: usize| format!("{round}\n").repeat(3000);
    let state = || -> Vec<usize> {
        let files = (1..=FILES).map(|n| format!("made/{n}")).chain(["single.txt".to_owned()]);
        let files = files.chain((1..=4).map(|n| format!("src/{n}")));
        let mut found: Vec<usize> =
            files.map(|name| fs::read_to_string(disk.join(name)).unwrap_or_default().len()).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let fill = |spare: u64| {
        let ballast = disk.join("ballast");
        let _ = fs::write(&ballast, vec![0_u8; 4 << 20]);
        let taken = fs::metadata(&ballast).map_or(0, |metadata| metadata.len());
        let file = fs::File::options().write(true).open(&ballast).unwrap();
        file.set_len(taken.saturating_sub(spare << 10)).unwrap();
    };
    file("round", &content(0));
    assert_eq!(run(&["build"]).code, Some(0));
    for (round, spare) in [0, 8, 40, 120, 200, 260, 330, 420, 600].into_iter().enumerate() {
        // One digit more than before: whose files these are is seen by their length.
        file("round", &"x".repeat(7000 + 10 * round));
        let before = state();
        fill(spare);
        let full = run(&["build", "--format", "json"]);
        let between = state();
        fs::remove_file(disk.join("ballast")).unwrap();
        let healed = run(&["build"]);
        assert_eq!(healed.code, Some(0), "{spare} KiB: {} after {}", healed.text(), full.text());
        assert_eq!(state(), [7000 + 10 * round], "{spare} KiB: before {before:?}, between {between:?}");
        let again = Built::new(run(&["build", "--format", "json"]));
        assert_eq!(again.ran(), Vec::<String>::new(), "{spare} KiB: {}", again.ran.text());
        fill(spare / 2);
        let back = run(&["rollback", "task"]);
        fs::remove_file(disk.join("ballast")).unwrap();
        assert_eq!(run(&["build", "other"]).code, Some(0));
        let whole = state();
        assert_eq!(whole.len(), 1, "{spare} KiB: all or nothing, after {}", back.text());
        assert_eq!(back.code == Some(0), whole != [7000 + 10 * round], "{}", back.text());
        let healed = run(&["build"]);
        assert_eq!(healed.code, Some(0), "{}", healed.text());
        assert_eq!(state(), [7000 + 10 * round], "{spare} KiB");
    }
}
