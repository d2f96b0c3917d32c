//! Makes the workspaces that are measured: a manifest, its sources, and the list of all its files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Result;

/// What kind of graph.
pub(crate) enum Kind {
    /// Tasks in layers; each copies a source of its own to an output and needs two tasks of the layer before.
    Layers { tasks: usize, layers: usize },
    /// Independent tasks without files; each gives its number, a line of the list, to a program that does nothing.
    Processes { tasks: usize },
}

/// A workspace in a temporary folder.
pub(crate) struct Tree {
    folder: tempfile::TempDir,
    root: PathBuf,
    list: PathBuf,
    tasks: usize,
    layer: usize,
}

impl Tree {
    pub(crate) fn make(kind: &Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("conductor-bench-").tempdir()?;
        let (root, list) = (folder.path().join("tree"), folder.path().join("list"));
        std::fs::create_dir(&root)?;
        let (tasks, layer) = match kind {
            Kind::Layers { tasks, layers } => (*tasks, tasks.div_ceil(*layers)),
            Kind::Processes { tasks } => (*tasks, 0),
        };
        let tree = Self { folder, root, list, tasks, layer };
        match kind {
            Kind::Layers { .. } => tree.write_layers()?,
            Kind::Processes { .. } => tree.write_processes()?,
        }
        Ok(tree)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every source and every output, a line each, from the root.
    pub(crate) fn list(&self) -> &Path {
        &self.list
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.root.join("conductor.yaml")
    }

    pub(crate) fn source(&self, task: usize) -> PathBuf {
        self.root.join(file("src", task))
    }

    pub(crate) fn output(&self, task: usize) -> PathBuf {
        self.root.join(file("out", task))
    }

    /// The task whose source is edited, and those that need it.
    pub(crate) fn cone(&self) -> Vec<usize> {
        let edited = self.tasks / 2;
        let mut cone = vec![edited];
        cone.extend((0..self.tasks).filter(|task| self.needs(*task).contains(&edited)));
        cone
    }

    /// Gives the edited source a content that it never had.
    pub(crate) fn edit(&self, number: usize) -> Result<()> {
        Ok(std::fs::write(self.source(self.tasks / 2), format!("edit {number}\n"))?)
    }

    /// Two of the layer before, spread so that neighbours do not share theirs.
    fn needs(&self, task: usize) -> Vec<usize> {
        if task < self.layer {
            return Vec::new();
        }
        let (before, place) = ((task / self.layer - 1) * self.layer, task % self.layer);
        let mut needs = vec![before + place, before + (place * 7 + 3) % self.layer];
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    fn write_layers(&self) -> Result<()> {
        let (mut yaml, mut list) = (String::from("conductor: 1\ntasks:\n"), String::new());
        for task in 0..self.tasks {
            let (source, output) = (file("src", task), file("out", task));
            let needs: Vec<String> = self.needs(task).into_iter().map(id).collect();
            let needs = needs.join(", ");
            writeln!(yaml, "  {}:\n    needs: [{needs}]\n    inputs: [{source}]", id(task))?;
            writeln!(yaml, "    outputs: [{output}]\n    run: [/bin/cp, {source}, {output}]")?;
            writeln!(list, "{source}\n{output}")?;
            let path = self.source(task);
            if task % 1000 == 0 {
                std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
            }
            std::fs::write(path, format!("source {task}\n"))?;
        }
        std::fs::write(self.manifest(), yaml)?;
        Ok(std::fs::write(&self.list, list)?)
    }

    fn write_processes(&self) -> Result<()> {
        let mut yaml = String::from("conductor: 1\ntasks:\n");
        for task in 0..self.tasks {
            writeln!(yaml, "  {}: {{ inputs: [], run: [/bin/true, \"{task}\"] }}", id(task))?;
        }
        std::fs::write(self.manifest(), yaml)?;
        let list: Vec<String> = (0..self.tasks).map(|task| task.to_string()).collect();
        Ok(std::fs::write(&self.list, list.join("\n"))?)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Kept where somebody asks for it, to be looked at with other tools.
        if std::env::var_os("CONDUCTOR_BENCH_KEEP").is_some() {
            self.folder.disable_cleanup(true);
        }
    }
}

fn id(task: usize) -> String {
    format!("t{task:06}")
}

fn file(folder: &str, task: usize) -> String {
    format!("{folder}/{:03}/{task:06}.txt", task / 1000)
}
