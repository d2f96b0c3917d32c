//! Walks and lists of small trees, and of a large one against git's own listing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::*;

fn path(text: &str) -> WorkspacePath {
    if text.is_empty() { WorkspacePath::root() } else { WorkspacePath::new(text).unwrap() }
}

/// A folder with these files in it; a name that ends in `/` is a folder, `a -> b` a link.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let (name, target) = name.split_once(" -> ").map_or((*name, None), |(a, b)| (a, Some(b)));
        let path = folder.path().join(name);
        fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
        match target {
            Some(target) => symlink(target, path).unwrap(),
            None if name.ends_with('/') => {}
            None => fs::write(path, content).unwrap(),
        }
    }
    folder
}

fn walk(root: &Path, bases: &[&str]) -> Vec<String> {
    let bases: Vec<WorkspacePath> = bases.iter().map(|base| path(base)).collect();
    texts(&Root::open(root).unwrap().walk(&bases).paths)
}

fn texts(paths: &[WorkspacePath]) -> Vec<String> {
    paths.iter().map(WorkspacePath::to_text).collect()
}

#[test]
fn a_list_holds_files_links_and_empty_folders_sorted_by_bytes() {
    let tree = tree(&[
        ("out/b", ""),
        ("out/a/x", ""),
        ("out/a.txt", ""),
        ("out/empty/", ""),
        ("out/link -> a", ""),
        ("out/.hidden", ""),
        ("out/.gitignore", "*"),
        ("out/.git/config", ""),
        ("out/sub/.conductor/state", ""),
    ]);
    let workspace = Root::open(tree.path()).unwrap();
    let list = |text: &str| texts(&workspace.list(&path(text)).unwrap());
    let all = ["out/.gitignore", "out/.hidden", "out/a.txt", "out/a/x", "out/b", "out/empty", "out/link"];
    assert_eq!(list("out"), all);
    assert_eq!(list(""), all);
    assert_eq!(list("out/b"), ["out/b"]);
    assert_eq!(list("out/link"), ["out/link"]);
    assert_eq!(list("out/empty"), ["out/empty"]);
    assert!(list("out/nothing").is_empty() && list("out/b/below").is_empty());
}

#[test]
fn a_walk_lists_hidden_files_and_links_and_enters_no_link_that_it_finds() {
    let tree = tree(&[
        (".hidden/.file", ""),
        ("dir/file", ""),
        ("link -> dir", ""),
        ("dangling -> nowhere", ""),
        (".git/HEAD", ""),
        ("dir/.conductor/state", ""),
        ("empty/", ""),
        (".conductor-tmp-x", ""),
    ]);
    assert_eq!(walk(tree.path(), &[""]), [".hidden/.file", "dangling", "dir/file", "link"]);
    assert_eq!(walk(tree.path(), &["dir", "dir/file", "dir.b", "dir", "nothing"]), ["dir/file"]);
    assert_eq!(walk(tree.path(), &[".hidden", "dir", ""]).len(), 4);
    assert!(walk(tree.path(), &["dangling", ".git", "dir/.conductor"]).is_empty());
}

#[test]
fn a_base_behind_links_yields_what_is_in_the_folder_by_its_rules_and_named_through_the_base() {
    let tree = tree(&[
        (".gitignore", "*.log\n/link\n/hidden"),
        ("dir/sub/file", ""),
        ("dir/sub/x.log", ""),
        ("dir/again -> sub", ""),
        ("hidden/file", ""),
        ("link -> dir", ""),
        ("deep/link -> ../link/sub", ""),
        ("secret -> hidden", ""),
        ("round -> .", ""),
        ("out -> /etc", ""),
    ]);
    assert_eq!(walk(tree.path(), &["link"]), ["link/again", "link/sub/file"]);
    assert_eq!(walk(tree.path(), &["link/again", "link/sub"]), ["link/again/file", "link/sub/file"]);
    assert_eq!(walk(tree.path(), &["deep/link", "dir/sub"]), ["deep/link/file", "dir/sub/file"]);
    assert!(walk(tree.path(), &["secret", "round", "out", "link/sub/file"]).is_empty());
    let named = Root::open(tree.path()).unwrap().walk_named(&path("secret"));
    assert_eq!(named.paths, [path("secret/file")]);
}

#[test]
fn rules_hold_outside_of_a_repository_but_not_those_from_above_it() {
    let tree = tree(&[
        (".gitignore", "*"),
        (".conductorignore", "*"),
        ("ws/.gitignore", "*.o\n"),
        ("ws/a.o", ""),
        ("ws/a.c", ""),
    ]);
    assert_eq!(walk(&tree.path().join("ws"), &[""]), [".gitignore", "a.c"]);
}

#[test]
fn rules_from_above_the_workspace_hold_inside_its_repository() {
    let tree = tree(&[
        (".gitignore", "never"),
        ("repo/.git/HEAD", ""),
        ("repo/.git/info/exclude", "excluded\n"),
        ("repo/.gitignore", "*.o\n/ws/anchored\n"),
        ("repo/ws/.gitignore", "!keep.o\n"),
        ("repo/ws/a.o", ""),
        ("repo/ws/keep.o", ""),
        ("repo/ws/anchored", ""),
        ("repo/ws/deep/anchored", ""),
        ("repo/ws/never", ""),
        ("repo/ws/deep/excluded", ""),
    ]);
    let expected = [".gitignore", "deep/anchored", "keep.o", "never"];
    assert_eq!(walk(&tree.path().join("repo/ws"), &[""]), expected);
}

#[test]
fn conductors_own_rules_go_before_those_of_git() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".gitignore", "*.log\n"),
        (".conductorignore", "!keep.log\ndata/\n"),
        ("a.log", ""),
        ("keep.log", ""),
        ("data/x", ""),
    ]);
    assert_eq!(walk(tree.path(), &[""]), [".conductorignore", ".gitignore", "keep.log"]);
}

#[test]
fn a_nested_repository_has_its_own_rules() {
    let tree = tree(&[
        (".git/HEAD", ""),
        (".gitignore", "*.o\n"),
        ("sub/.git/HEAD", ""),
        ("sub/.gitignore", "*.tmp\n"),
        ("sub/a.o", ""),
        ("sub/a.tmp", ""),
        ("a.o", ""),
    ]);
    assert_eq!(walk(tree.path(), &[""]), [".gitignore", "sub/.gitignore", "sub/a.o"]);
    assert_eq!(walk(tree.path(), &["sub"]), ["sub/.gitignore", "sub/a.o"]);
}

#[test]
fn a_base_that_is_ignored_yields_nothing_unless_it_was_named() {
    let tree = tree(&[(".gitignore", "build/\n*.o\n"), ("build/deep/x", ""), ("build/deep/x.o", "")]);
    let workspace = Root::open(tree.path()).unwrap();
    assert!(walk(tree.path(), &["build"]).is_empty() && walk(tree.path(), &["build/deep"]).is_empty());
    assert_eq!(texts(&workspace.walk_named(&path("build")).paths), ["build/deep/x"]);
    assert_eq!(texts(&workspace.walk_named(&path("build/deep")).paths), ["build/deep/x"]);
}

#[test]
fn what_a_walk_would_leave_out_is_ignored_whether_it_is_there_or_not() {
    let tree = tree(&[(".gitignore", "build/\n*.o\n!keep.o\n"), ("src/.gitignore", "/gen\n")]);
    let workspace = Root::open(tree.path()).unwrap();
    for (text, is_folder, ignored) in [
        ("build", true, true),
        ("build", false, false),
        ("build/deep/keep.o", false, true),
        ("a.o", false, true),
        ("deep/keep.o", false, false),
        ("src/gen/x", false, true),
        ("src/a/gen", false, false),
        ("a/.git", true, true),
    ] {
        assert_eq!(workspace.ignores(&path(text), is_folder), ignored, "{text}");
    }
}

fn git(root: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Two thousand files whose names, folders and rules a small generator picks.
fn random_tree(root: &Path) {
    let mut seed = 42_u32;
    let mut pick = |from: &[&str]| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        from[(seed >> 16) as usize % from.len()].to_owned()
    };
    let folders = ["src", "gen", "build", "a b", ".hidden", "x{y}", "#hash", "!bang"];
    let names = ["main", "test", "keep", "tmp", "a.b", "trailing ", "{a,b}", "ä"];
    let ends = [".rs", ".o", ".log", "", ".TXT"];
    let rules = [
        "*.o",
        "!keep.o",
        "/build",
        "gen/",
        "!gen/",
        "build/**",
        "**/tmp.log",
        "src/*.log",
        "!src/keep.*",
        "[mt]*.TXT",
        "*.[!or]*",
        "\\#hash",
        "\\!bang",
        "# comment",
        "",
        "trailing\\ .rs",
        "{a,b}.rs",
        "a?b",
        "!/src",
        "**/gen/**",
        "!**/keep.rs",
        "ä.log",
        "*.rs   ",
        "x{y}/",
        "/*/test.*",
        "test",
    ];
    for _ in 0..2000 {
        let mut path = root.to_owned();
        while pick(&["down", "down", "stop"]) == "down" {
            path.push(pick(&folders));
        }
        fs::create_dir_all(&path).unwrap();
        if pick(&["", "", "", "", "", "", "", "", "", "", "", "rules"]) == "rules" {
            let lines: Vec<String> = (0..5).map(|_| pick(&rules)).collect();
            fs::write(path.join(".gitignore"), lines.join("\n")).unwrap();
        }
        fs::write(path.join(pick(&names) + &pick(&ends)), "").unwrap();
    }
}

#[test]
fn a_walk_finds_what_git_finds() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"]);
    random_tree(folder.path());
    fs::write(folder.path().join(".git/info/exclude"), "*.log\n!main.log\n").unwrap();
    // Not a folder that its repository ignores: git finds nothing there, but a workspace counts.
    for root in [folder.path().to_owned(), folder.path().join("src"), folder.path().join("a b")] {
        let listed = git(&root, &["ls-files", "-co", "--exclude-standard", "-z"]);
        let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        let expected: BTreeSet<String> =
            paths.map(|path| WorkspacePath::new(path).unwrap().to_text()).collect();
        assert!(expected.len() > 50, "only {} paths below {}", expected.len(), root.display());
        let found: BTreeSet<String> = walk(&root, &[""]).into_iter().collect();
        let missed: Vec<_> = expected.difference(&found).collect();
        let extra: Vec<_> = found.difference(&expected).collect();
        assert!(missed.is_empty() && extra.is_empty(), "missed {missed:?}, and found {extra:?}");
    }
}
