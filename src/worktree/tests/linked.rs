//! A task's worktree as git and its task see it.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, symlink};
use std::thread;

use super::*;

#[test]
fn a_worktree_is_git_s_own_and_detached_at_nothing() {
    let ground = Ground::new();
    let linked = ground.repository().create("api:T1[os=a,v=1]", &ground.place("T1")).unwrap();
    let list = ground.git(&["worktree", "list", "--porcelain"]);
    assert!(list.contains(&format!("worktree {}", ground.place("T1").display())), "{list}");
    assert!(list.contains("detached") && !list.contains("locked") && !list.contains("prunable"), "{list}");
    assert_eq!(git(linked.place(), &["status", "--porcelain"]), "");
    assert_eq!(git(linked.place(), &["rev-list", "--parents", "HEAD"]).split(' ').count(), 1);
    assert_eq!(git(linked.place(), &["ls-tree", "HEAD"]), "");
    assert_eq!(git(linked.place(), &["rev-parse", "--git-dir"]), linked.git_dir().to_str().unwrap());
    assert_eq!(ground.git(&["branch", "--list", "conductor*"]), "");
    assert_eq!(ground.git(&["worktree", "prune", "-v"]), "");
    ground.check_sound();
    linked.remove().unwrap();
    ground.check_nothing_left();
}

#[test]
fn status_diff_and_restore_mean_what_a_task_expects() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    fill(
        linked.place(),
        &[("a", "seen\n"), (".gitignore", "*.log\n"), ("x.log", "log\n"), ("d/run", "run\n")],
    );
    fs::set_permissions(linked.place().join("d/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("nowhere", linked.place().join("link")).unwrap();
    fs::write(linked.place().join(strange()), "strange").unwrap();
    fs::create_dir(linked.place().join("empty")).unwrap();
    let mut files = paths(&["a", ".gitignore", "x.log", "d/run", "link", "empty"]);
    files.push(path(strange().as_bytes()));
    let commit = linked.snapshot(&files).unwrap();
    let at = |arguments: &[&str]| git(linked.place(), arguments);
    assert_eq!(
        (at(&["rev-parse", "HEAD"]), at(&["rev-list", "--count", "HEAD"])),
        (commit.clone(), "1".to_owned())
    );
    assert_eq!(at(&["status", "--porcelain", "--ignored"]), "");
    assert!(!output(linked.place(), &["symbolic-ref", "-q", "HEAD"]).status.success(), "never a branch");
    let modes = at(&["ls-tree", "-r", "HEAD"]);
    for line in ["100755 blob", "120000 blob", "100644 blob"] {
        assert!(modes.contains(line), "{modes}");
    }
    assert!(modes.contains("x.log") && modes.contains(r"str\377nge"), "{modes}");
    fs::write(linked.place().join("a"), "done\n").unwrap();
    fs::remove_file(linked.place().join("d/run")).unwrap();
    fs::write(linked.place().join("new"), "new\n").unwrap();
    assert_eq!(at(&["status", "--porcelain"]), " M a\n D d/run\n?? new");
    assert!(at(&["diff"]).contains("-seen\n+done"));
    at(&["restore", "."]);
    assert_eq!(at(&["status", "--porcelain"]), "?? new");
    assert_eq!(fs::read_to_string(linked.place().join("a")).unwrap(), "seen\n");
    assert_eq!(linked.place().join("d/run").metadata().unwrap().mode() & 0o111, 0o111);
    ground.check_sound();
    assert_eq!(ground.status(), "");
    linked.remove().unwrap();
    ground.check_nothing_left();
}

#[test]
fn an_edit_of_the_same_size_right_after_the_snapshot_is_seen() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    fill(linked.place(), &[("a", "one\n")]);
    linked.snapshot(&paths(&["a"])).unwrap();
    fs::write(linked.place().join("a"), "two\n").unwrap();
    assert_eq!(git(linked.place(), &["status", "--porcelain"]), " M a");
}

#[test]
fn line_ends_are_left_alone_and_the_status_is_clean() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    let check = |attributes: &str| {
        fill(
            linked.place(),
            &[
                (".gitattributes", attributes),
                ("lf", "1\n2\n"),
                ("crlf", "1\r\n2\r\n"),
                ("mixed", "1\n2\r\n"),
            ],
        );
        let commit = linked.snapshot(&paths(&[".gitattributes", "lf", "crlf", "mixed"])).unwrap();
        assert_eq!(git(linked.place(), &["status", "--porcelain"]), "", "{attributes}");
        for (name, content) in [("lf", "1\n2\n"), ("crlf", "1\r\n2\r\n"), ("mixed", "1\n2\r\n")] {
            let blob = output(linked.place(), &["cat-file", "blob", &format!("{commit}:{name}")]).stdout;
            assert_eq!(String::from_utf8(blob).unwrap(), content, "{name} with {attributes}");
        }
        git(linked.place(), &["update-index", "--refresh", "-q"]);
        assert_eq!(git(linked.place(), &["diff"]), "", "{attributes}");
    };
    check("* text=auto eol=crlf\n");
    check("* text eol=crlf\n");
    check("* text eol=lf\n");
    check("* filter=lfs\n");
    ground.git(&["config", "core.autocrlf", "true"]);
    check("");
    ground.git(&["config", "core.safecrlf", "true"]);
    check("");
}

#[test]
fn a_second_snapshot_replaces_the_first_and_equal_files_make_an_equal_commit() {
    let ground = Ground::new();
    let repository = ground.repository();
    let linked = repository.create("T1", &ground.place("T1")).unwrap();
    fill(linked.place(), &[("a", "1"), ("b", "2")]);
    let first = linked.snapshot(&paths(&["a", "b"])).unwrap();
    assert_ne!(linked.snapshot(&paths(&["a"])).unwrap(), first);
    assert_eq!(git(linked.place(), &["status", "--porcelain"]), "?? b");
    let other = repository.create("T2", &ground.place("T2")).unwrap();
    fill(other.place(), &[("a", "1"), ("b", "2")]);
    assert_eq!(other.snapshot(&paths(&["b", "a"])).unwrap(), first);
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    let refused = |files: &[&str]| linked.snapshot(&paths(files)).unwrap_err().to_string();
    assert!(refused(&["missing"]).contains("missing"));
    let _socket = std::os::unix::net::UnixListener::bind(linked.place().join("socket")).unwrap();
    assert!(refused(&["socket"]).contains("neither a file nor a link"));
    assert!(refused(&[".git"]).contains(".git"));
    fs::create_dir(linked.place().join("real")).unwrap();
    fs::write(linked.place().join("real/x"), "").unwrap();
    symlink("real", linked.place().join("folder")).unwrap();
    assert!(refused(&["folder", "folder/x"]).contains("no folder"));
    assert!(refused(&["folder/x"]).contains("`folder` is no folder"));
    assert_eq!(git(linked.place(), &["ls-tree", "HEAD"]), "", "a refused snapshot changes nothing");
}

#[test]
fn twelve_are_made_at_once() {
    let ground = Ground::new();
    let repository = ground.repository();
    let linked: Vec<Linked> = thread::scope(|scope| {
        let make = |number: usize| {
            let (repository, ground) = (&repository, &ground);
            scope.spawn(move || {
                let linked =
                    repository.create(&format!("T{number}"), &ground.place(&format!("T{number}"))).unwrap();
                fill(linked.place(), &[("n", &number.to_string()), ("same", "same")]);
                linked.snapshot(&paths(&["n", "same"])).unwrap();
                linked
            })
        };
        (0..12).map(make).collect::<Vec<_>>().into_iter().map(|made| made.join().unwrap()).collect()
    });
    assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 13);
    for (number, linked) in linked.iter().enumerate() {
        assert_eq!(git(linked.place(), &["show", "HEAD:n"]), number.to_string());
        assert_eq!(git(linked.place(), &["status", "--porcelain"]), "");
    }
    ground.check_sound();
    thread::scope(|scope| {
        for linked in linked {
            scope.spawn(|| linked.remove().unwrap());
        }
    });
    ground.check_nothing_left();
}

#[test]
fn two_workspaces_of_one_repository_keep_apart() {
    let ground = Ground::new();
    ground.git(&["worktree", "add", "-q", "../other"]);
    let other_top = ground.top.join("../other").canonicalize().unwrap();
    let other = Repository::open(&other_top).unwrap().unwrap();
    let mine = ground.repository().create("T1", &ground.place("T1")).unwrap();
    let theirs = other.create("T1", &other_top.join(".conductor/workspaces/T1")).unwrap();
    assert_ne!(mine.git_dir(), theirs.git_dir());
    assert_eq!(ground.repository().recover(&ground.workspaces()).unwrap(), [ground.place("T1")]);
    assert_eq!(git(theirs.place(), &["status", "--porcelain"]), "");
    theirs.remove().unwrap();
    ground.git(&["worktree", "remove", "--force", "../other"]);
    ground.check_nothing_left();
}

#[test]
fn it_works_whatever_the_user_s_working_tree_is_in() {
    let check = |ground: &Ground, dir: &Path, prepared: &str| {
        let repository = Repository::open(dir).unwrap().unwrap();
        let before = (git(dir, &["status", "--porcelain"]), output(dir, &["stash", "list"]).stdout);
        let place = dir.join(".conductor/workspaces/T1");
        let linked = repository.create("T1", &place).unwrap();
        fill(&place, &[("d/e/c", "see\n"), ("new", "new\n")]);
        linked.snapshot(&paths(&["d/e/c", "new"])).unwrap();
        assert_eq!(git(&place, &["status", "--porcelain"]), "", "{prepared}");
        fs::remove_file(place.join("d/e/c")).unwrap();
        git(&place, &["restore", "d/e/c"]);
        assert_eq!(fs::read_to_string(place.join("d/e/c")).unwrap(), "see\n", "{prepared}");
        git(&place, &["stash", "list"]);
        linked.remove().unwrap();
        let _ = fs::remove_dir_all(dir.join(".conductor"));
        let after = (git(dir, &["status", "--porcelain"]), output(dir, &["stash", "list"]).stdout);
        assert_eq!(before, after, "{prepared}");
        ground.check_sound();
    };
    let ground = Ground::unborn();
    check(&ground, &ground.top, "unborn HEAD");
    let ground = Ground::new();
    ground.file("a", "changed\n").file("staged", "s\n").git(&["add", "staged"]);
    check(&ground, &ground.top, "uncommitted changes");
    let ground = Ground::new();
    ground.git(&["checkout", "-q", "--detach"]);
    check(&ground, &ground.top, "detached HEAD");
    let ground = Ground::new();
    ground.git(&["sparse-checkout", "set", "d/e"]);
    check(&ground, &ground.top, "sparse checkout by cones");
    let ground = Ground::new();
    ground.git(&["sparse-checkout", "set", "--sparse-index", "d/e"]);
    check(&ground, &ground.top, "sparse index");
    let ground = Ground::new();
    ground.git(&["sparse-checkout", "set", "--no-cone", "/a"]);
    check(&ground, &ground.top, "sparse checkout by patterns");
    let ground = Ground::new();
    ground.git(&["config", "core.sparseCheckout", "true"]);
    ground.file(".git/info/sparse-checkout", "/a\n").git(&["read-tree", "-mu", "HEAD"]);
    check(&ground, &ground.top, "sparse checkout of the old kind");
    let ground = Ground::new();
    ground.git(&["worktree", "add", "-q", "../linked"]);
    check(&ground, &ground.top.join("../linked").canonicalize().unwrap(), "linked worktree");
    let ground = Ground::new();
    check(&ground, &ground.top.join("d"), "workspace in a folder");
    let ground = Ground::new();
    ground.git(&["config", "core.fsmonitor", "false"]);
    ground.git(&["update-index", "--split-index"]);
    check(&ground, &ground.top, "split index");
    let ground = with_hooks();
    check(&ground, &ground.top, "hooks that fail");
    let (_source, ground) = with_submodule();
    check(&ground, &ground.top, "submodule present");
    check(&ground, &ground.top.join("sub"), "inside a submodule");
}

#[test]
fn in_a_bare_repository_with_worktrees_it_works_too() {
    let ground = Ground::new();
    ground.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
    let bare = ground.top.join("../bare.git").canonicalize().unwrap();
    git(&bare, &["worktree", "add", "-q", "../tree", "main"]);
    let tree = ground.top.join("../tree").canonicalize().unwrap();
    let repository = Repository::open(&tree).unwrap().unwrap();
    let linked = repository.create("T1", &tree.join(".conductor/workspaces/T1")).unwrap();
    fill(linked.place(), &[("x", "x")]);
    linked.snapshot(&paths(&["x"])).unwrap();
    assert_eq!(git(linked.place(), &["status", "--porcelain"]), "");
    linked.remove().unwrap();
    assert_eq!(git(&bare, &["worktree", "list"]).lines().count(), 2);
}

#[test]
fn exclusions_hold_for_this_worktree_alone() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    let strange = "we ird*[x]\\#!";
    fill(linked.place(), &[("a", "a"), (".env", "secret"), ("node_modules/x/y", "dep"), (strange, "")]);
    linked.snapshot(&paths(&["a"])).unwrap();
    let mut environment = linked.exclude(&paths(&[".env", "node_modules", strange])).unwrap();
    let status = |environment: &[(&str, OsString)], dir: &Path| {
        let mut command = command(dir, &["status", "--porcelain"]);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(status(&environment, linked.place()), "");
    assert!(status(&[], linked.place()).contains(".env"), "git has no exclusions of a worktree by itself");
    fill(linked.place(), &[("d/.env", "seen"), ("weXird", "seen")]);
    assert_eq!(status(&environment, linked.place()), "?? d/\n?? weXird\n");
    // Where worktrees may have a configuration of their own, nothing more is needed.
    ground.git(&["config", "extensions.worktreeConfig", "true"]);
    environment = linked.exclude(&paths(&[".env", "node_modules", strange])).unwrap();
    assert_eq!(status(&[], linked.place()), "?? d/\n?? weXird\n");
    assert_eq!(environment.len(), 3);
    ground.file(".env", "mine");
    assert!(ground.status().contains(".env"), "the user's own working tree sees its files");
    assert_eq!(ground.git(&["config", "--local", "--list", "--name-only"]).matches("excludes").count(), 0);
}

/// A repository whose hooks all fail, and say so.
pub(super) fn with_hooks() -> Ground {
    let ground = Ground::new();
    let names = [
        "pre-commit",
        "commit-msg",
        "post-checkout",
        "post-commit",
        "reference-transaction",
        "post-merge",
        "pre-merge-commit",
        "post-index-change",
        "prepare-commit-msg",
    ];
    for name in names {
        let hook = format!(".git/failing/{name}");
        ground
            .file(&hook, format!("#!/bin/sh\ntouch '{}'\nexit 1\n", ground.top.join("../hook-ran").display()))
            .executable(&hook);
    }
    ground.git(&["config", "core.hooksPath", ".git/failing"]);
    ground
}

/// A repository with another one as the submodule `sub`.
pub(super) fn with_submodule() -> (Ground, Ground) {
    let (source, ground) = (Ground::new(), Ground::new());
    let url = source.top.to_str().unwrap();
    ground.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "sub"]);
    ground.commit("with a submodule");
    (source, ground)
}
