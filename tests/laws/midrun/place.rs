//! One case of the matrix on disk: its manifest, the file that a person changes, and the two halves
//! of the change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::stops::{Stops, hold, tell};
use super::{Act, Case, Isolation, Point};
use crate::ground::Ground;

/// The outputs of all tasks.
pub(crate) const OUTPUTS: [&str; 5] = ["o", "out", "od", "ou", "ov"];

/// Enough files that a person can act while they are copied or collected, and more of them for
/// bringing in.
const MANY: usize = 60;
const VERY_MANY: usize = 200;

/// See the module.
pub(crate) struct Place {
    pub(crate) case: Case,
    pub(crate) ground: Ground,
    /// Tools, HOME and the cache.
    pub(crate) outside: tempfile::TempDir,
    pub(crate) stops: Stops,
}

/// What the subject says, by when it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// In the build before.
    Old,
    /// When the build began.
    Before,
    /// While it ran.
    During,
    /// In a file that lived only meanwhile.
    Extra,
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Writes a program by a process of its own. A thread that starts something meanwhile would
/// otherwise inherit the open file, and the program would be busy.
fn write_program(path: &Path, text: &str) {
    let script = "mkdir -p \"${0%/*}\" && printf '%s' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = Command::new("sh").args(["-c", script]).arg(path).arg(text).status().unwrap();
    assert!(status.success(), "{} cannot be written", path.display());
}

impl Place {
    /// The case before anything was built; nobody waits at a stop.
    pub(crate) fn new(case: Case) -> Self {
        let outside = tempfile::Builder::new().prefix("laws-outside-").tempdir().unwrap();
        fs::create_dir(outside.path().join("home")).unwrap();
        let place = Self { case, ground: Ground::new(), outside, stops: Stops::listen() };
        place.stops.open(true);
        let probe = format!("#!/bin/sh\ngrep -o 'WRITE-[a-z]*' | head -n 1 > o\n{}\n", hold("T2"));
        write_program(&place.bin("probe"), &probe);
        place.ground.write("conductor.yaml", place.manifest());
        place.ground.write("ds", "old\n");
        place.ground.write("src/r", "r\n");
        if case.point == Point::Filling {
            (0..MANY).for_each(|i| place.ground.write(&format!("bulk/{i}"), i.to_string()));
        }
        place.write_subject(Content::Old);
        if case.isolation == Isolation::Worktree {
            git_init(place.ground.root());
        }
        place
    }

    fn bin(&self, name: &str) -> PathBuf {
        self.outside.path().join("bin").join(name)
    }

    /// conductor in this place or in a copy of it, with or without the cache.
    pub(crate) fn conductor(&self, root: &Path, cached: bool) -> Command {
        let mut command = crate::ground::conductor(root);
        let outside = self.outside.path();
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{0}/early:{0}/bin:{path}", outside.display()))
            .env("PORT", self.stops.port())
            .env("HOME", outside.join("home"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("CONDUCTOR_CACHE_DIR", outside.join("cache"));
        command.env("CONDUCTOR_CACHE", if cached { "rw" } else { "off" });
        command
    }

    /// The check of the task `T`, if it has one that a person can run by hand.
    pub(crate) fn check(&self) -> Option<String> {
        let verdict = "grep -rq allow chk";
        match (self.case.point, self.case.act) {
            (Point::Copy, _) => Some(verdict.to_owned()),
            (Point::Check | Point::CheckAlone, Act::Stays) => Some(format!("{verdict}; {}", hold("T1"))),
            (Point::Check | Point::CheckAlone, _) => {
                Some(format!("{}; {verdict}; {}", hold("T1"), hold("T2")))
            }
            (Point::Collection, _) => Some(hold("T2")),
            (Point::Integration, _) => Some("! grep -rlq bad out".to_owned()),
            _ => None,
        }
    }

    /// The keys of the task `T`, which the case is about.
    fn subject_task(&self) -> String {
        let (first, second) = (hold("T1"), hold("T2"));
        let run = |command: &str| quoted(command);
        let src = self.patterns("src/", "src/s, src/r");
        let number = if self.case.point == Point::Integration { VERY_MANY } else { MANY };
        let many = format!(
            "s=$(cat src/s); i=100; while [ $i -lt {} ]; do echo $s > out/$i; i=$((i+1)); done",
            100 + number
        );
        let keys = match self.case.point {
            Point::Setup => format!(
                "setup: {}, inputs: [{src}], outputs: [o], run: {}",
                quoted(&first),
                run(&format!("cat src/* > o; {second}"))
            ),
            Point::Filling => format!(
                "inputs: [bulk/, {src}], outputs: [o], run: {}",
                run(&format!("cat src/* > o; {second}"))
            ),
            Point::Copy => {
                // A file that changes for good changes behind the copying, all others before it.
                let stop = if self.case.act == Act::Stays {
                    format!("setup: {}", quoted(&first))
                } else {
                    format!("require: [{{ run: {} }}]", quoted(&first))
                };
                let command = run(&format!("cat ds > o; {second}"));
                format!("copy: [chk/], {stop}, inputs: [ds], outputs: [o], run: {command}")
            }
            Point::Command => format!(
                "inputs: [{src}], outputs: [o], run: {}",
                run(&format!("{first}; cat src/* > o; {second}"))
            ),
            Point::Check => "inputs: [ds], outputs: [o], run: cat ds > o".to_owned(),
            Point::CheckAlone => "inputs: [], outputs: [o], run: echo made > o".to_owned(),
            Point::Tool => format!(
                "tools: [mytool], inputs: [ds], outputs: [o], run: {}",
                run(&format!("{first}; mytool > o; {second}"))
            ),
            Point::Prompt => {
                let stop = if self.case.isolation == Isolation::Worktree {
                    format!("setup: {}", quoted(&first))
                } else {
                    format!("require: [{{ run: {} }}]", quoted(&first))
                };
                format!(
                    "agent: command, instructions: {{ file: prompts/A.md }}, {stop}, inputs: [], outputs: [o]"
                )
            }
            Point::Collection => format!(
                "inputs: [{src}], outputs: [o, out/], run: {}",
                run(&format!("cat src/* > o; {many}; {}", tell("T1")))
            ),
            Point::Integration => format!("inputs: [{src}], outputs: [out/], run: {}", run(&many)),
        };
        let check = self.check().map_or_else(String::new, |check| {
            let inputs = if check.contains("chk") { self.patterns("chk/", "chk/data") } else { "" };
            format!(", validate: [{{ run: {}, inputs: [{inputs}] }}]", quoted(&check))
        });
        format!("{keys}{check}")
    }

    /// A pattern where a file may appear; else the files by name, which conductor judges in another
    /// way.
    fn patterns(&self, pattern: &'static str, files: &'static str) -> &'static str {
        if self.case.act == Act::Meanwhile { pattern } else { files }
    }

    /// `T`; if others look on, also `u`, which reads the same file while `T` runs, `d`, which `u`
    /// waits for, and `v`, which tells that `u` is done.
    fn manifest(&self) -> String {
        let isolation = self.case.isolation.name();
        let (tool, inputs, read) = match self.case.point {
            Point::Tool => ("tools: [mytool], ", "", "mytool"),
            Point::Copy | Point::Check | Point::CheckAlone => {
                ("", self.patterns(", chk/", ", chk/data"), "cat chk/*")
            }
            Point::Prompt => ("", ", prompts/A.md", "cat prompts/A.md"),
            _ => ("", self.patterns(", src/", ", src/s, src/r"), "cat src/*"),
        };
        let others = format!(
            "  d: {{ isolation: none, inputs: [ds], outputs: [od], run: {} }}
  u: {{ {tool}inputs: [od{inputs}], outputs: [ou], run: '{read} > ou; cat od >> ou' }}
  v: {{ isolation: none, inputs: [ou], outputs: [ov], run: {} }}
",
            quoted(&format!("{}; cat ds > od", hold("d"))),
            quoted(&format!("cat ou > ov; {}", hold("v"))),
        );
        format!(
            "conductor: 1
agents: {{ command: {{ bin: {}, login: [] }} }}
defaults: {{ isolation: {isolation}, pass_env: [PORT] }}
tasks:
  T: {{ {} }}
{}",
            self.bin("probe").display(),
            self.subject_task(),
            if self.case.watched { &others } else { "" },
        )
    }

    /// The file that is changed.
    pub(crate) fn subject(&self) -> PathBuf {
        match self.case.point {
            Point::Tool => self.bin("mytool"),
            Point::Prompt => self.ground.path("prompts/A.md"),
            Point::Copy | Point::Check | Point::CheckAlone => self.ground.path("chk/data"),
            Point::Integration => self.ground.path("out/100"),
            _ => self.ground.path("src/s"),
        }
    }

    /// The file that lives only meanwhile: one that matches the same pattern.
    fn extra(&self) -> PathBuf {
        match self.case.point {
            Point::Tool => self.outside.path().join("early/mytool"),
            _ => self.subject().with_file_name("new"),
        }
    }

    fn text(&self, content: Content) -> String {
        let word = match content {
            Content::Old => "old",
            Content::Before => "before",
            Content::During => "during",
            Content::Extra => "extra",
        };
        // A check's verdict turns with the change: if it is put back, the check refuses in the end.
        let accepts = match content {
            Content::Old | Content::Extra => true,
            Content::Before => self.case.act == Act::Stays,
            Content::During => self.case.act != Act::Stays,
        };
        match self.case.point {
            Point::Tool => format!("#!/bin/sh\necho {word}\n"),
            Point::Prompt => format!("WRITE-{word}\n"),
            Point::Copy | Point::Check | Point::CheckAlone => {
                format!("{} {word}\n", if accepts { "allow" } else { "deny" })
            }
            Point::Integration => "bad\n".to_owned(),
            _ => format!("{word}\n"),
        }
    }

    fn write(&self, path: &Path, content: Content) {
        if self.case.point == Point::Tool {
            write_program(path, &self.text(content));
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, self.text(content)).unwrap();
        }
    }

    /// The subject as it is before the change; at the point `Integration` the build makes it.
    pub(crate) fn write_subject(&self, content: Content) {
        let subject = self.subject();
        if self.case.point == Point::Integration {
            self.ground.write("src/s", if content == Content::Old { "old\n" } else { "before\n" });
        } else {
            self.write(&subject, content);
            let hour_ago = SystemTime::now() - Duration::from_secs(3600);
            fs::File::open(&subject).unwrap().set_modified(hour_ago).unwrap();
        }
    }

    /// The first half of the change. Returns how to take it back.
    pub(crate) fn change(&self) -> Undo {
        let subject = self.subject();
        let before = fs::metadata(&subject).ok().map(|metadata| metadata.modified().unwrap());
        let bytes = fs::read(&subject).unwrap_or_default();
        let aside = self.outside.path().join("aside");
        match self.case.act {
            Act::Meanwhile => self.write(&self.extra(), Content::Extra),
            Act::MovedAside => {
                fs::rename(&subject, &aside).unwrap();
                self.write(&subject, Content::During);
            }
            Act::Stays | Act::PutBack | Act::OldTime => self.write(&subject, Content::During),
        }
        Undo { bytes, modified: before, aside }
    }

    /// The second half of the change.
    pub(crate) fn take_back(&self, undo: &Undo) {
        let subject = self.subject();
        match self.case.act {
            Act::Stays => {}
            Act::PutBack | Act::OldTime => {
                self.write_bytes(&subject, &undo.bytes);
                if self.case.act == Act::OldTime {
                    let file = fs::File::open(&subject).unwrap();
                    file.set_modified(undo.modified.unwrap()).unwrap();
                }
            }
            Act::MovedAside => fs::rename(&undo.aside, &subject).unwrap(),
            Act::Meanwhile => fs::remove_file(self.extra()).unwrap(),
        }
    }

    fn write_bytes(&self, path: &Path, bytes: &[u8]) {
        if self.case.point == Point::Tool {
            write_program(path, std::str::from_utf8(bytes).unwrap());
        } else {
            fs::write(path, bytes).unwrap();
        }
    }

    /// Waits for the moment of a point at which no command stops: a file appears. False if the
    /// build ends first.
    pub(crate) fn wait_for_moment(&self, old: Option<u64>, mut runs: impl FnMut() -> bool) -> bool {
        let appears = match self.case.point {
            Point::Filling => self.ground.path(".conductor/workspaces/T/bulk"),
            _ => self.subject(),
        };
        loop {
            let now = fs::metadata(&appears).ok().map(|metadata| metadata.ino());
            if now.is_some() && now != old {
                return true;
            }
            if !runs() {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Takes conductor's folder and all outputs away, so that the cache alone is left.
    pub(crate) fn forget(&self) {
        let script = "chmod -R u+rwX .conductor; rm -rf .conductor \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(OUTPUTS).current_dir(self.ground.root());
        assert!(command.status().unwrap().success());
    }

    /// A copy of the sources in a folder of its own.
    pub(crate) fn fresh_copy(&self) -> tempfile::TempDir {
        let copy = tempfile::Builder::new().prefix("laws-clean-").tempdir().unwrap();
        let script = "cp -a \"$1/.\" . && chmod -R u+rwX . && shift && rm -rf .conductor .git \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(self.ground.root()).args(OUTPUTS).current_dir(copy.path());
        assert!(command.status().unwrap().success());
        if self.case.isolation == Isolation::Worktree {
            git_init(copy.path());
        }
        copy
    }
}

/// The subject before it was changed.
pub(crate) struct Undo {
    bytes: Vec<u8>,
    modified: Option<SystemTime>,
    aside: PathBuf,
}

fn git_init(root: &Path) {
    let status = Command::new("git").args(["init", "-q"]).current_dir(root).status().unwrap();
    assert!(status.success(), "git init");
}
