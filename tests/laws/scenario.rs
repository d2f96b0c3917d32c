//! A scenario: one workspace on disk beside the oracle's idea of it, changed and built in step, with a script that
//! repeats all of it by hand. Every build is held against the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::ground::{Built, Ground, Thing, imprint, tree};
use crate::oracle::{Due, World};
use crate::recipe::{Content, Recipe, link, link_text};

/// See the module. Its answers are `Err` with what broke the law.
pub(crate) struct Scenario {
    pub(crate) ground: Ground,
    pub(crate) world: World,
    script: String,
    /// Manifests and sources that were built before, to go back to.
    pub(crate) past: Vec<(Recipe, BTreeMap<String, Content>)>,
    /// Keys under which a task ran, where none may run twice under one.
    paid: Option<BTreeSet<String>>,
}

/// Nothing, or what broke the law.
pub(crate) type Lawful = Result<(), String>;

fn thing(content: &Content) -> Thing {
    match link_text(content) {
        Some(text) => Thing::Link(text.into()),
        None => Thing::File(content.0.clone(), content.1),
    }
}

fn ensure(holds: bool, law: &str, details: impl FnOnce() -> String) -> Lawful {
    if holds { Ok(()) } else { Err(format!("{law}\n{}", details())) }
}

impl Scenario {
    /// An empty workspace.
    pub(crate) fn new() -> Self {
        let script = "mkdir ws && cd ws\n".to_owned();
        Self { ground: Ground::new(), world: World::default(), script, past: Vec::new(), paid: None }
    }

    /// An empty workspace whose results come from its cache, so that nothing runs twice for one key.
    pub(crate) fn cached() -> Self {
        let ground = Ground::new().cached();
        let script = "export CONDUCTOR_CACHE=rw; mkdir ws && cd ws\n".to_owned();
        Self { ground, script, paid: Some(BTreeSet::new()), ..Self::new() }
    }

    /// All that was done, as a shell script.
    pub(crate) fn script(&self) -> &str {
        &self.script
    }

    /// Adds a line to the script.
    pub(crate) fn note(&mut self, line: &str) {
        let _ = writeln!(self.script, "{line}");
    }

    /// Writes a file as an editor does that truncates it.
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) {
        let executable = self.world.disk.get(path).is_some_and(|(_, executable)| *executable);
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        if self.world.disk.get(path).is_some_and(|content| link_text(content).is_some()) {
            self.remove(path);
        }
        self.note(&format!("mkdir -p {folder}; printf '{}' > {path}", bytes.escape_ascii()));
        self.ground.write(path, bytes);
        self.world.disk.insert(path.to_owned(), (bytes.to_vec(), executable));
    }

    /// Makes a link, or turns the one that is there.
    pub(crate) fn turn(&mut self, path: &str, text: &str) {
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        self.note(&format!("mkdir -p {folder}; ln -sfn {text} {path}"));
        let place = self.ground.path(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&place);
        std::os::unix::fs::symlink(text, place).unwrap();
        self.world.disk.insert(path.to_owned(), link(text));
    }

    /// Writes a file and gives it its old time back, as `touch -r` does.
    pub(crate) fn put_in_secret(&mut self, path: &str, bytes: &[u8]) {
        let place = self.ground.path(path);
        let before = fs::metadata(&place).unwrap().modified().unwrap();
        self.note(&format!("cp -p {path} /tmp/old"));
        self.put(path, bytes);
        self.note(&format!("touch -r /tmp/old {path}"));
        fs::File::options().write(true).open(&place).unwrap().set_modified(before).unwrap();
    }

    /// Puts another file with the same content in its place.
    pub(crate) fn replace_by_itself(&mut self, path: &str) {
        self.note(&format!("cp -p {path} x && mv x {path}"));
        let copy = self.ground.path("x");
        fs::copy(self.ground.path(path), &copy).unwrap();
        fs::rename(copy, self.ground.path(path)).unwrap();
    }

    /// Gives a file the time of now.
    pub(crate) fn touch(&mut self, path: &str) {
        self.note(&format!("touch {path}"));
        let file = fs::File::options().append(true).open(self.ground.path(path)).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
    }

    /// Flips the executable bits.
    pub(crate) fn flip_mode(&mut self, path: &str) {
        let (_, executable) = self.world.disk.get_mut(path).unwrap();
        *executable = !*executable;
        let mode = if *executable { 0o755 } else { 0o644 };
        fs::set_permissions(self.ground.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self.note(&format!("chmod {mode:o} {path}"));
    }

    /// Removes a file.
    pub(crate) fn remove(&mut self, path: &str) {
        self.note(&format!("rm -f {path}"));
        fs::remove_file(self.ground.path(path)).unwrap();
        self.world.disk.remove(path);
        self.prune(path);
    }

    /// Removes folders of sources that hold nothing, as git does: no clean tree has them.
    fn prune(&mut self, path: &str) {
        let mut folder = path;
        while let Some((above, _)) = folder.rsplit_once('/') {
            if path.starts_with("out/") || fs::remove_dir(self.ground.path(above)).is_err() {
                break;
            }
            self.note(&format!("rmdir {above}"));
            folder = above;
        }
    }

    /// Moves a file.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        self.note(&format!("mv {from} {to}"));
        fs::rename(self.ground.path(from), self.ground.path(to)).unwrap();
        let content = self.world.disk.remove(from).unwrap();
        self.world.disk.insert(to.to_owned(), content);
        self.prune(from);
    }

    /// Removes a folder with all below it.
    pub(crate) fn remove_folder(&mut self, folder: &str) {
        self.note(&format!("rm -rf {folder}"));
        let _ = fs::remove_dir_all(self.ground.path(folder));
        self.world.disk.retain(|path, _| !path.starts_with(&format!("{folder}/")));
    }

    /// Writes the manifest as it is now.
    pub(crate) fn put_manifest(&mut self) {
        let yaml = self.world.recipe.to_yaml();
        let path = self.ground.path("conductor.yaml");
        if fs::read_to_string(&path).ok().as_ref() != Some(&yaml) {
            let _ = writeln!(self.script, "cat > conductor.yaml <<'END'\n{yaml}END");
            fs::write(path, yaml).unwrap();
        }
    }

    /// Asks, builds, and builds again, and holds all of it against the oracle.
    pub(crate) fn build(&mut self, targets: Option<&[usize]>, force: bool, jobs: u8) -> Lawful {
        self.put_manifest();
        let ids: Vec<String> =
            targets.into_iter().flatten().map(|index| self.world.recipe.tasks[index].id()).collect();
        let due = self.world.build(targets, force);
        if !force {
            self.ask(&ids, &due)?;
        }
        let jobs = format!("-j{jobs}");
        let mut args: Vec<&str> = ids.iter().map(String::as_str).chain([jobs.as_str()]).collect();
        if force {
            args.push("--force");
        }
        self.note(&format!("conductor build {}", args.join(" ")));
        let built = self.ground.build(&args);
        Self::hold(&built, &due)?;
        self.compare_tree(&due)?;
        self.pay(&built, force)?;
        args.retain(|arg| *arg != "--force");
        let again = self.ground.build(&args);
        Self::hold(&again, &self.world.clone().build(targets, false))
            .map_err(|error| format!("in a second build: {error}"))
    }

    fn hold(built: &Built, due: &Due) -> Lawful {
        built.ran.assert_no_panic();
        let code = built.ran.code;
        ensure(code == Some(0), "a build whose tasks all succeed ends with 0", || built.ran.text())?;
        let of = |ids: Vec<String>| -> BTreeSet<String> {
            ids.into_iter().filter(|id| !id.ends_with(":gate")).collect()
        };
        let gates = built.those(|told| told.validated || told.status == "ran");
        let gates = gates.into_iter().filter(|id| id.ends_with(":gate")).collect();
        let did = Due {
            ran: of([built.ran(), built.restored()].concat()),
            validated: of(built.validated()),
            gates,
            restless: due.restless.clone(),
        };
        ensure(did == *due, "only what must run, runs", || {
            format!("did {did:?}\nmust {due:?}\n{}", built.ran.text())
        })?;
        let mute = built.those(|told| told.status == "ran" && told.reasons.is_empty());
        ensure(mute.is_empty(), "what runs has a reason", || format!("{mute:?}"))
    }

    /// What was accepted under a key is in the cache, and is not made again.
    fn pay(&mut self, built: &Built, force: bool) -> Lawful {
        let Some(paid) = &mut self.paid else { return Ok(()) };
        for (id, told) in &built.tasks {
            let Some(key) = told.key.clone().filter(|_| told.status == "ran" && !id.ends_with(":gate"))
            else {
                continue;
            };
            let task = self.world.recipe.tasks.values().find(|task| task.id() == *id);
            let is_kept = task.is_some_and(|task| !task.incremental && !task.always);
            let again = is_kept && !paid.insert(key) && !force;
            ensure(!again, "nothing is paid for twice", || format!("{id}: {}", built.ran.text()))?;
        }
        Ok(())
    }

    /// The tree holds the sources and what was made of them, and no more.
    fn compare_tree(&self, due: &Due) -> Lawful {
        let mut found = tree(self.ground.root());
        found.retain(|path, _| path != "conductor.yaml" && !path.starts_with("dep/") && path != "dep");
        // Who empties a folder by hand finds it empty until its task runs.
        let ran = self.world.recipe.tasks.values().filter(|task| due.ran.contains(&task.id()));
        let folders: Vec<String> = ran.filter_map(crate::recipe::Task::folder).collect();
        let within = |path: &String| folders.iter().any(|folder| path.starts_with(&format!("{folder}/")));
        found.retain(|path, thing| *thing != Thing::EmptyFolder || within(path));
        let expected: BTreeMap<String, Thing> =
            self.world.disk.iter().map(|(path, content)| (path.clone(), thing(content))).collect();
        let differing: BTreeSet<&String> = found
            .keys()
            .chain(expected.keys())
            .filter(|path| found.get(*path) != expected.get(*path))
            .collect();
        let show = |thing: Option<&Thing>| match thing {
            Some(Thing::File(bytes, executable)) => {
                format!("{:?} {executable}", String::from_utf8_lossy(bytes))
            }
            other => format!("{other:?}"),
        };
        ensure(differing.is_empty(), "the tree holds the sources and what was made of them", || {
            let line = |path: &&String| {
                format!("{path}: is {}, should be {}\n", show(found.get(*path)), show(expected.get(*path)))
            };
            differing.iter().map(line).collect()
        })
    }

    /// `check`, `list` and `why` write nothing and agree with what the build will do.
    fn ask(&mut self, ids: &[String], due: &Due) -> Lawful {
        let untouched = imprint(self.ground.root());
        let args: Vec<&str> =
            ["check", "--format", "json"].into_iter().chain(ids.iter().map(String::as_str)).collect();
        let checked = self.ground.run(&args);
        checked.assert_no_panic();
        let nothing = due.validated.is_empty() && due.gates.is_empty() && due.ran == due.restless;
        let expected = if nothing { 0 } else { 3 };
        ensure(checked.code == Some(expected), "check agrees with what a build then does", || {
            format!("must {due:?}\n{}", checked.text())
        })?;
        let states: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap_or_default();
        let none = serde_json::Map::new();
        for (id, state) in states["tasks"].as_object().unwrap_or(&none) {
            let runs = due.ran.contains(id) || due.validated.contains(id) || due.gates.contains(id);
            let lies = state["state"] == "fresh" && runs;
            ensure(!lies, "what check calls fresh does not run", || format!("{id}: {}", checked.text()))?;
        }
        let listed = self.ground.run(&["list", "--format", "json"]);
        ensure(listed.code == Some(0), "list ends with 0", || listed.text())?;
        if let Some(id) = due.ran.first() {
            let why = self.ground.run(&["why", id]);
            ensure(why.code == Some(0) && why.stdout.contains(id.as_str()), "why answers", || why.text())?;
            ensure(!why.stdout.contains("is fresh"), "why knows a cause", || why.text())?;
        }
        ensure(imprint(self.ground.root()) == untouched, "check, list and why write nothing", String::new)
    }

    /// A build of the same sources in another folder makes the same outputs under the same keys.
    pub(crate) fn compare_with_clean(&mut self, jobs: u8) -> Lawful {
        let jobs = format!("-j{jobs}");
        let here = self.ground.build(&[&jobs]);
        let _ = self.world.build(None, false);
        let clean = Ground::new();
        clean.write("conductor.yaml", self.world.recipe.to_yaml());
        for (path, (bytes, executable)) in self.world.sources() {
            if let Some(text) = link_text(&(bytes.clone(), executable)) {
                fs::create_dir_all(clean.path(&path).parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(text, clean.path(&path)).unwrap();
                continue;
            }
            clean.write(&path, &bytes);
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(clean.path(&path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let there = clean.build(&[&jobs]);
        ensure(there.ran.code == Some(0), "a clean build succeeds", || there.ran.text())?;
        for (id, told) in &there.tasks {
            let mine = here.tasks.get(id).cloned().unwrap_or_default();
            ensure(told.outputs == mine.outputs, "incremental equals clean", || {
                format!("{id}: here {:?}, in a clean folder {:?}", mine.outputs, told.outputs)
            })?;
            ensure(told.key == mine.key && told.key.is_some(), "same inputs, same key", || {
                format!("{id}: here {:?}, in a clean folder {:?}", mine.key, told.key)
            })?;
        }
        let (here, there) = (tree(self.ground.root()), tree(clean.root()));
        for path in self.world.outputs().keys() {
            ensure(here.get(path) == there.get(path), "incremental equals clean, byte for byte", || {
                path.clone()
            })?;
        }
        Ok(())
    }
}
