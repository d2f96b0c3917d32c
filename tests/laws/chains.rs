//! `edits`, whole: random chains of editors, random edits of a person between builds, random failures, random changes of
//! the manifest. After each build the tree is what the accepted editors make of the person's base, exactly those
//! editors ran that had to, and whatever the person wrote is in the tree or kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use crate::ground::{Built, Ground, Ran, conductor};
use crate::seeds::{self, try_many};

/// How many files there are at most.
const FILES: usize = 4;

/// What is at a path.
type Content = Option<String>;

/// By number of the file.
type Files = BTreeMap<usize, Content>;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Op {
    /// Adds a line to every file.
    Append,
    /// Writes a file, whatever was there.
    Create(usize),
    /// Removes a file.
    Delete(usize),
    /// Moves one to another.
    Rename(usize, usize),
    /// Removes lines that are noise, so that it often makes the same of different files.
    Clean,
    /// Does nothing.
    Nothing,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Editor {
    id: String,
    /// All files by one glob, or these.
    files: Option<BTreeSet<usize>>,
    op: Op,
    /// Changes the command.
    tag: u32,
}

impl Editor {
    fn edits(&self, file: usize) -> bool {
        self.files.as_ref().is_none_or(|files| files.contains(&file))
    }

    fn new(id: String, seed: (u8, u8, u8, u8), tag: u32) -> Self {
        let (kind, which, a, b) = seed;
        let files: BTreeSet<usize> = (0..FILES).filter(|file| which >> file & 1 == 1).collect();
        let files = (!files.is_empty() && which & 0x30 != 0).then_some(files);
        let own: Vec<usize> =
            (0..FILES).filter(|f| files.as_ref().is_none_or(|files| files.contains(f))).collect();
        let pick = |n: u8| own[usize::from(n) % own.len()];
        let op = match kind % 12 {
            0..=4 => Op::Append,
            5 | 6 => Op::Create(pick(a)),
            7 => Op::Delete(pick(a)),
            8 => Op::Rename(pick(a), pick(b)),
            9 | 10 => Op::Clean,
            _ => Op::Nothing,
        };
        Self { id, files, op, tag }
    }

    fn command(&self) -> String {
        let tag = self.tag;
        let names: Vec<String> = self.files.iter().flatten().map(|file| name(*file)).collect();
        let names = if self.files.is_none() { "src/*".to_owned() } else { names.join(" ") };
        let each = |what: &str| format!("for f in {names}; do if [ -e $f ]; then {what}; fi; done");
        match &self.op {
            Op::Append => each(&format!("echo line {tag} >> $f")),
            Op::Create(file) => format!("mkdir -p src; echo made {tag} > {}", name(*file)),
            Op::Delete(file) => format!("rm -f {} # {tag}", name(*file)),
            Op::Rename(from, to) if from == to => format!("true {tag}"),
            Op::Rename(from, to) => {
                format!("if [ -e {0} ]; then mv {0} {1}; fi # {tag}", name(*from), name(*to))
            }
            Op::Clean => each(&format!("sed -i /^noise/d $f; true {tag}")),
            Op::Nothing => format!("true {tag}"),
        }
    }

    /// What the command makes of these files.
    fn run(&self, found: &Files) -> Files {
        let mut left = found.clone();
        match &self.op {
            Op::Append => {
                for content in
                    left.iter_mut().filter(|(file, _)| self.edits(**file)).filter_map(|(_, c)| c.as_mut())
                {
                    content.extend(["line ", &self.tag.to_string(), "\n"]);
                }
            }
            Op::Create(file) => _ = left.insert(*file, Some(format!("made {}\n", self.tag))),
            Op::Delete(file) => _ = left.insert(*file, None),
            Op::Rename(from, to) => {
                if let Some(content) = left.get(from).cloned().flatten() {
                    left.insert(*from, None);
                    left.insert(*to, Some(content));
                }
            }
            Op::Clean => {
                for content in
                    left.iter_mut().filter(|(file, _)| self.edits(**file)).filter_map(|(_, c)| c.as_mut())
                {
                    let lines = content.lines().filter(|line| !line.starts_with("noise"));
                    *content = lines.flat_map(|line| [line, "\n"]).collect();
                }
            }
            Op::Nothing => {}
        }
        left
    }
}

fn name(file: usize) -> String {
    format!("src/f{file}")
}

/// An editor's command with what it found: its key.
type Key = (Editor, Files);

/// What is known of one file.
#[derive(Clone, Default, Debug)]
struct Known {
    /// What the person wrote.
    base: Content,
    /// The states of the chain that the tree holds, each with its editor.
    shown: Vec<(String, Content)>,
}

/// What conductor should know and do.
#[derive(Default)]
struct Oracle {
    files: BTreeMap<usize, Known>,
    records: BTreeMap<String, (Key, Files)>,
    failures: BTreeMap<String, Key>,
}

/// What a build should do.
#[derive(Default, Debug)]
struct Expected {
    ran: BTreeSet<String>,
    failed: bool,
    tree: Files,
}

impl Oracle {
    /// Which state of its chain a file is in: the base, and the editors that are to run again for it. None where
    /// it is an edit.
    fn stand(&self, editors: &[Editor], file: usize, now: &Content) -> Option<BTreeSet<String>> {
        let known = self.files.get(&file)?;
        // Who found nothing and left nothing has nothing to do again.
        let made = |(id, state): &&(String, Content)| {
            let found = self.records.get(id).is_some_and(|((_, found), _)| found.contains_key(&file));
            state.is_some() || found
        };
        let after = |at: usize| known.shown[at..].iter().filter(made).map(|(id, _)| id.clone()).collect();
        if let Some(at) = known.shown.iter().rposition(|(_, state)| state == now) {
            return Some(after(at + 1));
        }
        if *now == known.base {
            return Some(after(0));
        }
        // Accepted, and never brought into the tree.
        let mut state = &known.base;
        let mut found = None;
        for (at, editor) in editors.iter().enumerate().filter(|(_, editor)| editor.edits(file)) {
            let Some(((_, before), left)) = self.records.get(&editor.id) else { continue };
            if before.get(&file).unwrap_or(&None) != state {
                break;
            }
            state = left.get(&file).unwrap_or(&None);
            if state == now {
                found = Some(at);
            }
        }
        let later = |id: &String| editors.iter().position(|editor| editor.id == *id) > found;
        found.map(|_| known.shown.iter().filter(made).map(|(id, _)| id.clone()).filter(later).collect())
    }

    fn build(&mut self, editors: &[Editor], scope: usize, failing: Option<&str>, tree: &Files) -> Expected {
        let mut expected = Expected { tree: tree.clone(), ..Expected::default() };
        let mut edits: Files = Files::new();
        let mut reset: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for file in 0..FILES {
            let now = tree.get(&file).cloned().flatten();
            match self.stand(editors, file, &now) {
                Some(editors) => _ = reset.insert(file, editors),
                None => _ = edits.insert(file, now),
            }
        }
        let mut accepted = BTreeSet::new();
        let mut world: Files = (0..FILES)
            .map(|file| {
                let base = self.files.get(&file).and_then(|known| known.base.clone());
                (file, edits.get(&file).cloned().unwrap_or(base))
            })
            .collect();
        for editor in &editors[..scope] {
            let found: Files = world
                .iter()
                .filter(|(file, content)| editor.edits(**file) && content.is_some())
                .map(|(file, content)| (*file, content.clone()))
                .collect();
            let key = (editor.clone(), found.clone());
            let is_reset = reset.iter().any(|(file, ids)| editor.edits(*file) && ids.contains(&editor.id));
            let record = self.records.get(&editor.id).filter(|(recorded, _)| *recorded == key);
            let failed = self.failures.get(&editor.id) == Some(&key);
            if record.is_none() || is_reset || failed {
                if failing == Some(&editor.id) {
                    self.failures.insert(editor.id.clone(), key);
                    expected.failed = true;
                    break;
                }
                expected.ran.insert(editor.id.clone());
                self.failures.remove(&editor.id);
                let left = editor.run(&found);
                self.records.insert(editor.id.clone(), (key, left));
                for (file, base) in &edits {
                    if editor.edits(*file) {
                        self.files.insert(*file, Known { base: base.clone(), shown: Vec::new() });
                    }
                }
            }
            let left = &self.records[&editor.id].1;
            for file in (0..FILES).filter(|file| editor.edits(*file)) {
                world.insert(file, left.get(&file).cloned().flatten());
            }
            accepted.insert(editor.id.clone());
        }
        for file in 0..FILES {
            self.land(editors, file, &accepted, &mut expected.tree);
        }
        expected
    }

    /// The tree gets what the whole chain made; or what its accepted beginning made, where it holds no more than that.
    fn land(&mut self, editors: &[Editor], file: usize, accepted: &BTreeSet<String>, tree: &mut Files) {
        let chain: Vec<&Editor> = editors.iter().filter(|editor| editor.edits(file)).collect();
        let now = tree.get(&file).cloned().flatten();
        if chain.is_empty() {
            self.files.insert(file, Known { base: now, shown: Vec::new() });
            return;
        }
        let states: Vec<(String, Content)> = chain
            .iter()
            .take_while(|editor| accepted.contains(&editor.id))
            .map(|editor| (editor.id.clone(), self.records[&editor.id].1.get(&file).cloned().flatten()))
            .collect();
        let Some(known) = self.files.get_mut(&file) else { return };
        let is_state = |state: &Content| *state == now;
        let ids: BTreeSet<&String> = states.iter().map(|(id, _)| id).collect();
        let shown = known.shown.iter().filter(|(id, _)| ids.contains(id)).map(|(_, state)| state);
        let ahead = now == known.base || states.iter().map(|(_, state)| state).chain(shown).any(is_state);
        if let Some((_, last)) = states.last()
            && (states.len() == chain.len() || ahead)
        {
            tree.insert(file, last.clone());
            // What somebody took out of the tree stays due.
            let ids: BTreeSet<String> = states.iter().map(|(id, _)| id.clone()).collect();
            let later: Vec<&str> = chain[states.len()..].iter().map(|editor| editor.id.as_str()).collect();
            let behind = std::mem::take(&mut known.shown).into_iter();
            let behind = behind.filter(|(id, _)| !ids.contains(id) && later.contains(&id.as_str()));
            known.shown = states.into_iter().chain(behind).collect();
        }
    }
}

/// A step as numbers.
type Seed = (u8, u8, u8, (u8, u8, u8, u8));

#[derive(Clone, Debug)]
struct Story {
    editors: Vec<(u8, u8, u8, u8)>,
    files: u8,
    steps: Vec<(Vec<Seed>, u8)>,
}

fn story() -> impl Strategy<Value = Story> {
    let seed = || (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    let step = (vec((any::<u8>(), any::<u8>(), any::<u8>(), seed()), 0..3), any::<u8>());
    (vec(seed(), 1..=5), any::<u8>(), vec(step, 1..9)).prop_map(|(editors, files, steps)| Story {
        editors,
        files,
        steps,
    })
}

struct Scene {
    ground: Ground,
    editors: Vec<Editor>,
    oracle: Oracle,
    tags: u32,
    script: Vec<String>,
}

impl Scene {
    fn tag(&mut self) -> u32 {
        self.tags += 1;
        self.tags
    }

    fn tree(&self) -> Files {
        (0..FILES).map(|file| (file, fs::read_to_string(self.ground.path(&name(file))).ok())).collect()
    }

    fn put(&mut self, file: usize, content: &Content) {
        let path = self.ground.path(&name(file));
        if let Some(content) = content {
            self.ground.write(&name(file), content);
            self.script.push(format!("mkdir -p src; printf %s {content:?} > {}", name(file)));
        } else {
            let _ = fs::remove_file(path);
            self.script.push(format!("rm -f {}", name(file)));
        }
    }

    fn manifest(&mut self) {
        let mut text =
            "conductor: 1\npass_env: [FAIL]\ntasks:\n  other: { inputs: [], outputs: [o], run: touch o }\n"
                .to_owned();
        let mut before: Option<&str> = None;
        for editor in &self.editors {
            let edits: Vec<String> = editor.files.iter().flatten().map(|file| name(*file)).collect();
            let edits = if editor.files.is_none() { "\"src/*\"".to_owned() } else { edits.join(", ") };
            let needs = before.unwrap_or_default();
            let (id, command) = (&editor.id, editor.command());
            let task = format!(
                "  {id}:\n    isolation: sandbox\n    inputs: []\n    needs: [{needs}]\n    edits: [{edits}]\n    run: |\n      [ \"${{FAIL:-}}\" != {id} ]\n      {command}\n"
            );
            text.push_str(&task);
            before = Some(&editor.id);
        }
        self.ground.write("conductor.yaml", &text);
        self.script.push(format!("cat > conductor.yaml <<'END'\n{text}END"));
    }

    fn disturb(&mut self, seed: Seed) {
        let (kind, a, b, editor) = seed;
        let file = usize::from(a) % FILES;
        let tag = self.tag();
        match kind % 12 {
            0..=2 => self.put(file, &Some(format!("user {tag}\n"))),
            3 => self.put(file, &None),
            4 => {
                let base = self.oracle.files.get(&file).and_then(|known| known.base.clone());
                self.put(file, &Some(format!("noise {tag}\n{}", base.unwrap_or_default())));
            }
            5 => {
                let base = self.oracle.files.get(&file).and_then(|known| known.base.clone());
                self.put(file, &base);
            }
            6 | 7 => {
                let shown = self.oracle.files.get(&file).map(|known| known.shown.clone()).unwrap_or_default();
                if !shown.is_empty() {
                    self.put(file, &shown[usize::from(b) % shown.len()].1.clone());
                }
            }
            8 => {
                let at = usize::from(b) % self.editors.len();
                self.editors[at].tag = tag;
                self.manifest();
            }
            9 if self.editors.len() > 1 => {
                let at = usize::from(b) % self.editors.len();
                let gone = self.editors.remove(at);
                self.oracle.failures.remove(&gone.id);
                self.manifest();
            }
            10 if self.editors.len() < 6 => {
                let at = usize::from(b) % (self.editors.len() + 1);
                self.editors.insert(at, Editor::new(format!("e{tag}"), editor, tag));
                self.manifest();
            }
            11 => {
                let at = usize::from(b) % self.editors.len();
                self.editors[at].id = format!("e{tag}");
                self.manifest();
            }
            _ => {}
        }
    }

    fn build(&mut self, how: u8) -> Result<(), String> {
        let count = self.editors.len();
        let failing = how.is_multiple_of(4).then(|| self.editors[usize::from(how / 4) % count].id.clone());
        let scope = if how % 5 == 1 { usize::from(how / 5) % count + 1 } else { count };
        let before = self.tree();
        let expected = self.oracle.build(&self.editors, scope, failing.as_deref(), &before);
        let built = self.run(failing.as_deref(), &self.editors[scope - 1].id.clone());
        let ran: BTreeSet<String> = built.ran().into_iter().filter(|id| id != "other").collect();
        let wrong = |what: &str| {
            Err(format!("{what}\nexpected {expected:#?}\nbefore {before:?}\n{}", built.ran.text()))
        };
        if built.ran.code != Some(i32::from(expected.failed)) {
            return wrong("the exit code");
        }
        if ran != expected.ran {
            return wrong(&format!("ran {ran:?}"));
        }
        if self.tree() != expected.tree {
            return wrong(&format!("the tree is {:?}", self.tree()));
        }
        if !expected.failed && scope == count {
            let again = self.run(None, &self.editors[scope - 1].id.clone());
            if again.ran.code != Some(0) || !again.ran().is_empty() || !again.validated().is_empty() {
                return wrong(&format!("a second build is not idle: {}", again.ran.text()));
            }
            let check = self.ground.run(&["check"]);
            if check.code != Some(0) {
                return wrong(&format!("check: {}", check.text()));
            }
        }
        let lost = before.values().flatten().find(|content| !self.keeps(content));
        lost.map_or(Ok(()), |lost| wrong(&format!("{lost:?} is lost")))
    }

    fn run(&mut self, failing: Option<&str>, target: &str) -> Built {
        let fail = failing.unwrap_or_default();
        self.script.push(format!("FAIL={fail} conductor build --format json other {target}"));
        let mut command = conductor(self.ground.root());
        command.args(["build", "--format", "json", "other", target]).env("FAIL", fail);
        let built = Built::new(Ran::from_output(&command.output().unwrap()));
        built.ran.assert_no_panic();
        built
    }

    /// Is this in the tree, or kept?
    fn keeps(&self, content: &str) -> bool {
        let kept = self.ground.path(".conductor/objects").join(object(content));
        self.tree().values().flatten().any(|there| there == content) || kept.is_file()
    }
}

/// Where the bytes of a content are kept.
fn object(content: &str) -> String {
    let hex = blake3::hash(content.as_bytes()).to_hex();
    format!("{}/{}", &hex[..2], &hex[2..])
}

fn tell(story: &Story) -> Result<(), String> {
    let mut scene = Scene {
        ground: Ground::new(),
        editors: Vec::new(),
        oracle: Oracle::default(),
        tags: 0,
        script: Vec::new(),
    };
    for seed in &story.editors {
        let tag = scene.tag();
        scene.editors.push(Editor::new(format!("e{tag}"), *seed, tag));
    }
    scene.manifest();
    for file in (0..FILES).filter(|file| story.files >> file & 1 == 1) {
        let tag = scene.tag();
        scene.put(file, &Some(format!("user {tag}\n")));
    }
    let told = (|| {
        for (seeds, how) in &story.steps {
            scene.build(*how)?;
            for seed in seeds {
                scene.disturb(*seed);
            }
        }
        scene.build(2)
    })();
    told.map_err(|broken: String| format!("{broken}\n\nto repeat it:\n{}", scene.script.join("\n")))
}

#[test]
fn the_tree_is_what_the_chain_makes_of_the_persons_base_and_only_what_must_run_runs() {
    try_many("chains", 14, &story(), tell);
}

/// Each edits three files, makes one and removes one, with the round in them; the last takes its time.
const KILLED: &str = "conductor: 1
tasks:
  other: { inputs: [], outputs: [o], run: touch o }
  e1: { isolation: sandbox, inputs: [], edits: [\"src/*\"], run: 'for f in src/*; do echo one >> $f; done; sleep 0.02; mv src/d src/new' }
  e2: { isolation: sandbox, inputs: [], needs: [e1], edits: [\"src/*\"], run: 'for f in src/*; do echo two >> $f; done' }
  e3: { isolation: sandbox, inputs: [], needs: [e2], edits: [\"src/*\"], run: 'sleep 0.02; for f in src/*; do echo three >> $f; done' }
  r: { inputs: [\"src/*\"], needs: [e3], outputs: [all], run: cat src/* > all }
";

fn sources(ground: &Ground) -> BTreeMap<String, String> {
    let files = fs::read_dir(ground.path("src")).unwrap().flatten();
    files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
        .collect()
}

#[test]
fn after_kill_9_at_any_moment_edited_files_are_all_old_or_all_new_and_the_next_build_ends_right() {
    let ground = Ground::with(KILLED, &[("src/.keep", ""), ("notes", "a person's\n")]);
    fs::remove_file(ground.path("src/.keep")).unwrap();
    let mut random = seeds::dice("kills_of_editors", 11);
    for round in seeds::kills("kills_of_editors", 24) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let _ = fs::remove_dir_all(ground.path("src"));
        let base: BTreeMap<String, String> =
            ["a", "b", "c", "d"].map(|file| (file.to_owned(), format!("base {file} {round}\n"))).into();
        for (file, content) in &base {
            ground.write(&format!("src/{file}"), content);
        }
        let done: BTreeMap<String, String> = base
            .iter()
            .map(|(file, content)| {
                let to = if file == "d" { "new" } else { file };
                (to.to_owned(), format!("{content}one\ntwo\nthree\n"))
            })
            .collect();
        let mut build = ground.start(&["-j2"]);
        std::thread::sleep(Duration::from_millis((random >> 33) % 200));
        build.kill().unwrap();
        build.wait().unwrap();
        let when = format!("after kill {round}");
        // Recovers, and has nothing to do with the editors.
        let other = ground.build(&["other"]);
        assert_eq!(other.ran.code, Some(0), "{when}: {}", other.ran.text());
        let now = sources(&ground);
        assert!(now == base || now == done, "half a landing {when}: {now:?}");
        if round % 4 == 0 {
            ground.write("src/a", format!("edited {round}\n"));
        }
        let edited = ground.read("src/a");
        ground.heals(&when);
        let now = sources(&ground);
        if round % 4 == 0 {
            assert_eq!(now["a"], format!("{edited}one\ntwo\nthree\n"), "{when}");
        } else {
            assert_eq!(now, done, "{when}");
        }
        let all: String = now.values().cloned().collect();
        assert_eq!(ground.read("all"), all, "{when}");
        assert_eq!(ground.read("notes"), "a person's\n", "{when}");
        let aside = fs::read_dir(ground.path(".conductor/aside")).map_or(0, Iterator::count);
        assert_eq!(aside, 0, "something is still aside {when}");
    }
}
