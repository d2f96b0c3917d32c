//! Commits: of what a task sees, and of what it made.

use std::path::{Path, PathBuf};

use git2::{Oid, Signature, Time};

use super::tree::{self, Change};
use super::{Error, Repository, blob, parse_id};
use crate::model::{Digest, WorkspacePath};

/// Who commits where git's configuration names nobody.
const NAME: &str = "conductor";
const EMAIL: &str = "conductor@localhost";

/// The time of every commit of what a task sees, so that the same files make the same commit: 2000-01-01.
const FIXED_TIME: i64 = 946_684_800;

/// What a path holds in a commit. Paths that are folders are not named: git has none without files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes of a file.
    File {
        /// Where they are now.
        from: PathBuf,
        /// May its owner execute it?
        executable: bool,
        /// What was accepted: the commit fails if the file holds anything else by now.
        expected: Option<Digest>,
    },
    /// A symbolic link with this text.
    Link(Vec<u8>),
    /// The same as in that commit (a hexadecimal id); nothing where it has nothing there.
    AsIn(String),
    /// Nothing. A folder goes with all that is in it.
    Absent,
}

/// The trailers that name what a commit is the result of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailers {
    /// The task's id: `Conductor-Task`.
    pub task: String,
    /// The run: `Conductor-Run`.
    pub run: String,
    /// The action key: `Conductor-Key`.
    pub key: String,
}

/// What to commit: HEAD's tree with some paths changed.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// The paths that are other than in HEAD: what the task's needs made, then what it made itself. The last one of a
    /// path counts.
    pub entries: &'a [(WorkspacePath, Content)],
    /// The tips of the branches it needs, hexadecimal.
    pub needs: &'a [String],
    /// The first line of the message.
    pub title: &'a str,
    /// The end of the message.
    pub trailers: &'a Trailers,
}

impl Repository {
    /// Commits `commit` on top of HEAD, and returns its id. No branch moves, and neither the index nor a file is read
    /// or written; hooks do not run, and nothing is signed.
    ///
    /// The first parent is HEAD (none before the first commit). Then come those of `needs` that are not contained in HEAD or in
    /// another one of them: what they hold is reachable anyway, and a merge of git's leaves such parents out too.
    ///
    /// A file is stored as `git add` would: line ends as the repository wants them (`.gitattributes`, `core.autocrlf`).
    /// Programs of filters (LFS) do not run. Files in the tree of HEAD that are not named stay, submodules too.
    ///
    /// # Errors
    /// A file cannot be read or is not what was accepted, a path lies in a submodule or is not for git, a commit of
    /// `needs` is not there, or git's folder cannot be written.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<String, Error> {
        let git = self.lock();
        let head = head(&git)?;
        let mut changes = Vec::with_capacity(commit.entries.len());
        for (path, content) in commit.entries {
            let path = self.path_in_git(path)?;
            let change = change(&git, &path, content)?;
            changes.push((path, change));
        }
        let base = head
            .as_ref()
            .map(git2::Commit::tree)
            .transpose()
            .map_err(Error::git("read the tree of", "HEAD"))?;
        let tree = tree::edit(&git, base.as_ref(), changes)?;
        let parents = parents(&git, head.map(|head| head.id()), commit.needs)?;
        write(&git, tree, &parents, &message(commit.title, commit.trailers)).map(|id| id.to_string())
    }

    /// The trailers of a commit that conductor made of a task's result; none where it made none.
    ///
    /// # Errors
    /// There is no such commit.
    pub fn trailers(&self, commit: &str) -> Result<Option<Trailers>, Error> {
        let git = self.lock();
        let found = git.find_commit(parse_id(commit)?).map_err(Error::git("read the commit", commit))?;
        let text = String::from_utf8_lossy(found.message_bytes());
        let value = |name: &str| {
            let lines = text.trim_end().rsplit("\n\n").next().unwrap_or_default().lines();
            lines.rev().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        let trailers = || {
            let [task, run, key] = ["Conductor-Task", "Conductor-Run", "Conductor-Key"].map(value);
            Some(Trailers { task: task?, run: run?, key: key? })
        };
        Ok(trailers())
    }
}

/// The commit of `tree` that a task sees.
pub(super) fn seen(git: &git2::Repository, tree: Oid) -> Result<Oid, Error> {
    let who = Signature::new(NAME, EMAIL, &Time::new(FIXED_TIME, 0)).map_err(Error::git("name", NAME))?;
    let tree = git.find_tree(tree).map_err(Error::git("read the tree", tree))?;
    git.commit(None, &who, &who, "What the task sees\n", &tree, &[]).map_err(Error::git("write", "a commit"))
}

/// The commit that HEAD stands at; none before the first one.
pub(super) fn head(git: &git2::Repository) -> Result<Option<git2::Commit<'_>>, Error> {
    match git.head() {
        Ok(head) => head.peel_to_commit().map(Some).map_err(Error::git("read the commit of", "HEAD")),
        Err(error) if error.code() == git2::ErrorCode::UnbornBranch => Ok(None),
        Err(error) => Err(Error::git("read", "HEAD")(error)),
    }
}

/// A commit by whom git's configuration names, now, which no reference leads to yet.
pub(super) fn write(git: &git2::Repository, tree: Oid, parents: &[Oid], message: &str) -> Result<Oid, Error> {
    let author = signature(git, "author")?;
    let committer = signature(git, "committer")?;
    let tree = git.find_tree(tree).map_err(Error::git("read the tree", tree))?;
    let parents: Vec<git2::Commit<'_>> = parents
        .iter()
        .map(|id| git.find_commit(*id).map_err(Error::git("read the commit", id)))
        .collect::<Result<_, _>>()?;
    let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
    git.commit(None, &author, &committer, message, &tree, &parents).map_err(Error::git("write", "a commit"))
}

/// Who commits: `author.name` and `author.email` (or `committer.…`), else `user.…`, else conductor.
pub(super) fn signature(git: &git2::Repository, role: &str) -> Result<Signature<'static>, Error> {
    let config = git.config().and_then(|mut config| {
        // libgit2 knows only the user's usual file. Where git is told of another one that cannot be read, that stays.
        if let Some(file) = std::env::var_os("GIT_CONFIG_GLOBAL").filter(|file| !file.is_empty()) {
            let _ = config.add_file(Path::new(&file), git2::ConfigLevel::Global, true);
        }
        config.snapshot()
    });
    let value = |name: &str| {
        let config = config.as_ref().ok()?;
        let of = |section: &str| config.get_string(&format!("{section}.{name}")).ok();
        of(role).or_else(|| of("user")).filter(|value| !value.trim().is_empty())
    };
    if let (Some(name), Some(email)) = (value("name"), value("email"))
        && let Ok(who) = Signature::now(&name, &email)
    {
        return Ok(who);
    }
    Signature::now(NAME, EMAIL).map_err(Error::git("name", NAME))
}

fn change(git: &git2::Repository, path: &WorkspacePath, content: &Content) -> Result<Change, Error> {
    Ok(match content {
        Content::File { from, executable, expected } => {
            let id = blob::store_as_added(git, from, path, expected.as_ref())?;
            Change::Set(id, if *executable { 0o100_755 } else { 0o100_644 })
        }
        Content::Link(text) => Change::Set(git.blob(text).map_err(Error::git("store", path))?, 0o120_000),
        Content::AsIn(commit) => {
            let found = git.find_commit(parse_id(commit)?).and_then(|commit| commit.tree());
            let tree = found.map_err(Error::git("read the commit", commit))?;
            match tree.get_path(path.as_path()) {
                Ok(entry) => Change::Set(entry.id(), entry.filemode()),
                Err(error) if error.code() == git2::ErrorCode::NotFound => Change::Remove,
                Err(error) => return Err(Error::git("look up", format!("{path} in {commit}"))(error)),
            }
        }
        Content::Absent => Change::Remove,
    })
}

/// HEAD, then the needed tips without those that another parent contains.
fn parents(git: &git2::Repository, head: Option<Oid>, needs: &[String]) -> Result<Vec<Oid>, Error> {
    let mut tips: Vec<Oid> = Vec::new();
    for need in needs {
        let tip = parse_id(need)?;
        if Some(tip) != head && !tips.contains(&tip) {
            tips.push(tip);
        }
    }
    let mut parents: Vec<Oid> = head.into_iter().collect();
    for tip in &tips {
        let mut contained = false;
        for other in head.iter().chain(&tips).filter(|other| *other != tip) {
            contained |= git.graph_descendant_of(*other, *tip).map_err(Error::git("compare with", other))?;
        }
        if !contained {
            parents.push(*tip);
        }
    }
    Ok(parents)
}

fn message(title: &str, trailers: &Trailers) -> String {
    let line =
        |text: &str| text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ").trim().to_owned();
    let title = Some(line(title)).filter(|title| !title.is_empty()).unwrap_or_else(|| line(&trailers.task));
    format!(
        "{title}\n\nConductor-Task: {}\nConductor-Run: {}\nConductor-Key: {}\n",
        line(&trailers.task),
        line(&trailers.run),
        line(&trailers.key)
    )
}
