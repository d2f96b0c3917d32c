//! Promises 2, 3 and 6 under faults: conductor killed at any moment, damaged state, a full disk. After each of
//! them the next plain build ends right and the one after it runs nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::ground::{Ground, tree};
use crate::seeds;

/// Four tasks in a chain, a pair beside it, folders and files as outputs, a gate, and checks.
const CHAIN: &str = "conductor: 1
groups:
  G: { gate: [ { run: grep -q . last.txt } ] }
tasks:
  one:
    inputs: [src/]
    outputs: [made/one/, single.txt]
    run: cat src/* > made/one/all; cp made/one/all made/one/copy; sleep 0.03; cp made/one/all single.txt
  two:
    inputs: [made/one/all]
    outputs: [made/two.txt]
    run: wc -c < made/one/all > made/two.txt; sleep 0.02
    validate: [ { non_empty: made/two.txt } ]
  three:
    needs: [one, two]
    inputs: []
    outputs: [made/three/]
    run: for n in 1 2 3; do cat single.txt made/two.txt > made/three/$n; sleep 0.01; done
  beside:
    inputs: [src/a.txt]
    tools: [sh]
    outputs: [beside.txt]
    run: sleep 0.05; tr a-z A-Z < src/a.txt > beside.txt
  last:
    group: G
    inputs: [made/three/, beside.txt]
    outputs: [last.txt]
    run: cat made/three/* beside.txt > last.txt
";

/// A numbered state of the sources.
fn edit(ground: &Ground, round: usize) {
    ground.write("src/a.txt", format!("round {round}\n"));
    if round.is_multiple_of(3) {
        ground.write("src/b.txt", format!("third {round}\n"));
    }
}

fn chain() -> Ground {
    let ground = Ground::with(CHAIN, &[("src/b.txt", "b\n"), ("made/one/note", "a person's\n")]);
    edit(&ground, 0);
    ground
}

/// What the tasks make of the sources as they are, worked out here and not by conductor.
fn assert_right(ground: &Ground, when: &str) {
    let all = ground.read("src/a.txt") + &ground.read("src/b.txt");
    let three = format!("{all}{}\n", all.len());
    let upper = ground.read("src/a.txt").to_uppercase();
    let expected = [
        ("made/one/all", all.clone()),
        ("made/one/copy", all.clone()),
        ("single.txt", all.clone()),
        ("made/two.txt", format!("{}\n", all.len())),
        ("made/three/2", three.clone()),
        ("beside.txt", upper.clone()),
        ("last.txt", three.repeat(3) + &upper),
        ("made/one/note", "a person's\n".to_owned()),
    ];
    for (path, content) in expected {
        assert_eq!(ground.read(path), content, "{path} {when}");
    }
}

/// The processes of builds in this workspace, by the marker that every task's process carries.
fn descendants(root: &Path) -> Vec<PathBuf> {
    let in_workspace = |process: &Path| {
        let marked = fs::read(process.join("environ")).is_ok_and(|env| {
            env.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"CONDUCTOR_RUN="))
        });
        marked && fs::read_link(process.join("cwd")).is_ok_and(|folder| folder.starts_with(root))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(|process| in_workspace(process)).collect()
}

fn assert_nothing_left(ground: &Ground, when: &str) {
    assert_eq!(descendants(ground.root()), Vec::<PathBuf>::new(), "processes {when}");
    let aside = ground.path(".conductor/aside");
    let left = fs::read_dir(&aside).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{} is not empty {when}", aside.display());
    let names = tree(ground.root());
    let strange = names.keys().find(|name| name.contains("tmp-"));
    assert_eq!(strange, None, "temporary files {when}");
}

#[test]
fn it_heals_itself_after_kill_9_at_any_moment() {
    let ground = chain();
    let mut random = seeds::dice("kills", 7);
    for round in seeds::kills("kills", 36) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        edit(&ground, usize::try_from(round).unwrap());
        let mut build = ground.start(&["-j2"]);
        std::thread::sleep(Duration::from_millis((random >> 33) % 260));
        build.kill().unwrap();
        build.wait().unwrap();
        // Sometimes several crashes in a row, the last of them perhaps during recovery.
        if round.is_multiple_of(3) {
            let when = format!("after kill {round}");
            ground.heals(&when);
            assert_right(&ground, &when);
            assert_nothing_left(&ground, &when);
        }
    }
}

#[test]
fn a_killed_rerun_leaves_the_last_good_outputs_to_the_next_build() {
    let ground = chain();
    ground.heals("before");
    let good = ground.read("last.txt");
    let mut build = ground.start(&["--force", "-j1"]);
    std::thread::sleep(Duration::from_millis(40));
    build.kill().unwrap();
    build.wait().unwrap();
    ground.heals("after a killed rerun of what was fresh");
    assert_eq!(ground.read("last.txt"), good);
    assert_nothing_left(&ground, "after a killed rerun");
}

/// Waits for something that another process does.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_check_that_outlived_a_killed_build_is_stopped_by_the_next_one() {
    // Neither a check that runs alone nor a gate has anything to write down in the journal.
    let endless = "touch started; while :; do sleep 0.05; done";
    let manifest = |check: &str, gate: &str| {
        format!(
            "conductor: 1
groups: {{ G: {{ gate: [ {{ run: '{gate}' }} ] }} }}
tasks:
  T1: {{ group: G, inputs: [], outputs: [a], run: touch a, validate: [ {{ run: '{check}' }} ] }}
"
        )
    };
    let ground = Ground::with(&manifest("test -e a", "test -e a"), &[]);
    ground.heals("at first");
    for (check, gate) in [(endless, "test -e a"), ("test -f a", endless)] {
        ground.write("conductor.yaml", manifest(check, gate));
        let mut build = ground.start(&[]);
        wait_until("the check", || ground.path("started").exists());
        build.kill().unwrap();
        build.wait().unwrap();
        assert!(!descendants(ground.root()).is_empty(), "it outlives conductor");
        fs::remove_file(ground.path("started")).unwrap();
        ground.write("conductor.yaml", manifest("test -f a", "test -f a"));
        let when = format!("after a kill during {check} and {gate}");
        ground.heals(&when);
        assert_nothing_left(&ground, &when);
    }
}

#[test]
fn a_task_without_outputs_that_outlived_a_killed_build_is_stopped_by_the_next_one() {
    // There is nothing to undo, so the journal says nothing of it.
    let manifest = |run: &str| format!("conductor: 1\ntasks: {{ T1: {{ inputs: [], run: '{run}' }} }}\n");
    let ground = Ground::with(&manifest("touch started; while :; do sleep 0.05; done"), &[]);
    let mut build = ground.start(&[]);
    wait_until("the task", || ground.path("started").exists());
    assert!(!ground.path(".conductor/journal").exists());
    build.kill().unwrap();
    build.wait().unwrap();
    assert!(!descendants(ground.root()).is_empty(), "it outlives conductor");
    fs::remove_file(ground.path("started")).unwrap();
    ground.write("conductor.yaml", manifest("true"));
    ground.heals("after a kill");
    assert_nothing_left(&ground, "after a kill");
}

/// Every file of conductor's folder, largest first does not matter.
fn kept_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            kept_files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

type Damage = (&'static str, fn(&Path, &[u8]));

const DAMAGES: [Damage; 7] = [
    ("emptied", |path, _| fs::write(path, b"").unwrap()),
    ("cut in half", |path, bytes| fs::write(path, &bytes[..bytes.len() / 2]).unwrap()),
    ("cut by one byte", |path, bytes| fs::write(path, &bytes[..bytes.len().saturating_sub(1)]).unwrap()),
    ("with a flipped bit", |path, bytes| flip(path, bytes, bytes.len() / 2)),
    ("with its first byte flipped", |path, bytes| flip(path, bytes, 0)),
    ("removed", |path, _| fs::remove_file(path).unwrap()),
    ("replaced by a folder", |path, _| {
        fs::remove_file(path).unwrap();
        fs::create_dir_all(path.join("deep")).unwrap();
    }),
];

fn flip(path: &Path, bytes: &[u8], at: usize) {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x10;
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn it_heals_itself_after_damage_to_any_file_of_its_own() {
    let ground = chain();
    ground.heals("at first");
    let mut names = Vec::new();
    kept_files(&ground.path(".conductor"), &mut names);
    // Runs are many and alike: those of the first are enough.
    let first_run =
        names.iter().filter(|name| name.starts_with(ground.path(".conductor/runs"))).min().cloned();
    names
        .retain(|name| !name.starts_with(ground.path(".conductor/runs")) || Some(name) == first_run.as_ref());
    assert!(names.len() >= 5, "{names:?}");
    let mut round = 0;
    for name in names {
        for (what, damage) in DAMAGES {
            round += 1;
            edit(&ground, round);
            let bytes = fs::read(&name).unwrap_or_default();
            if fs::metadata(&name).is_err() {
                fs::write(&name, "").unwrap();
            }
            damage(&name, &bytes);
            let when = format!("with {} {what}", name.display());
            for command in [&["check"][..], &["list"], &["why", "last"], &["runs"], &["log"]] {
                ground.run(command).assert_no_panic();
            }
            ground.heals(&when);
            assert_right(&ground, &when);
        }
    }
}

#[test]
fn it_heals_itself_where_something_else_stands_in_the_place_of_an_entry_of_its_own() {
    let ground = chain();
    ground.heals("at first");
    let files = [".gitignore", "lock", "state", "state.log", "journal", "plan", "programs"];
    let folders = ["runs", "aside", "conflicts", "workspaces", "cache"];
    let kept: Vec<String> = fs::read_dir(ground.path(".conductor"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known = |name: &String| files.contains(&&**name) || folders.contains(&&**name);
    assert!(kept.iter().all(known), "something new is kept: add it here: {kept:?}");
    for (round, name) in files.iter().chain(&folders).enumerate() {
        edit(&ground, round + 1);
        let place = ground.path(".conductor").join(name);
        let aside = place.with_file_name(format!("{name}.set-aside-1"));
        let is_file = files.contains(name);
        let mine = |place: &Path| if is_file { place.join("deep/mine") } else { place.to_owned() };
        if place.is_dir() {
            fs::remove_dir_all(&place).unwrap();
        } else {
            let _ = fs::remove_file(&place);
        }
        fs::create_dir_all(mine(&place).parent().unwrap()).unwrap();
        fs::write(mine(&place), "a person's").unwrap();
        let when = format!("with something else in the place of {name}");
        for command in [&["check"][..], &["list"], &["why", "last"], &["runs"], &["log"], &["cancel"]] {
            ground.run(command).assert_no_panic();
        }
        assert!(!aside.exists(), "a reader writes nothing {when}");
        let built = ground.run(&["build", "-j2"]);
        assert_eq!(built.code, Some(0), "{when}: {}", built.text());
        let told = built.text().lines().filter(|line| line.contains("it was set aside as")).count();
        assert_eq!(told, 1, "{when}: {}", built.text());
        assert_eq!(fs::read_to_string(mine(&aside)).unwrap(), "a person's", "{when}");
        ground.heals(&when);
        assert_right(&ground, &when);
        assert_nothing_left(&ground, &when);
    }
}

#[test]
fn it_heals_itself_after_a_full_disk() {
    let ground = Ground::new();
    let disk = ground.path("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&disk).status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: it_heals_itself_after_a_full_disk: a tmpfs cannot be mounted here");
        return;
    }
    let within = Unmount(disk.clone());
    let file = |path: &str, content: &str| {
        let path = disk.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    file("conductor.yaml", CHAIN);
    file("src/b.txt", "b\n");
    for (round, spare) in [0, 4, 16, 48, 100].into_iter().enumerate() {
        file("src/a.txt", &format!("round {round}\n"));
        // Everything but a few kilobytes is taken.
        let ballast = disk.join("ballast");
        let _ = fs::write(&ballast, vec![0_u8; 2 << 20]);
        let taken = fs::metadata(&ballast).map_or(0, |metadata| metadata.len());
        fs::File::options()
            .write(true)
            .open(&ballast)
            .unwrap()
            .set_len(taken.saturating_sub(spare << 10))
            .unwrap();
        let run = |args: &[&str]| {
            let output = crate::ground::conductor(&disk).args(args).output().unwrap();
            crate::ground::Ran::from_output(&output)
        };
        let full = run(&["build", "--format", "json"]);
        full.assert_no_panic();
        run(&["check"]).assert_no_panic();
        fs::remove_file(&ballast).unwrap();
        let healed = run(&["build"]);
        assert_eq!(healed.code, Some(0), "{spare} KiB: {} after {}", healed.text(), full.text());
        let all = fs::read_to_string(disk.join("src/a.txt")).unwrap() + "b\n";
        assert_eq!(fs::read_to_string(disk.join("single.txt")).unwrap(), all, "{spare} KiB");
        let again = crate::ground::Built::new(run(&["build", "--format", "json"]));
        assert_eq!(again.ran(), Vec::<String>::new(), "{spare} KiB: {}", again.ran.text());
    }
    drop(within);
}

/// Unmounts when the test ends, however it ends.
pub(crate) struct Unmount(pub(crate) PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn no_process_is_left_behind() {
    let daemon = "setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & (sleep 100 &) ; touch started";
    let manifest = format!(
        "conductor: 1
tasks:
  ends: {{ inputs: [], outputs: [started], run: {daemon:?} }}
  fails: {{ inputs: [], run: {:?} }}
  hangs: {{ inputs: [], timeout: 300ms, run: {:?} }}
",
        format!("{daemon}; rm started; exit 1"),
        format!("{daemon}2; sleep 100"),
    );
    let ground = Ground::with(&manifest, &[]);
    let built = ground.build(&["-k", "-j3"]);
    assert_eq!(built.ran.code, Some(1), "{}", built.ran.text());
    assert_nothing_left(&ground, "after an end, a failure and a timeout");
}

#[test]
fn no_secret_is_ever_on_disk() {
    let manifest = "conductor: 1
tasks:
  says: { inputs: [], secrets: [TOKEN], outputs: [a], run: 'echo \"it is $TOKEN\"; printf %s \"$TOKEN\" | base64; touch a' }
  split: { inputs: [], secrets: [TOKEN], run: 'printf %.5s \"$TOKEN\"; sleep 0.1; printf %s \"${TOKEN#?????}\"; echo; exit 3' }
  checked: { inputs: [], secrets: [TOKEN], outputs: [b], run: touch b, validate: [ { run: 'echo no $TOKEN >&2; exit 1' } ] }
  keeps: { inputs: [], secrets: [TOKEN], outputs: [c], run: 'echo $TOKEN > c' }
";
    let ground = Ground::with(manifest, &[]);
    let secret = "s3cr3t-v4lue-0f-a-t0ken";
    let output = crate::ground::conductor(ground.root())
        .args(["build", "-k", "--progress", "plain"])
        .env("TOKEN", secret)
        .output()
        .unwrap();
    let ran = crate::ground::Ran::from_output(&output);
    assert_eq!(ran.code, Some(1), "{}", ran.text());
    assert!(ran.text().contains("***"), "something was redacted: {}", ran.text());
    assert!(!ran.text().contains(secret), "{}", ran.text());
    let mut files = Vec::new();
    kept_files(&ground.path(".conductor"), &mut files);
    assert!(files.len() > 4, "{files:?}");
    let encoded = "czNjcjN0LXY0bHVlLTBmLWEtdDBrZW4";
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!(text.contains(secret) || text.contains(encoded)), "{}", file.display());
    }
}
