//! `conductor.lock`: recorded results in a form that is committed with the sources. Parses and writes it; knows not
//! what follows from a line. (The build's own lock is [`super::Lock`].)
//!
//! One line of JSON a task, sorted by the tasks' ids, a blank line between any two, so that git merges changes of
//! neighbours. Two different lines for one task, which a merge may leave, are both candidates. Whatever else a file
//! of that name holds is damage: it is told with its line, and every line that is whole still counts.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::model::{At, Diagnostic, Digest, Encoder, LOCKFILE, Locked, SourceFile, Sources, TaskId};

use super::{Error, durable};

/// The version that this program writes, and the only one that it reads.
const VERSION: &str = "1";
/// What the header begins with; the version follows.
const MAGIC: &str = "# conductor.lock ";
/// No lock is as large as that; offsets in it fit into 32 bits.
const LIMIT: u64 = 1 << 30;
/// The entry of `.conductor/` that holds a [`LockStamp`].
const STAMP: &str = "locked";
/// So many damaged lines are told one by one.
const MAX_TOLD: usize = 20;

/// What a `conductor.lock` says.
#[derive(Default)]
pub struct Lockfile {
    lines: BTreeMap<TaskId, Vec<Locked>>,
    damage: Vec<Diagnostic>,
    sources: Sources,
    newer: bool,
}

impl Lockfile {
    /// The lock of the workspace at `root`; none where there is none.
    pub fn read(root: &Path) -> Option<Self> {
        let path = root.join(LOCKFILE);
        match read(&path) {
            Ok(bytes) => Some(Self::parse(&path, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let message = format!("cannot read {LOCKFILE}: {error}");
                let damage = Diagnostic::error("lock::unreadable", message)
                    .help("remove what is there; `conductor lock` writes a new one");
                Some(Self { damage: vec![damage], ..Self::default() })
            }
        }
    }

    /// Is there one at all?
    pub fn exists(root: &Path) -> bool {
        root.join(LOCKFILE).symlink_metadata().is_ok()
    }

    fn parse(path: &Path, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut found = Self::default();
        let (mut offset, mut header) = (0, false);
        for (number, line) in (1_u32..).zip(text.split('\n')) {
            let at = At {
                file: 0,
                offset,
                length: u32::try_from(line.len()).unwrap_or(u32::MAX),
                line: number,
                column: 1,
            };
            offset = offset.saturating_add(at.length).saturating_add(1);
            let line = line.trim_end_matches('\r');
            if let Some(version) = version(line) {
                header = true;
                if version.is_empty() {
                    found.tell(at, "this header has no version", "");
                } else if version != VERSION {
                    found.newer = true;
                    found.damage.push(unknown_version(at));
                    break;
                }
            } else if !line.is_empty() {
                found.take(line, at);
            }
        }
        if !header && !found.lines.is_empty() && found.damage.is_empty() {
            let at = At { line: 1, column: 1, ..At::default() };
            found.tell(at, "no header says which format this is", "");
        }
        let more = found.damage.len().saturating_sub(MAX_TOLD);
        found.damage.truncate(MAX_TOLD);
        if more > 0 {
            let message = format!("{more} more lines of {LOCKFILE} are damaged");
            found.damage.push(Diagnostic::error("lock::damaged", message));
        }
        let file =
            SourceFile { name: LOCKFILE.to_owned(), path: path.to_owned(), digest: Digest::of(bytes), text };
        found.sources = Sources { files: vec![file] };
        found
    }

    fn take(&mut self, line: &str, at: At) {
        let marker = |mark: &str| line.starts_with(mark);
        if ["<<<<<<<", "|||||||", "=======", ">>>>>>>"].into_iter().any(marker) {
            self.tell(
                at,
                "a merge has left this conflict",
                "keep the lines of both sides, without the marks; ",
            );
            return;
        }
        match serde_json::from_str::<Locked>(line) {
            Ok(locked) => self.add(locked),
            Err(error) => {
                // The place within the line helps nobody.
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or_default();
                self.tell(at, &format!("this is no line of a lock: {said}"), "");
            }
        }
    }

    fn add(&mut self, locked: Locked) {
        let lines = self.lines.entry(locked.task.clone()).or_default();
        if !lines.contains(&locked) {
            lines.push(locked);
        }
    }

    fn tell(&mut self, at: At, what: &str, help: &str) {
        let message = format!("{LOCKFILE} is damaged in line {}", at.line);
        let help = format!("{help}`conductor build` and `conductor lock` write it anew");
        self.damage.push(Diagnostic::error("lock::damaged", message).label(at, what).help(help));
    }

    /// What is wrong with it, each with its line.
    pub fn damage(&self) -> &[Diagnostic] {
        &self.damage
    }

    /// The text, to show damage in.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Written by a conductor that knows more: not to be overwritten.
    pub fn is_newer(&self) -> bool {
        self.newer
    }

    /// What it says of a task: nothing, one line, or what a merge has brought together.
    pub fn candidates(&self, task: &TaskId) -> &[Locked] {
        self.lines.get(task).map_or(&[], Vec::as_slice)
    }

    /// How many tasks it speaks of.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Does it speak of no task?
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The same text as it was read from?
    pub fn says(&self, text: &str) -> bool {
        self.sources.files.first().is_some_and(|file| file.text == text)
    }

    /// The text of a lock that says this.
    pub fn render(lines: impl IntoIterator<Item = Locked>) -> String {
        let mut sorted: BTreeMap<TaskId, Vec<String>> = BTreeMap::new();
        for locked in lines {
            let task = locked.task.clone();
            // Text and digests are always JSON.
            sorted.entry(task).or_default().push(serde_json::to_string(&locked).unwrap_or_default());
        }
        let mut text =
            format!("{MAGIC}{VERSION}: accepted results, one line a task; `conductor lock` writes it\n");
        for line in sorted.into_values().flatten() {
            text.push('\n');
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Puts it there: the old one or the whole new one, whatever happens.
    pub fn write(root: &Path, text: &str) -> Result<(), Error> {
        let path = root.join(LOCKFILE);
        durable::remove_leftovers(&path);
        durable::replace(&path, |file| file.write_all(text.as_bytes()))
    }
}

/// Signatures of the lock, of the state that it was made from, and of what it was made for: as long as all of them are
/// the same, so is its text.
#[derive(PartialEq, Eq, Debug)]
pub struct LockStamp(Digest);

impl LockStamp {
    /// As things are now; `covers` says what the lock was brought up to date for.
    pub fn of(root: &Path, dir: &Path, covers: Digest) -> Self {
        let mut encoder = Encoder::new("conductor lock stamp 1");
        encoder.digest(&covers);
        for path in [root.join(LOCKFILE), dir.join("state"), dir.join("state.log")] {
            let Ok(metadata) = path.symlink_metadata() else {
                encoder.tag(0);
                continue;
            };
            encoder.tag(1);
            let (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
            for number in [metadata.len(), metadata.ino(), seconds.cast_unsigned(), nanos.cast_unsigned()] {
                encoder.bytes(&number.to_le_bytes());
            }
        }
        Self(encoder.finish())
    }

    /// That of the last build, kept in `dir` (`.conductor`).
    pub fn read(dir: &Path) -> Option<Self> {
        std::fs::read_to_string(dir.join(STAMP)).ok()?.parse().ok().map(Self)
    }

    /// Keeps it for the next build.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        std::fs::write(dir.join(STAMP), self.0.to_hex())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if metadata.len() > LIMIT {
        return Err(io::Error::other("it is larger than 1 GiB"));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Of a header line the version, as it stands there.
fn version(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(MAGIC)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)
}

fn unknown_version(at: At) -> Diagnostic {
    let message = format!("{LOCKFILE} has a format that this conductor does not know");
    Diagnostic::error("lock::version", message)
        .label(at, format!("known is format {VERSION}"))
        .help("use the conductor that wrote it, or remove the file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Action;

    fn locked(task: &str, content: &str) -> Locked {
        let action = Action { definition: vec![("run".into(), content.into())], ..Action::default() };
        let components = action.components();
        Locked {
            task: TaskId::new(task),
            key: components.key(),
            validation_key: Digest::of(content.as_bytes()),
            components,
            tools: Vec::new(),
            discovered: Vec::new(),
            outputs: Vec::new(),
            edited: Vec::new(),
            on_branch: false,
        }
    }

    fn parse(text: &str) -> Lockfile {
        Lockfile::parse(Path::new("/w/conductor.lock"), text.as_bytes())
    }

    /// The lines that are told as damaged.
    fn damaged(text: &str) -> Vec<u32> {
        parse(text).damage().iter().map(|damage| damage.labels[0].at.line).collect()
    }

    #[test]
    fn lines_are_sorted_and_a_blank_one_is_between_any_two() {
        let text = Lockfile::render([locked("B", "1"), locked("A", "1"), locked("A.b", "1")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[0].starts_with("# conductor.lock 1:"));
        for (at, task) in [(2, "\"A\""), (4, "\"A.b\""), (6, "\"B\"")] {
            assert_eq!(lines[at - 1], "");
            assert!(lines[at].starts_with(&format!("{{\"task\":{task},")), "{}", lines[at]);
        }
        let again = parse(&text);
        assert!(again.damage().is_empty() && again.says(&text));
        assert_eq!(again.candidates(&TaskId::new("A.b")), [locked("A.b", "1")]);
    }

    #[test]
    fn two_lines_for_one_task_are_both_candidates_and_one_line_twice_is_one() {
        let text = Lockfile::render([locked("A", "1"), locked("A", "2"), locked("A", "1")]);
        let found = parse(&text);
        assert!(found.damage().is_empty());
        assert_eq!(found.candidates(&TaskId::new("A")), [locked("A", "1"), locked("A", "2")]);
    }

    #[test]
    fn damage_is_told_with_its_line_and_the_other_lines_count() {
        let text = Lockfile::render([locked("A", "1"), locked("B", "2")]);
        assert_eq!(damaged(&text.replace('\n', "\r\n")), [0; 0]);
        let (head, line) = (text.lines().next().unwrap(), text.lines().nth(2).unwrap());
        let conflict = format!("{head}\n\n<<<<<<< ours\n{line}\n=======\n{line}\n>>>>>>> theirs\n");
        assert_eq!(damaged(&conflict), [3, 5, 7]);
        assert_eq!(parse(&conflict).candidates(&TaskId::new("A")).len(), 1);
        assert_eq!(damaged(&format!("{head}\n\n{line}\n\n{}\n", &line[..line.len() / 2])), [5]);
        assert_eq!(damaged(&format!("{line}\n")), [1]);
        assert_eq!(damaged("\u{0}\u{1}"), [1]);
        let flipped = line.replacen("\"inputs\":\"a", "\"inputs\":\"b", 1);
        assert_eq!(damaged(&format!("{head}\n{flipped}\n")).len(), usize::from(flipped != line));
    }

    #[test]
    fn no_flipped_bit_of_a_line_is_believed_as_another_key() {
        let text = Lockfile::render([locked("A", "1")]);
        let whole = locked("A", "1");
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let found = Lockfile::parse(Path::new("/w/conductor.lock"), &bytes);
                for line in found.lines.values().flatten() {
                    assert_eq!(line.components, whole.components, "byte {at}, bit {bit}");
                    assert_eq!(line.key, whole.key, "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn another_format_is_not_read_and_not_called_damaged() {
        let text = Lockfile::render([locked("A", "1")]).replacen(" 1:", " 2:", 1);
        let found = parse(&text);
        assert!(found.is_newer() && found.is_empty());
        assert_eq!(found.damage()[0].code, "lock::version");
    }
}
