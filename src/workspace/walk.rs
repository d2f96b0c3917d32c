//! Which paths there are: everything below a folder ([`Workspace::list`]), or what the ignore rules
//! leave of it ([`Workspace::walk`]).
//!
//! Neither follows a link, and neither enters or lists `.git` or `.conductor`.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::FileType;

use super::rules::Rules;
use super::{Error, Workspace, folder, parallel};
use crate::model::WorkspacePath;

/// What a walk found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Files, links and special files, sorted by their bytes.
    pub paths: Vec<WorkspacePath>,
    /// Folders that could not be read, sorted by their bytes: what is below them is unknown.
    pub unreadable: Vec<WorkspacePath>,
}

impl Workspace {
    /// What makes up the thing at `path`: the path itself where it is a file, a link, something special or
    /// an empty folder; else all such paths below it. Nothing where nothing is. Ignore rules do not
    /// count. Sorted by bytes.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn list(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, Error> {
        let mut paths = Vec::new();
        if self.is_folder(path) {
            self.list_folder(path, &mut paths)?;
        } else if self.signature(path).mode != 0 {
            paths.push(path.clone());
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn list_folder(&self, path: &WorkspacePath, paths: &mut Vec<WorkspacePath>) -> Result<(), Error> {
        let mut empty = true;
        let mut folders = Vec::new();
        let read = self.open_folder(path.as_bytes()).and_then(|dir| {
            folder::read(dir, |name, kind| {
                empty = false;
                if folder::is_private(name) {
                } else if kind == FileType::Directory {
                    folders.push(path.join(name));
                } else {
                    paths.push(path.join(name));
                }
            })
        });
        match read {
            Ok(()) if empty => paths.push(path.clone()),
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(Error::io("read", &path.under(&self.root), error)),
        }
        folders.iter().try_for_each(|folder| self.list_folder(folder, paths))
    }

    /// The files and links below `bases` that no rule ignores: `.gitignore` at every level (also above the
    /// workspace, inside its repository), `.git/info/exclude` and `.conductorignore`; the user's own
    /// excludes do not count, for keys must not depend on the machine. Hidden files are listed. A base
    /// that is ignored itself, that is no folder or that lies behind a link yields nothing.
    pub fn walk(&self, bases: &[WorkspacePath]) -> Listing {
        self.walk_from(bases, false)
    }

    /// As [`Self::walk`] for one folder that was written out by name, and so counts even where a rule
    /// ignores it; the rules still judge what is below it.
    pub fn walk_named(&self, folder: &WorkspacePath) -> Listing {
        self.walk_from(std::slice::from_ref(folder), true)
    }

    fn walk_from(&self, bases: &[WorkspacePath], named: bool) -> Listing {
        let mut bases: Vec<&WorkspacePath> = bases.iter().collect();
        bases.sort_unstable();
        bases.dedup_by(|later, earlier| later.is_within(earlier));
        let top = Rules::above(&self.root);
        let queue = Queue::new(bases.into_iter().filter_map(|base| self.enter(base, &top, named)).collect());
        parallel::together(|| {
            let Some(job) = queue.next() else { return false };
            let mut found = Found::default();
            self.walk_folder(&job, &mut found);
            queue.done(found);
            true
        });
        queue.finish()
    }

    /// Would a walk leave out what is, or might one day be, at `path`?
    pub fn ignores(&self, path: &WorkspacePath, is_folder: bool) -> bool {
        let mut folder = WorkspacePath::root();
        let mut rules = Rules::above(&self.root);
        for name in path.components() {
            rules = rules.enter(&self.dir, folder.as_bytes());
            folder = folder.join(name);
            let is_folder = is_folder || folder != *path;
            if folder::is_private(name) || rules.ignores(folder.as_bytes(), is_folder) {
                return true;
            }
        }
        false
    }

    /// Goes from the root down to `base`, gathering the rules on the way.
    fn enter(&self, base: &WorkspacePath, top: &Arc<Rules>, named: bool) -> Option<Job> {
        let mut folder = WorkspacePath::root();
        let mut rules = Arc::clone(top);
        for name in base.components() {
            rules = rules.enter(&self.dir, folder.as_bytes());
            folder = folder.join(name);
            let barred = folder::is_private(name) || (!named && rules.ignores(folder.as_bytes(), true));
            if barred || !self.is_folder(&folder) {
                return None;
            }
        }
        self.is_folder(&folder).then_some(Job { folder, rules })
    }

    fn walk_folder(&self, job: &Job, found: &mut Found) {
        let mut entries = Vec::new();
        let mut has_rules = false;
        let read = self.open_folder(job.folder.as_bytes()).and_then(|dir| {
            folder::read(dir, |name, kind| {
                has_rules |= Rules::come_from(name);
                if !folder::is_private(name) {
                    entries.push((job.folder.join(name), kind == FileType::Directory));
                }
            })
        });
        match read {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(_) => found.unreadable.push(job.folder.clone()),
        }
        let rules = if has_rules {
            job.rules.enter(&self.dir, job.folder.as_bytes())
        } else {
            Arc::clone(&job.rules)
        };
        for (path, is_folder) in entries {
            if rules.ignores(path.as_bytes(), is_folder) {
                continue;
            }
            if is_folder {
                found.folders.push(Job { folder: path, rules: Arc::clone(&rules) });
            } else {
                found.paths.push(path);
            }
        }
    }
}

/// It was there a moment ago: someone is working in the tree. It is as if the walk had begun later.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A folder to read, with the rules that hold for it.
struct Job {
    folder: WorkspacePath,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Found {
    folders: Vec<Job>,
    paths: Vec<WorkspacePath>,
    unreadable: Vec<WorkspacePath>,
}

/// The folders still to read, what was found, and how many threads are reading one now.
struct Queue {
    state: Mutex<(Found, usize)>,
    changed: Condvar,
}

impl Queue {
    fn new(folders: Vec<Job>) -> Self {
        let found = Found { folders, ..Found::default() };
        Self { state: Mutex::new((found, 0)), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, (Found, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; none when all are read. Waits while another thread may still find one.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.0.folders.pop() {
                state.1 += 1;
                return Some(job);
            }
            if state.1 == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, mut found: Found) {
        let mut state = self.lock();
        state.0.folders.append(&mut found.folders);
        state.0.paths.append(&mut found.paths);
        state.0.unreadable.append(&mut found.unreadable);
        state.1 -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn finish(self) -> Listing {
        let (found, _) = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut listing = Listing { paths: found.paths, unreadable: found.unreadable };
        listing.paths.sort_unstable();
        listing.unreadable.sort_unstable();
        listing
    }
}

#[cfg(test)]
mod tests {
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
        texts(&Workspace::open(root).unwrap().walk(&bases).paths)
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
        let workspace = Workspace::open(tree.path()).unwrap();
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
    fn a_walk_lists_hidden_files_and_links_and_follows_none() {
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
        assert_eq!(walk(tree.path(), &["dir", "dir/file", "dir", "nothing"]), ["dir/file"]);
        assert!(walk(tree.path(), &["link", ".git", "dir/.conductor"]).is_empty());
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
        let workspace = Workspace::open(tree.path()).unwrap();
        assert!(walk(tree.path(), &["build"]).is_empty() && walk(tree.path(), &["build/deep"]).is_empty());
        assert_eq!(texts(&workspace.walk_named(&path("build")).paths), ["build/deep/x"]);
        assert_eq!(texts(&workspace.walk_named(&path("build/deep")).paths), ["build/deep/x"]);
    }

    #[test]
    fn what_a_walk_would_leave_out_is_ignored_whether_it_is_there_or_not() {
        let tree = tree(&[(".gitignore", "build/\n*.o\n!keep.o\n"), ("src/.gitignore", "/gen\n")]);
        let workspace = Workspace::open(tree.path()).unwrap();
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
            let mut expected: Vec<&[u8]> =
                listed.split(|byte| *byte == 0).filter(|p| !p.is_empty()).collect();
            expected.sort_unstable();
            let expected: Vec<String> =
                expected.iter().map(|path| WorkspacePath::new(path).unwrap().to_text()).collect();
            let found = walk(&root, &[""]);
            assert!(expected.len() > 50, "only {} paths below {}", expected.len(), root.display());
            for path in &expected {
                assert!(found.contains(path), "git finds {path} below {}", root.display());
            }
            for path in &found {
                assert!(expected.contains(path), "git does not find {path} below {}", root.display());
            }
        }
    }
}
