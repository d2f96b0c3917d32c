//! Finds and reads the root manifest and everything that it includes.
//!
//! A file is included once, by one file; identity is the canonical path, so links do not hide a cycle.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::origin::{self, MAX_BYTES, Origin};
use super::problems::Problems;
use super::{Location, names, paths, places, syntax, tree};
use crate::model::{At, Diagnostic, Digest, SourceFile, WorkspacePath};
use crate::workspace::parse_glob;

/// How many files one manifest may consist of.
pub(super) const MAX_FILES: usize = 4096;

/// A manifest file as it was parsed. Texts live in slots outside, so that trees can borrow from them.
pub(super) struct File<'s> {
    pub(super) text: &'s str,
    /// Its folder: what its paths are relative to.
    pub(super) folder: WorkspacePath,
    /// The prefix of its ids without the last `:`; empty for the root's.
    pub(super) namespace: String,
    /// Absent where it could not be parsed.
    pub(super) tree: Option<tree::Node<'s>>,
    includer: Option<usize>,
}

/// All files of a manifest.
pub(super) struct Files<'s> {
    pub(super) list: Vec<File<'s>>,
    /// Without their texts.
    pub(super) sources: Vec<SourceFile>,
    pub(super) origin: Origin,
    /// False when something was not read, so that names may be missing that exist.
    pub(super) complete: bool,
}

/// Room for [`MAX_FILES`] texts, each set once.
pub(super) fn slots() -> Vec<OnceCell<String>> {
    vec![OnceCell::new(); MAX_FILES]
}

/// Reads the manifest at `location` and all that it includes.
pub(super) fn read_all<'s>(
    location: &Location,
    slots: &'s [OnceCell<String>],
    problems: &Problems,
) -> Files<'s> {
    let mut reader = Reader {
        location,
        slots,
        problems,
        bytes_left: MAX_BYTES,
        known: HashMap::new(),
        all: Files { list: Vec::new(), sources: Vec::new(), origin: Origin::default(), complete: true },
    };
    let folder = location.file.strip_prefix(&location.root).map(path_of).map(|path| folder_of(&path));
    reader.read(&location.file, folder.unwrap_or_default(), None, At::default());
    let mut next = 0;
    while next < reader.all.list.len() {
        reader.includes_of(next);
        next += 1;
    }
    reader.all
}

fn path_of(relative: &Path) -> WorkspacePath {
    use std::os::unix::ffi::OsStrExt as _;
    WorkspacePath::new(relative.as_os_str().as_bytes()).unwrap_or_default()
}

/// The folder that a manifest's paths are relative to: its own, and for one in `.conductor` the folder
/// above.
fn folder_of(manifest: &WorkspacePath) -> WorkspacePath {
    let folder = manifest.parent().unwrap_or_default();
    if folder.name() == Some(b".conductor") { folder.parent().unwrap_or_default() } else { folder }
}

struct Reader<'s, 'p> {
    location: &'p Location,
    slots: &'s [OnceCell<String>],
    problems: &'p Problems,
    bytes_left: u64,
    /// Canonical paths of the files read so far.
    known: HashMap<PathBuf, usize>,
    all: Files<'s>,
}

impl Reader<'_, '_> {
    /// Reads one file, which `includer` names at `at`.
    fn read(&mut self, path: &Path, folder: WorkspacePath, includer: Option<usize>, at: At) {
        let number = self.all.list.len();
        let name = path.strip_prefix(&self.location.root).unwrap_or(path).display().to_string();
        let blame = |diagnostic: Diagnostic| match includer {
            Some(_) => diagnostic.label(at, "included here"),
            None => diagnostic,
        };
        let signature = crate::workspace::settled_signature(path);
        let bytes = match origin::read(path, self.bytes_left) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.all.complete = false;
                return self.problems.push(blame(
                    Diagnostic::error(
                        "manifest::too_large",
                        format!("the manifest is too large: with {name} it has more than 64 MiB"),
                    )
                    .help("is this a manifest?"),
                ));
            }
            Err(error) => {
                self.all.complete = false;
                return self.problems.push(blame(Diagnostic::error(
                    "manifest::unreadable",
                    format!("{name} cannot be read: {error}"),
                )));
            }
        };
        let Some(slot) = self.slots.get(number) else {
            self.all.complete = false;
            return self.problems.push(too_many_files(at));
        };
        self.bytes_left -= bytes.len() as u64;
        let digest = Digest::of(&bytes);
        self.all.origin.files.push(origin::Source { path: path.to_owned(), digest, signature });
        self.all.sources.push(SourceFile { name, path: path.to_owned(), digest, text: String::new() });
        let file = u32::try_from(number).unwrap_or(u32::MAX);
        let (text, bad) = decode(bytes);
        let text: &str = slot.get_or_init(|| text);
        let tree = match bad {
            Some(offset) => {
                self.problems.push(
                    Diagnostic::error("manifest::not_utf8", "a manifest is UTF-8 text")
                        .label(places::locate(text, file, offset, 3), "not UTF-8 from here on")
                        .help("convert the file to UTF-8"),
                );
                None
            }
            None => syntax::parse(file, text, self.problems),
        };
        self.all.complete &= tree.is_some();
        let namespace = self.namespace(tree.as_ref(), includer);
        self.known.insert(canonical(path), number);
        self.all.list.push(File { text, folder, namespace, tree, includer });
    }

    /// The whole namespace of a file: its includer's and its own. The root has none, whatever it says.
    fn namespace(&self, tree: Option<&tree::Node<'_>>, includer: Option<usize>) -> String {
        let Some(includer) = includer.and_then(|number| self.all.list.get(number)) else {
            return String::new();
        };
        let own = tree.and_then(|tree| tree.get("namespace")?.scalar()).filter(|own| names::is_id(own));
        own.map_or_else(|| includer.namespace.clone(), |own| names::qualify(&includer.namespace, own))
    }

    fn includes_of(&mut self, number: usize) {
        let Some(file) = self.all.list.get(number) else { return };
        let folder = file.folder.clone();
        let patterns: Vec<(String, At)> = file
            .tree
            .iter()
            .filter_map(|tree| tree.get("include"))
            .flat_map(tree::Node::items)
            .filter_map(|item| Some((item.scalar()?.to_owned(), item.at)))
            .collect();
        for (pattern, at) in patterns {
            if self.all.origin.includes.len() >= MAX_FILES {
                self.all.complete = false;
                return self.problems.push(too_many_files(at));
            }
            match expand(&self.location.root, &folder, &pattern) {
                Ok(found) => {
                    if found.is_empty() {
                        self.nothing(&pattern, at);
                    }
                    for path in &found {
                        self.include(path, number, at, &pattern);
                    }
                    self.all.origin.includes.push((folder.clone(), pattern, found));
                }
                Err(fault) => {
                    self.all.complete = false;
                    self.problems.push(paths::diagnostic(&fault, &pattern, at));
                }
            }
        }
    }

    fn nothing(&mut self, pattern: &str, at: At) {
        self.all.complete = false;
        self.problems.push(
            Diagnostic::error("manifest::include_no_match", format!("`{pattern}` matches no file"))
                .label(at, "nothing to include")
                .help("paths are relative to the folder of this file; files that git ignores do not match"),
        );
    }

    fn include(&mut self, path: &WorkspacePath, includer: usize, at: At, pattern: &str) {
        let absolute = path.under(&self.location.root);
        let Some(&known) = self.known.get(&canonical(&absolute)) else {
            let folder = folder_of(path);
            return self.read(&absolute, folder, Some(includer), at);
        };
        // A glob such as `**/conductor.yaml` may match the very file that holds it.
        if known == includer && pattern.contains(['*', '?', '[', '{']) {
            return;
        }
        let mut ancestors = std::iter::successors(Some(includer), |&number| self.all.list[number].includer);
        self.problems.push(if ancestors.any(|ancestor| ancestor == known) {
            Diagnostic::error("manifest::include_cycle", format!("{path} includes itself"))
                .label(at, "leads back to a file that includes this one")
                .help("remove one of the includes")
        } else {
            Diagnostic::error("manifest::include_twice", format!("{path} is included twice"))
                .label(at, "the second time")
                .help("a file is included once; its tasks can be named from everywhere")
        });
    }
}

fn too_many_files(at: At) -> Diagnostic {
    Diagnostic::error("manifest::too_many_files", format!("a manifest may consist of {MAX_FILES} files"))
        .label(at, "the limit is reached here")
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Text, or lossy text and where the first bad byte is.
fn decode(bytes: Vec<u8>) -> (String, Option<usize>) {
    String::from_utf8(bytes).map_or_else(
        |error| {
            let offset = error.utf8_error().valid_up_to();
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(offset))
        },
        |text| (text, None),
    )
}

/// Does `pattern` of a file in `folder` mean this file?
pub(super) fn means(folder: &WorkspacePath, pattern: &str, path: &WorkspacePath) -> bool {
    let Ok(parsed) = paths::parse(folder, pattern) else { return false };
    match parsed.literal {
        Some(literal) => literal == *path,
        None => parse_glob(&parsed.glob).is_ok_and(|glob| glob.compile_matcher().is_match(path.as_path())),
    }
}

/// The files that `pattern` of a file in `folder` matches, sorted.
pub(super) fn expand(
    root: &Path,
    folder: &WorkspacePath,
    pattern: &str,
) -> Result<Vec<WorkspacePath>, paths::Fault> {
    let parsed = paths::parse(folder, pattern)?;
    if let Some(path) = parsed.literal {
        return Ok(if path.under(root).is_file() { vec![path] } else { Vec::new() });
    }
    let glob = parse_glob(&parsed.glob).map_err(|error| paths::Fault::Glob(error.to_string()))?;
    let matcher = glob.compile_matcher();
    // The walk begins at the last folder that is written out, and goes no deeper than the glob.
    let parts: Vec<&str> = parsed.glob.split('/').collect();
    let fixed = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).count();
    let start = root.join(parts[..fixed].join("/"));
    let deep = parsed.glob.contains(['{', '[']) || parts.iter().any(|part| part.contains("**"));
    let mut walk = WalkBuilder::new(&start);
    walk.hidden(false)
        .require_git(false)
        .git_global(false)
        .git_exclude(false)
        .add_custom_ignore_filename(".conductorignore")
        .max_depth((!deep).then_some(parts.len() - fixed))
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some(".git" | ".conductor")));
    let mut found: Vec<WorkspacePath> = walk
        .build()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.path().strip_prefix(root).ok().map(path_of))
        .filter(|path| matcher.is_match(path.as_path()))
        .collect();
    found.sort();
    Ok(found)
}
