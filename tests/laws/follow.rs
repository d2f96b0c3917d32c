//! Link resolution for the oracle, in its own model of the tree. A folder exists if it holds
//! something.

use crate::oracle::World;
use crate::recipe::{Content, Entry, Read, link_text};

/// The way of a path.
pub(crate) struct Way {
    /// Each link on it, where it lies.
    pub(crate) links: Vec<String>,
    /// Where it ends.
    pub(crate) end: End,
}

/// Where a way ends.
pub(crate) enum End {
    /// At a file.
    File(String),
    /// At a folder.
    Folder(String),
    /// Where nothing is.
    Missing(String),
    /// At a folder that holds one of the links.
    Around(String),
    /// In a circle.
    Circle,
}

impl World {
    /// Follows a path, name by name.
    pub(crate) fn follow(&self, path: &str) -> Way {
        let mut links: Vec<String> = Vec::new();
        let mut at: Vec<String> = Vec::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut steps = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "." | "" => continue,
                ".." => _ = at.pop(),
                _ => at.push(name),
            }
            let here = at.join("/");
            if let Some(text) = self.disk.get(&here).and_then(link_text) {
                steps += 1;
                if steps > 40 {
                    return Way { links, end: End::Circle };
                }
                if !links.contains(&here) {
                    links.push(here);
                }
                at.pop();
                rest.extend(text.split('/').rev().map(str::to_owned));
            }
        }
        let place = at.join("/");
        let end = match () {
            () if self.disk.contains_key(&place) => End::File(place),
            () if self.below(&place).next().is_none() => End::Missing(place),
            () if links.iter().any(|link| link.starts_with(&format!("{place}/"))) => End::Around(place),
            () => End::Folder(place),
        };
        Way { links, end }
    }

    /// The folder to which links lead, where this is no folder by itself.
    pub(crate) fn folder_behind(&self, path: &str) -> Option<String> {
        let way = self.follow(path);
        match way.end {
            End::Folder(folder) if !way.links.is_empty() => Some(folder),
            _ => None,
        }
    }

    /// Everything below a folder.
    pub(crate) fn below<'w>(&'w self, folder: &str) -> impl Iterator<Item = (&'w String, &'w Content)> {
        let prefix = format!("{folder}/");
        self.disk.iter().filter(move |(path, _)| path.starts_with(&prefix))
    }

    /// The entry at a path: links on its way are followed, a link at its end is not.
    pub(crate) fn raw(&self, path: &str) -> Entry {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let place = match self.follow(folder).end {
            End::Folder(folder) | End::Around(folder) => format!("{folder}/{name}"),
            _ => path.to_owned(),
        };
        self.disk.get(&place).cloned()
    }

    /// The result of reading the path.
    pub(crate) fn read(&self, path: &str) -> Read {
        match self.follow(path).end {
            End::File(place) => Read::File(self.disk[&place].clone()),
            End::Folder(_) | End::Around(_) => Read::Folder,
            End::Missing(_) | End::Circle => Read::Nothing,
        }
    }
}
