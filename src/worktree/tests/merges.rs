//! Merging branches of tasks into HEAD.

use std::os::unix::fs::{MetadataExt, symlink};

use super::linked::{with_hooks, with_submodule};
use super::*;

impl Ground {
    pub(super) fn merge(&self, tasks: &[&str]) -> Result<Merge, Error> {
        let branches: Vec<String> = tasks.iter().map(|task| branch_name(task)).collect();
        self.repository().merge(&branches, &|name| format!("Merge {name}"))
    }

    #[track_caller]
    fn merges(&self, tasks: &[&str]) -> Merged {
        match self.merge(tasks).unwrap() {
            Merge::Done(merged) => {
                self.check_merged(&merged.commit);
                merged
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check_merged(&self, commit: &str) {
        self.check_sound();
        assert_eq!(self.git(&["rev-parse", "HEAD"]), commit);
        assert!(!self.top.join(".git/MERGE_HEAD").exists());
        assert!(!self.top.join(".git/conductor").exists());
        assert_eq!(self.git(&["diff", "--cached", "--name-only"]), "", "the index is at HEAD");
    }

    /// Everything that a merge could touch.
    fn state(&self) -> (String, String, Vec<u8>, String) {
        let status = self.git(&["status", "--porcelain", "--ignored", "-uall"]);
        let refs = self.git(&["for-each-ref"]);
        let index = fs::read(self.top.join(".git/index")).unwrap_or_default();
        let files = self.git(&["ls-files", "-s", "-o", "-c"]);
        (status, refs, index, files)
    }

    #[track_caller]
    fn refuses(&self, tasks: &[&str], in_the_way: &[&str]) {
        let before = self.state();
        match self.merge(tasks) {
            Err(Error::InTheWay { paths }) => {
                assert_eq!(paths, in_the_way.iter().map(PathBuf::from).collect::<Vec<_>>());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(self.state(), before);
        assert!(!self.top.join(".git/conductor").exists());
        self.check_sound();
    }
}

#[test]
fn merging_makes_merge_commits_and_updates_index_and_tree() {
    let ground = Ground::new();
    let first = ground.task_of("T1", &[("one/x", "1\n")]);
    let second =
        ground.task("T2", &[(path("d/e/c"), Content::Absent), (path("a"), ground.made("a", "new a\n"))], &[]);
    let old = ground.git(&["rev-parse", "HEAD"]);
    ground.file("untracked", "u");
    let merged = ground.merges(&["T1", "T2"]);
    assert_eq!(merged.merged, ["conductor/T1", "conductor/T2"]);
    assert_eq!(merged.changed, ["a", "d/e/c", "one/x"].map(PathBuf::from));
    assert_eq!(ground.status(), "?? untracked");
    assert_eq!(ground.files("HEAD"), ["a", "d/b", "one/x"]);
    assert_eq!((ground.read("a"), ground.read("one/x")), ("new a\n".to_owned(), "1\n".to_owned()));
    assert!(!ground.top.join("d/e").exists(), "an empty folder goes");
    assert_eq!(
        ground.git(&["log", "--first-parent", "--format=%s"]),
        "Merge conductor/T2\nMerge conductor/T1\nfirst"
    );
    assert_eq!(
        ground.git(&["rev-parse", "HEAD^2", "HEAD^^2", "HEAD^^"]),
        format!("{second}\n{first}\n{old}")
    );
    assert!(ground.git(&["reflog", "-1"]).contains("merge conductor/T1, conductor/T2"));
    assert_eq!(ground.git(&["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert!(matches!(ground.merge(&["T1", "T2"]), Ok(Merge::AlreadyMerged)));
    assert!(matches!(ground.merge(&[]), Ok(Merge::AlreadyMerged)));
    ground.task_of("T3", &[("three", "3")]);
    let merged = ground.merges(&["T1", "T3"]);
    assert_eq!(
        (merged.already, merged.merged),
        (vec!["conductor/T1".to_owned()], vec!["conductor/T3".to_owned()])
    );
}

#[test]
fn merging_one_task_after_another_never_deletes_a_file() {
    let ground = Ground::new();
    let first = ground.task_of("T1", &[("one", "1")]);
    let entries = [(path("one"), Content::AsIn(first)), (path("two"), ground.made("two", "2"))];
    ground.task("T2", &entries, &["T1"]);
    ground.merges(&["T2"]);
    assert_eq!(ground.files("HEAD"), ["a", "d/b", "d/e/c", "one", "two"]);
    assert!(matches!(ground.merge(&["T1"]), Ok(Merge::AlreadyMerged)));
    // A branch whose base HEAD has left behind.
    ground.task_of("T3", &[("three", "3")]);
    ground.file("later", "l").commit("later");
    ground.task_of("T4", &[("four", "4")]);
    ground.merges(&["T4", "T3"]);
    assert_eq!(ground.files("HEAD"), ["a", "d/b", "d/e/c", "four", "later", "one", "three", "two"]);
    assert_eq!(ground.status(), "");
}

#[test]
fn a_result_that_is_in_the_tree_already_is_in_nobody_s_way() {
    let ground = Ground::new();
    ground.task(
        "T1",
        &[
            (path("new"), ground.made("new", "n\n")),
            (path("a"), ground.made("a", "edited\n")),
            (path("d/b"), Content::Absent),
            (path("l"), Content::Link(b"to".to_vec())),
        ],
        &[],
    );
    ground.file("new", "n\n").file("a", "edited\n").file("d/e/c", "mine\n");
    fs::remove_file(ground.top.join("d/b")).unwrap();
    symlink("to", ground.top.join("l")).unwrap();
    let before = ground.top.join("new").metadata().unwrap();
    ground.merges(&["T1"]);
    assert_eq!(ground.status(), " M d/e/c", "what the merge does not change stays changed");
    assert_eq!(ground.top.join("new").metadata().unwrap().ino(), before.ino(), "it was not written again");
}

#[test]
fn a_staged_result_is_in_nobody_s_way() {
    let ground = Ground::new();
    ground.task("T1", &[(path("new"), ground.made("new", "n\n")), (path("d/b"), Content::Absent)], &[]);
    ground.file("new", "n\n").git(&["add", "new"]);
    ground.git(&["rm", "-q", "d/b"]);
    ground.file("other", "o").git(&["add", "other"]);
    let branches = [branch_name("T1")];
    assert!(matches!(ground.repository().merge(&branches, &str::to_owned), Ok(Merge::Done(_))));
    assert_eq!(ground.status(), "A  other", "what is staged stays so");
    ground.check_sound();
}

#[test]
fn a_merge_is_refused_where_something_uncommitted_would_be_lost() {
    let ground = Ground::new();
    ground.file("x", "x").commit("x");
    let entries = [
        (path("a"), ground.made("a", "new\n")),
        (path("d/b"), Content::Absent),
        (path("d/e/c"), ground.made("c", "new\n")),
        (path("new"), ground.made("new", "new\n")),
        (path("x"), ground.made("x", "new\n")),
        (path("y/z"), ground.made("z", "new\n")),
        (path("folder"), ground.made("folder", "new\n")),
        (path("l"), Content::Link(b"here".to_vec())),
    ];
    ground.task("T1", &entries, &[]);
    ground.file("a", "mine\n");
    ground.file("d/b", "mine\n");
    ground.file("new", "mine\n");
    fs::remove_file(ground.top.join("d/e/c")).unwrap();
    ground.file("x", "staged\n").git(&["add", "x"]);
    ground.file("x", "x");
    ground.file("y", "a file\n");
    ground.file("folder/deep/mine", "mine");
    ground.file(".gitignore", "l\n");
    symlink("elsewhere", ground.top.join("l")).unwrap();
    ground.refuses(&["T1"], &["a", "d/b", "d/e/c", "folder/deep/mine", "l", "new", "x", "y/z"]);
    let said = ground.merge(&["T1"]).unwrap_err().to_string();
    assert!(said.contains("`a`, `d/b`") && said.contains("stash"), "{said}");
}

#[test]
fn only_a_changed_mode_is_a_change_too() {
    let ground = Ground::new();
    ground.task_of("T1", &[("a", "new\n")]);
    ground.executable("a");
    ground.refuses(&["T1"], &["a"]);
    ground.git(&["config", "core.fileMode", "false"]);
    ground.merges(&["T1"]);
}

#[test]
fn what_git_was_told_not_to_look_at_is_not_overwritten() {
    let ground = Ground::new();
    ground.task_of("T1", &[("a", "new\n")]);
    ground.git(&["update-index", "--assume-unchanged", "a"]);
    ground.file("a", "mine\n");
    ground.refuses(&["T1"], &["a"]);
    ground.file("a", "a\n");
    ground.merges(&["T1"]);
    assert_eq!(ground.read("a"), "new\n");
}

#[test]
fn a_racy_edit_of_another_file_is_still_seen_after_the_merge() {
    let ground = Ground::new();
    ground.task_of("T1", &[("new", "new\n")]);
    for _ in 0..20 {
        ground.file("a", "1\n").git(&["add", "a"]);
        ground.file("a", "2\n");
        let before = ground.status();
        match ground.merge(&["T1"]).unwrap() {
            Merge::Done(_) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(ground.status(), before);
        ground.git(&["reset", "-q", "--soft", "HEAD^"]);
        ground.git(&["rm", "-q", "--cached", "new"]);
        fs::remove_file(ground.top.join("new")).unwrap();
    }
}

#[test]
fn a_conflict_is_told_with_both_sides_and_nothing_is_half_merged() {
    let ground = Ground::new();
    let text = |middle: &str| format!("1\n2\n3\n{middle}\n5\n6\n7\n");
    ground
        .file("text", text("4"))
        .file("gone", "g\n")
        .file("kept", "k\n")
        .file("bin", b"\0\x01")
        .commit("base");
    let entries = [
        (path("text"), ground.made("text", text("theirs"))),
        (path("gone"), ground.made("gone", "changed\n")),
        (path("kept"), Content::Absent),
        (path("bin"), ground.made("bin", b"\0\x02")),
        (path("both"), ground.made("both", "theirs\n")),
    ];
    ground.task("T1", &entries, &[]);
    ground.task_of("T2", &[("fine", "f\n")]);
    ground.task_of("T3", &[("fine", "other\n")]);
    ground.file("text", text("ours")).file("kept", "changed\n").file("bin", b"\0\x03").file("both", "ours\n");
    fs::remove_file(ground.top.join("gone")).unwrap();
    ground.commit("ours");
    let before = ground.state();
    let Merge::Conflicts(conflicts) = ground.merge(&["T2", "T1", "T3"]).unwrap() else {
        panic!("no conflicts")
    };
    assert_eq!(ground.state(), before);
    assert!(!ground.top.join(".git/conductor").exists());
    ground.check_sound();
    let excerpt =
        |side: &Option<Side>| side.as_ref().map(|side| side.excerpt.clone().unwrap_or("binary".to_owned()));
    let told: Vec<String> = conflicts
        .iter()
        .map(|conflict| {
            let [base, ours, theirs] = [&conflict.base, &conflict.ours, &conflict.theirs].map(excerpt);
            format!(
                "{} {}/{} {:?}: {base:?} {ours:?} {theirs:?}",
                conflict.path.display(),
                conflict.ours_from,
                conflict.theirs_from,
                conflict.line
            )
        })
        .collect();
    let expected = [
        r#"bin HEAD/conductor/T1 None: Some("binary") Some("binary") Some("binary")"#,
        r#"both HEAD/conductor/T1 Some(1): None Some("ours\n") Some("theirs\n")"#,
        r#"gone HEAD/conductor/T1 None: Some("g\n") None Some("changed\n")"#,
        r#"kept HEAD/conductor/T1 None: Some("k\n") Some("changed\n") None"#,
        r#"text HEAD/conductor/T1 Some(4): Some("4\n") Some("ours\n") Some("theirs\n")"#,
        r#"fine conductor/T2/conductor/T3 Some(1): None Some("f\n") Some("other\n")"#,
    ];
    assert_eq!(told, expected);
}

#[test]
fn head_may_be_unborn_detached_or_in_a_linked_worktree() {
    let ground = Ground::unborn();
    let first = ground.task_of("T1", &[("one", "1")]);
    ground.task_of("T2", &[("two", "2")]);
    ground.file("mine", "m").git(&["add", "mine"]);
    ground
        .repository()
        .merge(&["conductor/T1".to_owned(), "conductor/T2".to_owned()], &str::to_owned)
        .unwrap();
    assert_eq!(ground.status(), "A  mine");
    assert_eq!(ground.git(&["rev-parse", "HEAD^1"]), first);
    assert_eq!(ground.files("HEAD"), ["one", "two"]);
    ground.check_sound();
    let ground = Ground::unborn();
    ground.task_of("T1", &[("one", "1")]);
    ground.file("one", "mine");
    ground.refuses(&["T1"], &["one"]);

    let ground = Ground::new();
    ground.git(&["checkout", "-q", "--detach"]);
    let main = ground.git(&["rev-parse", "main"]);
    ground.task_of("T1", &[("one", "1")]);
    ground.merges(&["T1"]);
    assert_eq!(ground.git(&["rev-parse", "main"]), main, "the branch that HEAD is not on stays");

    let ground = Ground::new();
    ground.git(&["worktree", "add", "-q", "../linked"]);
    let linked = ground.top.join("../linked").canonicalize().unwrap();
    ground.task_of("T1", &[("one", "1")]);
    let repository = Repository::open(&linked).unwrap().unwrap();
    repository.merge(&["conductor/T1".to_owned()], &str::to_owned).unwrap();
    assert_eq!(fs::read_to_string(linked.join("one")).unwrap(), "1");
    assert_eq!(git(&linked, &["status", "--porcelain"]), "");
    assert_eq!(git(&linked, &["rev-parse", "linked"]), git(&linked, &["rev-parse", "HEAD"]));
    assert_eq!((ground.git(&["rev-parse", "main"]), ground.status()), (main_of(&ground), String::new()));
}

fn main_of(ground: &Ground) -> String {
    ground.git(&["rev-parse", "HEAD"])
}

#[test]
fn a_sparse_checkout_stays_sparse() {
    for arguments in [&["set", "d"][..], &["set", "--no-cone", "/d/", "/new"][..]] {
        let ground = Ground::new();
        ground.file("out/x", "x\n").commit("x");
        ground.git(&[&["sparse-checkout"], arguments].concat());
        assert!(!ground.top.join("out/x").exists());
        ground.task(
            "T1",
            &[(path("out/x"), ground.made("x", "new\n")), (path("d/b"), ground.made("b", "new\n"))],
            &[],
        );
        ground.merges(&["T1"]);
        assert!(!ground.top.join("out/x").exists());
        assert_eq!(ground.read("d/b"), "new\n");
        assert_eq!(ground.status(), "");
        assert_eq!(ground.show("HEAD", "out/x"), "new");
    }
    let ground = Ground::new();
    ground.git(&["sparse-checkout", "set", "--sparse-index", "nothing"]);
    ground.task_of("T1", &[("one", "1")]);
    let error = ground.merge(&["T1"]).unwrap_err().to_string();
    assert!(error.contains("--no-sparse-index"), "{error}");
    ground.check_sound();
    ground.git(&["sparse-checkout", "reapply", "--no-sparse-index"]);
    ground.merges(&["T1"]);
}

#[test]
fn submodules_stay_as_they_are_and_hooks_do_not_run() {
    let (_source, ground) = with_submodule();
    ground.file("sub/a", "changed in the submodule\n");
    let before = ground.status();
    ground.task_of("T1", &[("one", "1")]);
    ground.merges(&["T1"]);
    assert_eq!(ground.status(), before);
    assert!(ground.git(&["ls-tree", "HEAD", "sub"]).starts_with("160000"));
    let ground = with_hooks();
    ground.task_of("T1", &[("one", "1")]);
    let _ = fs::remove_file(ground.top.join("../hook-ran"));
    ground.repository().merge(&["conductor/T1".to_owned()], &str::to_owned).unwrap();
    assert!(!ground.top.join("../hook-ran").exists());
}

#[test]
fn line_ends_in_the_tree_are_as_git_would_write_them() {
    let ground = Ground::new();
    ground.file(".gitattributes", "*.txt text eol=crlf\n").file("old.txt", "1\r\n2\r\n").commit("attributes");
    let entries = [
        (path("old.txt"), ground.made("old.txt", "1\r\nnew\r\n")),
        (path("new.txt"), ground.made("new.txt", "new\n")),
        (path("there.txt"), ground.made("there.txt", "there\r\n")),
        (path("plain"), ground.made("plain", "plain\n")),
    ];
    ground.task("T1", &entries, &[]);
    ground.file("there.txt", "there\r\n");
    ground.merges(&["T1"]);
    assert_eq!(ground.read("old.txt"), "1\r\nnew\r\n");
    assert_eq!(ground.read("new.txt"), "new\r\n");
    assert_eq!(
        (ground.read("there.txt"), ground.read("plain")),
        ("there\r\n".to_owned(), "plain\n".to_owned())
    );
    assert_eq!(ground.status(), "");
    // Attributes that come with the merge hold for the files that come with it.
    ground.task(
        "T2",
        &[
            (path(".gitattributes"), ground.made("attributes", "*.txt text eol=crlf\n*.md text eol=crlf\n")),
            (path("new.md"), ground.made("new.md", "md\n")),
        ],
        &[],
    );
    ground.merges(&["T2"]);
    assert_eq!((ground.read("new.md"), ground.status()), ("md\r\n".to_owned(), String::new()));
}

#[test]
fn files_and_folders_take_each_other_s_place_modes_and_strange_names_too() {
    let ground = Ground::new();
    symlink("d", ground.top.join("link")).unwrap();
    ground.commit("link");
    let mut run = ground.made("run", "#!/bin/sh\n");
    if let Content::File { executable, .. } = &mut run {
        *executable = true;
    }
    let entries = [
        (path("d"), ground.made("d", "a file now\n")),
        (path("a/x"), ground.made("x", "in a folder\n")),
        (path("link/y"), ground.made("y", "no link\n")),
        (path("run"), run),
        (path("to"), Content::Link(b"run".to_vec())),
        (path(strange().as_bytes()), ground.made("strange", "s")),
        (path("glob*[x]"), ground.made("glob", "g")),
    ];
    ground.task("T1", &entries, &[]);
    fs::create_dir_all(ground.top.join("run/empty")).unwrap();
    ground.merges(&["T1"]);
    assert_eq!(ground.status(), "");
    assert_eq!(
        (ground.read("d"), ground.read("a/x")),
        ("a file now\n".to_owned(), "in a folder\n".to_owned())
    );
    assert_eq!(ground.read("link/y"), "no link\n");
    assert_eq!(ground.top.join("run").metadata().unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(ground.top.join("to")).unwrap(), Path::new("run"));
    assert!(ground.top.join(strange()).exists() && ground.top.join("glob*[x]").exists());
}

#[test]
fn a_merge_waits_for_nobody_and_says_who_is_in_its_way() {
    let ground = Ground::new();
    ground.task_of("T1", &[("one", "1")]);
    let says = |text: &str| {
        let error = ground.merge(&["T1"]).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    ground.file(".git/index.lock", "");
    says("index.lock");
    assert!(ground.top.join(".git/index.lock").exists(), "another's lock stays");
    fs::remove_file(ground.top.join(".git/index.lock")).unwrap();
    ground.file(".git/MERGE_HEAD", ground.git(&["rev-parse", "HEAD"]));
    says("a merge is under way");
    fs::remove_file(ground.top.join(".git/MERGE_HEAD")).unwrap();
    let error = ground.merge(&["T7"]).unwrap_err().to_string();
    assert!(error.contains("conductor/T7"), "{error}");
    ground.merges(&["T1"]);
}

#[test]
fn the_lock_of_a_conductor_that_was_killed_goes() {
    let ground = Ground::new();
    ground.task_of("T1", &[("one", "1")]);
    let place = format!(
        "{} {}",
        fs::read_link("/proc/self/ns/pid").unwrap().display(),
        fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim()
    );
    let stat = fs::read_to_string("/proc/1/stat").unwrap();
    let started = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap();
    let lock =
        |holder: String| ground.file(".git/index.lock", format!("held by conductor, process {holder}"));
    for alive_or_elsewhere in
        [format!("1 started {started} in {place}"), "1 started 7 in elsewhere".to_owned()]
    {
        lock(alive_or_elsewhere);
        assert!(matches!(ground.merge(&["T1"]), Err(Error::IndexLocked { .. })));
    }
    lock(format!("1 started 999999999 in {place}"));
    ground.merges(&["T1"]);
}

#[test]
fn a_merge_that_was_killed_in_its_middle_is_completed_by_the_next() {
    let ground = Ground::new();
    let entries = [
        (path("a"), ground.made("a", "new\n")),
        (path("d/b"), Content::Absent),
        (path("d/e/c"), ground.made("c", "new\n")),
        (path("new/x"), ground.made("x", "new\n")),
    ];
    ground.task("T1", &entries, &[]);
    // Some files are written, some are not.
    ground.file("a", "new\n").file("new/x", "new\n");
    fs::remove_file(ground.top.join("d/b")).unwrap();
    ground.merges(&["T1"]);
    assert_eq!(ground.status(), "");
    // The index too, but not HEAD.
    ground.git(&["reset", "-q", "--soft", "HEAD^"]);
    ground.merges(&["T1"]);
    assert_eq!(ground.status(), "");
}

#[test]
fn a_workspace_in_a_folder_merges_the_paths_of_the_whole_repository() {
    let ground = Ground::new();
    let repository = Repository::open(&ground.top.join("d")).unwrap().unwrap();
    let entries = [(path("out"), ground.made("out", "o"))];
    let commit = Commit { entries: &entries, needs: &[], title: "T1", trailers: &trailers("T1") };
    let commit = repository.commit(&commit).unwrap();
    repository.set_branch("conductor/T1", None, Some(&commit)).unwrap();
    let Merge::Done(merged) = repository.merge(&["conductor/T1".to_owned()], &str::to_owned).unwrap() else {
        panic!()
    };
    assert_eq!(merged.changed, [PathBuf::from("d/out")]);
    assert_eq!((ground.read("d/out"), ground.status()), ("o".to_owned(), String::new()));
}
