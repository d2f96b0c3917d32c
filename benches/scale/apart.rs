//! What it costs to run tasks apart: worktrees made, filled and removed beside git's own, and tasks in sandboxes and
//! worktrees beside the same tasks in the tree.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use conductor::model::WorkspacePath;
use conductor::worktree::Repository;

use crate::measure::{interleaved, once};
use crate::table::Row;
use crate::tree::{Kind, Tree};
use crate::{Result, conductor};

/// Files of the repository whose worktrees are made.
const FILES: usize = 200;

/// Three rows.
pub(crate) fn rows(rounds: usize) -> Result<()> {
    worktrees(20, rounds)?;
    let tree = Tree::make(&Kind::Layers { tasks: 100, layers: 5 })?;
    commit(tree.root())?;
    let build = |isolation: &str| Ok(conductor(&tree, &["build", "--force", "--isolation", isolation]));
    once(build("none")?)?;
    let [none, sandbox, worktree] =
        interleaved(rounds, [&mut || build("none"), &mut || build("sandbox"), &mut || build("worktree")])?;
    Row::new("100 tasks in sandboxes", sandbox).beside("in the tree", none.clone()).print();
    Row::new("  and in worktrees", worktree).beside("in the tree", none).print();
    Ok(())
}

fn worktrees(count: usize, rounds: usize) -> Result<()> {
    let tree = Tree::make(&Kind::Layers { tasks: FILES, layers: 1 })?;
    commit(tree.root())?;
    let number = count.to_string();
    let mut ours = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worktrees").arg(&number).arg(tree.root());
        Ok(command)
    };
    let script =
        "for n in $(seq $1); do git worktree add -q --detach ../w && git worktree remove --force ../w; done";
    let mut gits = || {
        let mut command = Command::new("sh");
        command.args(["-euc", script, "sh", &number]).current_dir(tree.root());
        Ok(command)
    };
    let [ours, gits] = interleaved(rounds, [&mut ours, &mut gits])?;
    let name = format!("{count} worktrees of {FILES} files");
    Row::new(&name, ours).beside("git worktree", gits).print();
    Ok(())
}

fn commit(root: &Path) -> Result<()> {
    let script =
        "git init -q && git add -A && git -c user.name=bench -c user.email=bench@localhost commit -qm bench";
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(root);
    once(command).map(drop)
}

/// `COUNT ROOT`: makes COUNT worktrees of the repository at ROOT, one after the other, with all its files, and
/// removes them.
pub(crate) fn make(args: &[OsString]) -> Result<()> {
    let [count, root] = args else { return Err("worktrees COUNT ROOT".into()) };
    let root = Path::new(root);
    let repository = Repository::discover(root).ok_or("no repository")?;
    let workspace = conductor::workspace::Tree::open(root)?;
    let files = workspace.walk(&[WorkspacePath::root()]).paths;
    let place = root.join(".conductor/workspaces/bench");
    for _ in 0..count.to_str().ok_or("COUNT")?.parse()? {
        let linked = repository.create("bench", &place)?;
        for file in &files {
            conductor::workspace::copy_file(&file.under(root), &file.under(&place))?;
        }
        linked.snapshot(&files)?;
        linked.remove()?;
    }
    Ok(())
}
