//! kill -9 at any moment: whatever was under way, the next run finds its way, and nothing of a person is lost.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::*;

/// Tells the child of these tests the working tree in which it is to work until it is killed.
const WORK: &str = "CONDUCTOR_TEST_KILLED_IN";

/// This program again, running only `child_of_these_tests`. It is about to begin when this returns.
fn start(ground: &Ground, work: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "worktree::tests::faults::child_of_these_tests"]);
    command.env(WORK, work).current_dir(&ground.top).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut ready = [0];
    child.stderr.as_mut().unwrap().read_exact(&mut ready).unwrap();
    child
}

/// Not a test by itself: what the others start and kill. By itself it does nothing.
#[test]
fn child_of_these_tests() {
    let Ok(work) = std::env::var(WORK) else { return };
    let top = std::env::current_dir().unwrap();
    let repository = Repository::open(&top).unwrap().unwrap().knowing(|_| true);
    std::io::stderr().write_all(b".").unwrap();
    if work == "merge" {
        repository.merge(&[branch_name("T1")], &str::to_owned).unwrap();
    } else {
        build(&repository, &top);
    }
}

/// What a run does for a task.
fn build(repository: &Repository, top: &Path) {
    let place = top.join(".conductor/workspaces/T1");
    let linked = repository.create("T1", &place).unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("d{}/{number}", number % 3)).collect();
    for name in &names {
        fill(&place, &[(name, name)]);
    }
    let files: Vec<WorkspacePath> = names.iter().map(path).collect();
    linked.snapshot(&files).unwrap();
    let content = |name: &String| Content::File { from: place.join(name), executable: false, expected: None };
    let entries: Vec<_> = names.iter().map(|name| (path(name), content(name))).collect();
    let old = repository.branch_tip("conductor/T1").unwrap();
    let run = std::process::id().to_string();
    let trailers = Trailers { run, ..trailers("T1") };
    let commit = Commit { entries: &entries, needs: &[], title: "T1", trailers: &trailers };
    let commit = repository.commit(&commit).unwrap();
    repository.set_branch("conductor/T1", old.as_deref(), Some(&commit)).unwrap();
    linked.remove().unwrap();
    repository.delete_branch("conductor/T1").unwrap();
}

/// Kills a child at a moment that differs from round to round; that it is a different one matters, not which.
fn kill_in_its_middle(ground: &Ground, work: &str, round: u64) {
    let mut child = start(ground, work);
    std::thread::sleep(Duration::from_micros(round * 1_200));
    child.kill().unwrap();
    println!("round {round}: {}", child.wait().unwrap());
}

#[test]
fn a_run_that_is_killed_leaves_nothing_that_the_next_one_does_not_clear() {
    let ground = Ground::new();
    ground.file("mine", "uncommitted").file("a", "changed\n");
    let before = (ground.status(), ground.git(&["rev-parse", "HEAD"]));
    for round in 0..32 {
        kill_in_its_middle(&ground, "build", round);
        let repository = ground.repository().knowing(|_| true);
        repository.recover(&ground.workspaces()).unwrap();
        ground.check_nothing_left();
        assert!(!ground.top.join(".git/refs/heads/conductor/T1.lock").exists());
        build(&repository, &ground.top);
        ground.check_nothing_left();
        assert_eq!((ground.status(), ground.git(&["rev-parse", "HEAD"])), before);
        assert_eq!(ground.git(&["branch", "--format=%(refname:short)"]), "main");
    }
}

#[test]
fn a_merge_that_is_killed_is_completed_or_has_not_begun() {
    let ground = Ground::new();
    for number in 0..30 {
        ground.file(format!("f/{number}"), "old\n");
    }
    let old = ground.commit("many");
    let edited =
        (0..20).map(|number| (path(format!("f/{number}")), ground.made(&format!("{number}"), "new\n")));
    let removed = (20..25).map(|number| (path(format!("f/{number}")), Content::Absent));
    let new =
        (30..40).map(|number| (path(format!("g/{number}")), ground.made(&format!("{number}"), "new\n")));
    ground.task("T1", &edited.chain(removed).chain(new).collect::<Vec<_>>(), &[]);
    let tree = ground.git(&["rev-parse", "conductor/T1^{tree}"]);
    for round in 0..32 {
        ground.file("mine", "uncommitted").file("a", "changed\n");
        kill_in_its_middle(&ground, "merge", round);
        ground.merge(&["T1"]).unwrap();
        assert_eq!(ground.git(&["rev-parse", "HEAD^{tree}"]), tree);
        assert_eq!(ground.status(), " M a\n?? mine");
        assert!(!ground.top.join(".git/conductor").exists() && !ground.top.join(".git/MERGE_HEAD").exists());
        ground.check_sound();
        ground.git(&["reset", "-q", "--hard", &old]);
    }
}
