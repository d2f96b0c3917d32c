//! Commits of results.

use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

use super::linked::{with_hooks, with_submodule};
use super::*;

#[test]
fn a_commit_is_head_with_the_task_s_outputs_and_nothing_else() {
    let ground = Ground::new();
    ground.file("a", "not committed\n").file("staged", "s").git(&["add", "staged"]);
    ground.git(&["stash", "push", "-q", "--", "a"]);
    ground.file("untracked", "u").file("a", "again\n");
    let before = (ground.status(), ground.git(&["stash", "list"]), ground.git(&["rev-parse", "HEAD"]));
    let index = fs::read(ground.top.join(".git/index")).unwrap();
    let mut run = ground.made("run", "#!/bin/sh\n");
    if let Content::File { executable, .. } = &mut run {
        *executable = true;
    }
    let entries = [
        (path("d/run"), run),
        (path("new/deep/file"), ground.made("file", "made\n")),
        (path("link"), Content::Link(b"d/run".to_vec())),
        (path("d/e"), Content::Absent),
        (path("nowhere/x"), Content::Absent),
        (path(strange().as_bytes()), ground.made("strange", "s")),
    ];
    let commit = ground.task("T9", &entries, &[]);
    assert_eq!(
        ground.git(&["diff", "--name-status", "--no-renames", "HEAD", "conductor/T9"]),
        "D\td/e/c\nA\td/run\nA\tlink\nA\tnew/deep/file\nA\t\"str\\377nge\""
    );
    assert!(ground.git(&["ls-tree", &commit, "d/run"]).starts_with("100755"));
    assert_eq!(ground.git(&["cat-file", "-p", &format!("{commit}:link")]), "d/run");
    assert_eq!(ground.git(&["log", "-1", "--format=%P", &commit]), before.2);
    assert_eq!(
        ground.git(&["log", "-1", "--format=%an <%ae> %s", &commit]),
        "A Person <person@localhost> A title"
    );
    let trailer =
        |key: &str| ground.git(&["log", "-1", &format!("--format=%(trailers:key={key},valueonly)"), &commit]);
    assert_eq!(trailer("Conductor-Task"), "T9");
    assert_eq!(trailer("Conductor-Run"), "20261125-120000-1");
    assert_eq!(trailer("Conductor-Key"), "ab".repeat(32));
    assert_eq!(ground.repository().trailers(&commit).unwrap(), Some(trailers("T9")));
    assert_eq!(ground.repository().trailers(&before.2).unwrap(), None);
    assert_eq!((ground.status(), ground.git(&["stash", "list"]), ground.git(&["rev-parse", "HEAD"])), before);
    assert_eq!(fs::read(ground.top.join(".git/index")).unwrap(), index);
    ground.check_sound();
}

#[test]
fn a_commit_holds_what_the_task_needs_and_has_it_as_a_parent() {
    let ground = Ground::new();
    let head = ground.git(&["rev-parse", "HEAD"]);
    let first = ground.task_of("T1", &[("one", "1")]);
    let second = ground.task("T2", &[(path("two"), ground.made("two", "2"))], &[]);
    let entries = [
        (path("one"), Content::AsIn(first.clone())),
        (path("two"), Content::AsIn(second.clone())),
        (path("gone"), Content::AsIn(second.clone())),
        (path("three"), ground.made("three", "3")),
    ];
    let third = ground.task("T3", &entries, &["T1", "T2", "T1"]);
    assert_eq!(ground.git(&["log", "-1", "--format=%P", &third]), format!("{head} {first} {second}"));
    assert_eq!(ground.files(&third), ["a", "d/b", "d/e/c", "one", "three", "two"]);
    // T3 holds T1 already.
    let fourth = ground.task("T4", &[(path("one"), Content::AsIn(first.clone()))], &["T1", "T3"]);
    assert_eq!(ground.git(&["log", "-1", "--format=%P", &fourth]), format!("{head} {third}"));
    // And once it is merged, HEAD holds it.
    ground.git(&["merge", "-q", "--no-ff", "-m", "merge", "conductor/T1"]);
    let head = ground.git(&["rev-parse", "HEAD"]);
    let fifth = ground.task("T5", &[(path("five"), ground.made("five", "5"))], &["T1"]);
    assert_eq!(ground.git(&["log", "-1", "--format=%P", &fifth]), head);
    ground.check_sound();
}

#[test]
fn a_commit_stands_on_whatever_head_is() {
    let check = |ground: &Ground, dir: &Path, prepared: &str| {
        let repository = Repository::open(dir).unwrap().unwrap();
        let before = (git(dir, &["status", "--porcelain"]), fs::read(dir.join(".git/index")).ok());
        // git's own status runs one.
        let hook_ran = ground.top.join("../hook-ran");
        let _ = fs::remove_file(&hook_ran);
        let entries = [(path("out/x"), ground.made("x", "x\n"))];
        let commit = Commit { entries: &entries, needs: &[], title: "T1", trailers: &trailers("T1") };
        let commit = repository.commit(&commit).unwrap();
        repository.set_branch("conductor/T1", None, Some(&commit)).unwrap();
        assert!(!hook_ran.exists(), "{prepared}");
        let prefix = git(dir, &["rev-parse", "--show-prefix"]);
        let head = output(dir, &["rev-parse", "-q", "--verify", "HEAD"]);
        if head.status.success() {
            let changed = git(dir, &["diff", "--name-status", "HEAD", "conductor/T1"]);
            assert_eq!(changed, format!("A\t{prefix}out/x"), "{prepared}");
            assert_eq!(git(dir, &["rev-parse", "conductor/T1^"]), git(dir, &["rev-parse", "HEAD"]));
        } else {
            assert_eq!(git(dir, &["rev-list", "--parents", "conductor/T1"]), commit);
        }
        let after = (git(dir, &["status", "--porcelain"]), fs::read(dir.join(".git/index")).ok());
        assert_eq!(before, after, "{prepared}");
        ground.check_sound();
    };
    let ground = Ground::unborn();
    check(&ground, &ground.top, "unborn HEAD");
    let ground = Ground::new();
    ground.git(&["checkout", "-q", "--detach"]);
    check(&ground, &ground.top, "detached HEAD");
    let ground = Ground::new();
    ground.git(&["worktree", "add", "-q", "../linked"]);
    let linked = ground.top.join("../linked").canonicalize().unwrap();
    fs::write(linked.join("more"), "").unwrap();
    git(&linked, &["add", "more"]);
    git(&linked, &["commit", "-q", "-m", "ahead"]);
    check(&ground, &linked, "linked worktree");
    let ground = Ground::new();
    check(&ground, &ground.top.join("d"), "workspace in a folder");
    let ground = Ground::new();
    ground.git(&["sparse-checkout", "set", "--sparse-index", "nothing"]);
    check(&ground, &ground.top, "sparse index");
    let ground = Ground::new();
    ground.git(&["sparse-checkout", "set", "--no-cone", "/a"]);
    check(&ground, &ground.top, "sparse checkout by patterns");
    let ground = with_hooks();
    check(&ground, &ground.top, "hooks that fail");
    let (_source, ground) = with_submodule();
    check(&ground, &ground.top, "submodule present");
    assert!(ground.git(&["ls-tree", "conductor/T1", "sub"]).starts_with("160000 commit"));
    check(&ground, &ground.top.join("sub"), "inside a submodule");
    let ground = Ground::new();
    ground.git(&["clone", "-q", "--depth", "1", &format!("file://{}", ground.top.display()), "../shallow"]);
    let shallow = ground.top.join("../shallow").canonicalize().unwrap();
    check(&ground, &shallow, "shallow clone");
}

#[test]
fn what_lies_in_a_submodule_is_refused() {
    let (_source, ground) = with_submodule();
    let entries = [(path("sub/new"), ground.made("x", "x"))];
    let commit = Commit { entries: &entries, needs: &[], title: "", trailers: &trailers("T1") };
    let error = ground.repository().commit(&commit).unwrap_err().to_string();
    assert!(error.contains("`sub`") && error.contains("submodule"), "{error}");
    let entries = [(path("sub/a"), Content::Absent), (path("sub"), Content::Absent)];
    let commit = Commit { entries: &entries, needs: &[], title: "", trailers: &trailers("T1") };
    let id = ground.repository().commit(&commit).unwrap();
    assert_eq!(ground.git(&["diff", "HEAD", &id]), "");
}

#[test]
fn a_file_takes_the_place_of_a_folder_and_a_folder_that_of_a_file() {
    let ground = Ground::new();
    let entries =
        [(path("d"), ground.made("d", "now a file")), (path("a/x"), ground.made("x", "now in a folder"))];
    let commit = ground.task("T1", &entries, &[]);
    assert_eq!(ground.files(&commit), ["a/x", "d"]);
    let entries = [
        (path("d/b"), Content::Absent),
        (path("d"), ground.made("d", "file")),
        (path("a"), Content::Absent),
        (path("a/y"), ground.made("y", "y")),
    ];
    assert_eq!(ground.files(&ground.task("T2", &entries, &[])), ["a/y", "d"]);
    let entries = [(path("a/b"), Content::Absent), (path("d/b/x"), Content::Absent)];
    assert_eq!(ground.files(&ground.task("T3", &entries, &[])), ["a", "d/b", "d/e/c"]);
    for (one, other) in [("x", "x/y"), (".git", "z"), ("d/.git/hooks/x", "z")] {
        let entries = [(path(one), ground.made("x", "")), (path(other), ground.made("x", ""))];
        let commit = Commit { entries: &entries, needs: &[], title: "", trailers: &trailers("T1") };
        let error = ground.repository().commit(&commit).unwrap_err();
        assert!(matches!(error, Error::NotForGit { .. }), "{error}");
    }
    let everything = ["a", "d"].map(|name| (path(name), Content::Absent));
    assert_eq!(ground.files(&ground.task("T4", &everything, &[])), [""; 0]);
    ground.check_sound();
}

#[test]
fn line_ends_are_stored_as_git_add_stores_them() {
    let ground = Ground::new();
    ground.file(".gitattributes", "*.txt text\n*.bin -text\n*.id ident\n").commit("attributes");
    let content = |name: &str| ground.made(name, "1\r\n2\r\n$Id: old $\n");
    let entries = ["x.txt", "x.bin", "x.id", "plain"].map(|name| (path(name), content(name)));
    let commit = ground.task("T1", &entries, &[]);
    let added = |name: &str| {
        let file = ground.top.join("../made").join(name);
        git(&ground.top, &["hash-object", "--path", name, file.to_str().unwrap()])
    };
    for name in ["x.txt", "x.bin", "x.id", "plain"] {
        assert_eq!(ground.git(&["rev-parse", &format!("{commit}:{name}")]), added(name), "{name}");
    }
    ground.git(&["config", "core.autocrlf", "true"]);
    let again = ground.task("T2", &[(path("plain"), content("plain"))], &[]);
    assert_eq!(ground.git(&["rev-parse", &format!("{again}:plain")]), added("plain"));
    ground.git(&["config", "core.safecrlf", "true"]);
    ground.task("T3", &[(path("mixed"), ground.made("mixed", "1\r\n2\n"))], &[]);
}

#[test]
fn a_file_that_is_not_what_was_accepted_is_not_committed() {
    let ground = Ground::new();
    let from = ground.top.join("../made/x");
    ground.made("x", "other");
    let content = |text: &str| Content::File {
        from: from.clone(),
        executable: false,
        expected: Some(Digest::of(text.as_bytes())),
    };
    let commit = |content: Content| {
        let entries = [(path("x"), content)];
        let commit = Commit { entries: &entries, needs: &[], title: "", trailers: &trailers("T1") };
        ground.repository().commit(&commit)
    };
    assert!(commit(content("other")).is_ok());
    assert!(matches!(commit(content("accepted")), Err(Error::Changed { .. })));
    let large = vec![b'x'; (16 << 20) + 1];
    fs::write(&from, &large).unwrap();
    let expected = |bytes: &[u8]| Content::File {
        from: from.clone(),
        executable: false,
        expected: Some(Digest::of(bytes)),
    };
    let id = commit(expected(&large)).unwrap();
    assert_eq!(ground.git(&["cat-file", "-s", &format!("{id}:x")]), large.len().to_string());
    assert!(matches!(commit(expected(b"")), Err(Error::Changed { .. })));
    fs::remove_file(&from).unwrap();
    let error = commit(content("x")).unwrap_err().to_string();
    assert!(error.contains("made/x"), "{error}");
}

#[test]
fn a_large_file_is_seen_and_committed() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    let large = vec![7; (16 << 20) + 1];
    fs::write(linked.place().join("large"), &large).unwrap();
    for _ in 0..2 {
        let commit = linked.snapshot(&paths(&["large"])).unwrap();
        assert_eq!(ground.git(&["cat-file", "-s", &format!("{commit}:large")]), large.len().to_string());
    }
    ground.check_sound();
}

#[test]
fn without_a_configured_name_conductor_commits_in_its_own() {
    let ground = Ground::new();
    let message = |commit: &str| ground.git(&["log", "-1", "--format=%an <%ae>|%cn <%ce>|%B", commit]);
    ground.git(&["config", "user.name", "  "]);
    ground.git(&["config", "author.name", "An Author"]);
    let id = ground.task_of("T1", &[("x", "x")]);
    assert!(
        message(&id).starts_with("An Author <person@localhost>|conductor <conductor@localhost>|"),
        "{}",
        message(&id)
    );
    let entries = [(path("x"), ground.made("x", "y"))];
    let title = "two\nlines\n\nConductor-Key: forged";
    let commit = Commit { entries: &entries, needs: &[], title, trailers: &trailers("T1") };
    let id = ground.repository().commit(&commit).unwrap();
    assert!(
        message(&id).contains("two lines  Conductor-Key: forged\n\nConductor-Task: T1\n"),
        "{}",
        message(&id)
    );
    assert_eq!(ground.repository().trailers(&id).unwrap(), Some(trailers("T1")));
}

#[test]
fn a_commit_on_a_large_tree_reads_only_the_folders_on_the_way() {
    let ground = Ground::unborn();
    let mut stream =
        String::from("commit refs/heads/main\ncommitter T <t@localhost> 1700000000 +0000\ndata 0\n");
    for number in 0..20_000 {
        let name = format!("f{}/g{}/{number}", number % 50, number % 400);
        let line = format!("M 644 inline {name}\ndata {}\n{name}\n", name.len());
        stream.push_str(&line);
    }
    let mut import = command(&ground.top, &["fast-import", "--quiet"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut import.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let objects = || ground.git(&["count-objects"]);
    let start = Instant::now();
    let id = ground.task_of("T1", &[("f7/g7/new", "x"), ("top", "y")]);
    println!("a commit on 20,000 files: {:?}", start.elapsed());
    assert!(objects().starts_with("6 objects"), "two blobs, three trees, one commit: {}", objects());
    assert_eq!(ground.files(&id).len(), 20_002);
    assert_eq!(ground.git(&["diff", "--name-status", "HEAD", &id]), "A\tf7/g7/new\nA\ttop");
}

#[test]
fn a_path_of_bytes_is_the_same_path_in_git() {
    let ground = Ground::new();
    let name = std::ffi::OsString::from_vec(b"d\xff/\xfe".to_vec());
    let commit = ground.task("T1", &[(path(name.as_bytes()), ground.made("x", "x"))], &[]);
    assert_eq!(ground.git(&["diff", "--name-only", "HEAD", &commit]), "\"d\\377/\\376\"");
}
