//! Files of others below `.conductor/` stay, whatever conductor removes of its own, and are named once.

use crate::support::{Tree, World};

const MANIFEST: &str = "
tasks:
  T1: { isolation: sandbox, inputs: [in], outputs: [out], run: cp in out }
  P: { approve: true, inputs: [in], outputs: [p], run: cp in p }
  F: { isolation: sandbox, inputs: [], outputs: [f], run: 'touch half; exit 1' }
  W: { isolation: worktree, inputs: [], outputs: [w], run: 'touch w; exit 1' }
";

/// A repository in which other tools keep worktrees, locked and not, and a person keeps notes.
fn shared() -> (World, Vec<&'static str>) {
    let w = World::new(MANIFEST);
    w.file("in", "one").git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-q", "-m", "first"]);
    w.git(&["worktree", "add", "-q", "-b", "duck", ".conductor/workspaces/duck"]);
    w.git(&["worktree", "add", "-q", "--lock", "-b", "goose", ".conductor/workspaces/goose"]);
    w.git(&["worktree", "add", "-q", "-b", "swan", ".conductor/swan"]);
    let files = [
        ".conductor/workspaces/duck/new",
        ".conductor/workspaces/goose/new",
        ".conductor/swan/new",
        ".conductor/workspaces/notes/plan.txt",
        ".conductor/workspaces/list.txt",
        ".conductor/notes.txt",
    ];
    for file in files {
        w.file(file, "hours of work");
    }
    w.folder(".conductor/workspaces/empty");
    (w, files.to_vec())
}

#[track_caller]
fn all_there(w: &World, files: &[&str], after: &str) {
    for file in files {
        assert!(w.has(file) && w.read(file) == "hours of work", "{file} after {after}");
    }
    assert!(w.has(".conductor/workspaces/empty"), "after {after}");
    for place in ["workspaces/duck", "workspaces/goose", "swan"] {
        let place = format!(".conductor/{place}");
        assert_eq!(w.git_says(&["-C", &place, "status", "--porcelain"]), "?? new", "{place} after {after}");
    }
}

#[test]
fn worktrees_and_folders_of_others_survive_every_command() {
    let (w, files) = shared();
    let steps: [(&[&str], i32); 11] = [
        (&["build", "T1"], 0),
        (&["build", "-k"], 1),
        (&["approve", "P"], 0),
        (&["rollback", "P"], 0),
        (&["build", "-k", "--force"], 1),
        (&["check"], 3),
        (&["clean", "--dry-run"], 0),
        (&["clean", "T1", "F"], 0),
        (&["build", "-k"], 1),
        (&["clean", "--branches"], 0),
        (&["clean"], 0),
    ];
    for (args, code) in steps {
        w.run(args).fails_with(code);
        all_there(&w, &files, &args.join(" "));
    }
    assert!(!w.has(".conductor/workspaces/F") && !w.has(".conductor/workspaces/W"));
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 4);
}

#[test]
fn what_is_not_conductors_is_named_once_by_builds_and_by_each_clean() {
    let (w, _) = shared();
    let strangers = ["duck", "goose", "notes", "list.txt", "empty"];
    let first = w.run(&["build", "T1", "--progress", "plain"]);
    for name in strangers {
        first.says(&format!(".conductor/workspaces/{name}"));
    }
    first.says("are not conductor's");
    w.run(&["build", "T1", "--progress", "plain"]).success().never_says("not conductor's");
    w.file(".conductor/workspaces/more/x", "x");
    let second = w.run(&["build", "T1", "--progress", "plain"]);
    second.success().says(".conductor/workspaces/more is not conductor's").never_says("duck");
    w.run(&["clean"]).success().says("workspaces/duck").says(".conductor/notes.txt").says(".conductor/swan");
}

#[test]
fn a_task_whose_place_is_taken_says_so_and_touches_nothing() {
    for isolation in ["sandbox", "worktree"] {
        let w = World::new(&format!(
            "tasks:\n  T1: {{ isolation: {isolation}, inputs: [in], outputs: [out], run: cp in out }}\n"
        ));
        w.file("in", "one").git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-q", "-m", "first"]);
        let place = ".conductor/workspaces/T1";
        let plain = || _ = w.file(format!("{place}/mine"), "mine");
        let empty = || _ = w.folder(place);
        let file = || _ = w.file(place, "mine");
        let link = || _ = w.folder("elsewhere").file("elsewhere/mine", "mine").link(place, "../../elsewhere");
        let repository = || _ = w.git(&["init", "-q", place]).file(format!("{place}/mine"), "mine");
        let worktree = || {
            w.git(&["worktree", "add", "-q", "--detach", "--lock", place])
                .file(format!("{place}/mine"), "mine");
        };
        let takers: [(&str, &dyn Fn()); 6] = [
            ("a folder", &plain),
            ("an empty folder", &empty),
            ("a file", &file),
            ("a link", &link),
            ("a repository", &repository),
            ("a worktree", &worktree),
        ];
        for (what, take) in takers {
            w.folder(".conductor/workspaces");
            take();
            let there = || w.path(place).symlink_metadata().unwrap().file_type();
            let (before, kind) = (Tree::of(&w.path(place)), there());
            let run = w.run(&["build", "--progress", "plain"]);
            run.fails_with(1).says(".conductor/workspaces/T1").says("move it elsewhere or remove it");
            w.run(&["clean", "T1"]).success();
            before.is_unchanged(&Tree::of(&w.path(place)), what);
            assert_eq!(there(), kind, "{what}");
            assert!(what != "a link" || w.read("elsewhere/mine") == "mine");
            w.remove(place);
            if what == "a worktree" {
                w.git(&["worktree", "unlock", place]).git(&["worktree", "prune"]);
            }
        }
    }
}

#[test]
fn a_killed_build_is_recovered_and_a_folder_that_took_its_place_stays() {
    let w = World::new(
        "tasks:\n  T1: { isolation: sandbox, inputs: [in], outputs: [out], run: 'touch started; [ -e ../../../never ] || sleep 100' }\n  T2: { inputs: [], outputs: [b], run: touch b }\n",
    );
    w.file("in", "one").file(".conductor/workspaces/notes/x", "mine");
    let build = w.start(&["T1"]);
    w.wait_for(".conductor/workspaces/T1/started");
    build.signal(rustix::process::Signal::KILL);
    build.wait();
    w.build(&["T2"]).success();
    assert!(!w.has(".conductor/workspaces/T1") && w.has(".conductor/workspaces/notes/x"));
    let build = w.start(&["T1"]);
    w.wait_for(".conductor/workspaces/T1/started");
    build.signal(rustix::process::Signal::KILL);
    build.wait();
    w.remove(".conductor/workspaces/T1").file(".conductor/workspaces/T1/mine", "mine");
    w.build(&["T2"]).success();
    assert_eq!(w.read(".conductor/workspaces/T1/mine"), "mine");
}

#[test]
fn a_workspace_below_the_private_folders_of_another_is_one_like_any() {
    let outer = World::new("tasks: {}\n");
    let inner = "tasks: { A: { inputs: [], outputs: [a], run: echo a > a } }\n";
    outer.file(".conductor/workspaces/clone/conductor.yaml", format!("conductor: 1\n{inner}"));
    let stat = outer.run_in(".conductor/workspaces/clone", &["cache", "stat"]);
    stat.success().never_says("inside a running task");
    outer.run_in(".conductor/workspaces/clone", &["build"]).success();
}
