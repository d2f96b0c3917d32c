//! Draws tasks and edits from plain numbers, so that whatever numbers come (shrunk ones too) mean something that can
//! be done to the workspace as it is.

use std::collections::BTreeMap;

use crate::recipe::{Filter, GROUP, LAYER, Part, Recipe, Shape, Source, Task, link_text};
use crate::scenario::Scenario;

/// A task as numbers.
#[derive(Clone, Debug)]
pub(crate) struct TaskSeed {
    pub(crate) shape: u8,
    pub(crate) filter: u8,
    pub(crate) sources: Vec<(u8, u8)>,
    pub(crate) needs: Vec<u8>,
    pub(crate) extra: u16,
}

/// An edit as numbers.
#[derive(Clone, Debug)]
pub(crate) struct EditSeed {
    pub(crate) kind: u8,
    pub(crate) a: u16,
    pub(crate) b: u16,
}

const GLOBS: [&str; 8] = [
    "src/*.txt",
    "src/s[0-2].txt",
    "lib/**/*.txt",
    "src/{s1,s4}.txt",
    "src/",
    "lib/a/",
    "lib/**",
    "src/s?.txt",
];

/// Patterns that match links, or files behind links.
const THROUGH_LINKS: [&str; 8] = [
    "ln/d0/*.txt",
    "ln/d0/s1.txt",
    "ln/d1/**",
    "ln/d1/l0.txt",
    "ln/d1/a/l1.txt",
    "ln/*.txt",
    "ln/*",
    "ln/d0/",
];

/// Links to files, and to folders, that there may be.
const LINKS: [&str; 5] = ["ln/f0.txt", "ln/f1.txt", "ln/f2.txt", "ln/d0", "ln/d1"];

/// Where such a link may lead: to something that is there, that comes and goes, or to another link.
fn link_to(name: &str, number: u16) -> String {
    let files = ["../src/s0.txt", "../src/s1.txt", "../src/s4.txt", "../lib/a/l0.txt", "../lib/b/c/l1.txt"];
    let folders = ["../src", "../lib", "../lib/a", "../chk", "."];
    let (name, number) = (name.as_bytes(), usize::from(number));
    match name[3] {
        b'f' if number.is_multiple_of(3) => format!("f{}.txt", number / 3 % 3),
        b'f' if number.is_multiple_of(5) => "d0/s1.txt".to_owned(),
        b'f' => files[number % files.len()].to_owned(),
        _ if number.is_multiple_of(4) => format!("d{}", number / 4 % 2),
        _ => folders[number % folders.len()].to_owned(),
    }
}

fn filter(number: u8) -> Filter {
    [Filter::All, Filter::Count, Filter::Unique, Filter::First, Filter::Digit][usize::from(number) % 5]
}

fn shape(number: u8) -> Shape {
    use Shape::{Depfile, Executable, File, Folder, Link, Optional};
    [File, Folder, Optional, Executable, Depfile, Folder, File, Link][usize::from(number) % 8]
}

/// Some task before `index`.
fn earlier(recipe: &Recipe, index: usize, number: u8) -> Option<usize> {
    let before: Vec<usize> = recipe.tasks.range(..index).map(|(index, _)| *index).collect();
    // Near ones more often, so that graphs get deep.
    let window = before.len().min(if number < 160 { 6 } else { before.len() });
    (window > 0).then(|| before[before.len() - 1 - usize::from(number) % window])
}

fn sources(recipe: &Recipe, index: usize, (kind, value): (u8, u8)) -> Vec<Source> {
    let text = |text: String| vec![Source::Text(text)];
    let n = usize::from(value);
    let glob = || text(GLOBS[n % GLOBS.len()].to_owned());
    let other = |part: Part| {
        earlier(recipe, index, value)
            .map_or_else(|| text(format!("src/s{}.txt", n % 6)), |i| vec![Source::Of(i, part)])
    };
    let layers = index / LAYER;
    match kind % 12 {
        9 => text(format!("ln/f{}.txt", n % 3)),
        10 => text(format!("ln/d{}", n % 2)),
        11 => text(THROUGH_LINKS[n % THROUGH_LINKS.len()].to_owned()),
        0 => text(format!("src/s{}.txt", n % 6)),
        1 => text(format!("lib/a/l{}.txt", n % 3)),
        3 => vec![Source::Text("src/*.txt".to_owned()), Source::Text(format!("!src/s{}.txt", n % 4))],
        4 if layers > 0 => {
            let tail = ["*.txt", "**", "**/*.txt", "*.{txt,sh}"][n / 8 % 4];
            text(format!("out/L{}/{tail}", n % layers))
        }
        2 | 4 => glob(),
        5 => other(Part::Optional),
        6 => other(Part::Folder),
        7 => other(Part::Inside),
        _ => other(Part::Main),
    }
}

/// The task that the numbers stand for, at this place of the order.
pub(crate) fn task(recipe: &Recipe, index: usize, seed: &TaskSeed) -> Task {
    let needs = seed.needs.iter().filter_map(|number| earlier(recipe, index, *number));
    let mut needs: Vec<usize> = needs.collect();
    needs.sort_unstable();
    needs.dedup();
    let extra = seed.extra;
    let after = if extra.is_multiple_of(7) { earlier(recipe, index, (extra / 7 % 250) as u8) } else { None };
    let shape = shape(seed.shape);
    let check = match extra % 5 {
        0 => Some((0, None)),
        1 => Some((0, Some(format!("chk/c{}.txt", extra / 5 % 3)))),
        2 => Some((0, Some(format!("ln/f{}.txt", extra / 5 % 3)))),
        _ => None,
    };
    Task {
        index,
        renamed: 0,
        edition: 0,
        shape,
        filter: filter(seed.filter),
        sources: seed.sources.iter().flat_map(|source| sources(recipe, index, *source)).collect(),
        after: after.into_iter().filter(|index| !needs.contains(index)).collect(),
        needs,
        tag: extra.is_multiple_of(4).then_some((0, extra.is_multiple_of(8))),
        check,
        title: 0,
        always: extra % 31 == 3,
        incremental: shape == Shape::File && extra % 11 == 2,
    }
}

/// A whole manifest.
pub(crate) fn recipe(seeds: &[TaskSeed], groups: u16) -> Recipe {
    let mut recipe = Recipe::default();
    for (index, seed) in seeds.iter().enumerate() {
        let task = task(&recipe, index, seed);
        recipe.tasks.insert(index, task);
    }
    for group in 0..seeds.len().div_ceil(GROUP) {
        if groups >> group & 1 == 1 {
            recipe.gates.insert(group, 0);
        }
        if groups >> (group + 8) & 1 == 1 {
            recipe.chained.push(group);
        }
    }
    recipe
}

/// Lines that are often, but not always, as many and as long as others.
fn content(number: u16) -> Vec<u8> {
    let words = ["red", "sea", "fog", "elm", "oak"];
    let line = |i: u16| format!("{}\n", words[usize::from(number.wrapping_mul(7).wrapping_add(i * 3)) % 5]);
    (0..=number % 4).map(line).collect::<String>().into_bytes()
}

/// The files that a scenario begins with.
pub(crate) fn first_files(scenario: &mut Scenario, number: u16) {
    for i in 0..5 {
        scenario.put(&format!("src/s{i}.txt"), &content(number.wrapping_add(i)));
    }
    for path in ["lib/a/l0.txt", "lib/a/l1.txt", "lib/b/l2.txt", "chk/c0.txt", "chk/c1.txt"] {
        scenario.put(path, &content(number));
    }
    for (name, number) in LINKS.into_iter().zip(number..) {
        scenario.turn(name, &link_to(name, number));
    }
}

fn pick<T: Clone>(from: &[T], number: u16) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(number) % from.len()].clone())
}

/// Does what the numbers stand for, or nothing where that cannot be done now.
pub(crate) fn apply(scenario: &mut Scenario, edit: &EditSeed) {
    let kind = edit.kind % 40;
    let done = match kind {
        0..=11 => edit_source(scenario, kind, edit),
        12..=19 => edit_output(scenario, kind, edit),
        36..=39 => edit_link(scenario, kind, edit),
        _ => edit_manifest(scenario, kind, edit),
    };
    // Nothing there to be edited: as good as no edit.
    let _ = done;
}

fn edit_source(scenario: &mut Scenario, kind: u8, edit: &EditSeed) -> Option<()> {
    let sources = scenario.world.sources();
    let is_mine = |path: &&String| !path.starts_with("out/") && !path.starts_with("ln/");
    let mine: Vec<String> = sources.keys().filter(is_mine).cloned().collect();
    let new = match edit.b % 4 {
        0 => format!("lib/a/l{}.txt", edit.b / 4 % 4),
        1 => format!("lib/b/c/l{}.txt", edit.b / 4 % 3),
        _ => format!("src/s{}.txt", edit.b / 4 % 8),
    };
    let path = || pick(&mine, edit.a);
    match kind {
        0..=2 => scenario.put(&path()?, &content(edit.b)),
        3 => {
            let path = path()?;
            let mut bytes = sources[&path].0.clone();
            *bytes.first_mut()? = b'a' + u8::try_from(edit.b % 26).unwrap();
            scenario.put_in_secret(&path, &bytes);
        }
        4 | 5 => scenario.put(&new, &content(edit.a)),
        6 => scenario.remove(&path()?),
        7 => scenario.touch(&path()?),
        8 => scenario.flip_mode(&path()?),
        9 => {
            let path = path()?;
            let folder = new.rsplit_once('/')?.0;
            if path != new && sources.keys().any(|other| other.starts_with(&format!("{folder}/"))) {
                scenario.rename(&path, &new);
            }
        }
        10 => scenario.replace_by_itself(&path()?),
        _ => go_back(scenario, edit)?,
    }
    Some(())
}

fn edit_link(scenario: &mut Scenario, kind: u8, edit: &EditSeed) -> Option<()> {
    let name = pick(&LINKS, edit.a)?;
    if kind < 39 {
        scenario.turn(name, &link_to(name, edit.b));
    } else if scenario.world.disk.contains_key(name) {
        scenario.remove(name);
    }
    Some(())
}

/// Manifest and sources become what they were before: results of then are results of now.
fn go_back(scenario: &mut Scenario, edit: &EditSeed) -> Option<()> {
    let (recipe, sources) = pick(&scenario.past, edit.a)?;
    scenario.world.recipe = recipe;
    let now: BTreeMap<_, _> = scenario.world.sources();
    for path in now.keys().filter(|path| !sources.contains_key(*path)) {
        scenario.remove(path);
    }
    for (path, (bytes, executable)) in
        sources.iter().filter(|(path, content)| now.get(*path) != Some(content))
    {
        if let Some(text) = link_text(&(bytes.clone(), *executable)) {
            scenario.turn(path, text);
            continue;
        }
        scenario.put(path, bytes);
        if scenario.world.disk[path].1 != *executable {
            scenario.flip_mode(path);
        }
    }
    Some(())
}

fn edit_output(scenario: &mut Scenario, kind: u8, edit: &EditSeed) -> Option<()> {
    let outputs = scenario.world.outputs();
    let there: Vec<String> =
        outputs.keys().filter(|path| scenario.world.disk.contains_key(*path)).cloned().collect();
    let folders: Vec<_> = scenario.world.recipe.tasks.values().filter_map(Task::folder).collect();
    match kind {
        12 | 13 => scenario.put(&pick(&there, edit.a)?, &content(edit.b)),
        14 | 15 => scenario.remove(&pick(&there, edit.a)?),
        16 => {
            let is_file = |path: &&String| link_text(&scenario.world.disk[*path]).is_none();
            let files: Vec<String> = there.iter().filter(is_file).cloned().collect();
            scenario.flip_mode(&pick(&files, edit.a)?);
        }
        17 => {
            let folder = pick(&folders, edit.a)?;
            scenario.put(&format!("{folder}/mine.txt"), &content(edit.b));
        }
        18 => {
            let tasks = scenario.world.recipe.tasks.values();
            let absent: Vec<String> =
                tasks.filter_map(Task::optional).filter(|path| !outputs.contains_key(path)).collect();
            scenario.put(&pick(&absent, edit.a)?, b"a person made this\n");
        }
        _ => scenario.remove_folder(pick(&["out", "out/L0", "out/L1"], edit.a)?),
    }
    Some(())
}

fn edit_manifest(scenario: &mut Scenario, kind: u8, edit: &EditSeed) -> Option<()> {
    let recipe = &mut scenario.world.recipe;
    let indices: Vec<usize> = recipe.tasks.keys().copied().collect();
    let index = pick(&indices, edit.a)?;
    let [low, high] = edit.b.to_le_bytes();
    let before = recipe.clone();
    let task = recipe.tasks.get_mut(&index)?;
    match kind {
        20 | 21 => task.filter = filter(low),
        22 => task.tag = Some((low % 4, high % 2 == 0)),
        23 => task.sources.extend(sources(&before, index, (low, high))),
        24 => {
            let at = usize::from(low) % task.sources.len().max(1);
            task.sources.get(at)?;
            task.sources.remove(at);
        }
        25 => {
            task.check =
                if low % 4 == 0 { None } else { Some((low % 3, Some(format!("chk/c{}.txt", high % 3)))) }
        }
        26 => task.title = task.title.wrapping_add(1),
        27 => task.renamed = (task.renamed + 1) % 3,
        28 => task.edition = (task.edition + 1) % 3,
        29 => task.shape = shape(low),
        30 => match task.needs.pop() {
            Some(_) => {}
            None => task.needs.extend(earlier(&before, index, low).filter(|i| !task.after.contains(i))),
        },
        31 => remove_task(recipe, index),
        32 => {
            let place = (0..=usize::from(u16::MAX)).find(|place| !recipe.tasks.contains_key(place))?;
            let seed = TaskSeed {
                shape: low,
                filter: high,
                sources: vec![(high, low)],
                needs: vec![],
                extra: edit.b,
            };
            let new = self::task(&before, place, &seed);
            recipe.tasks.insert(place, new);
        }
        33 => {
            recipe.gates.entry(index / GROUP).and_modify(|version| *version += 1).or_insert(0);
        }
        34 => {
            recipe.gates.remove(&(index / GROUP));
        }
        _ => match recipe.chained.iter().position(|group| *group == index / GROUP) {
            Some(at) => {
                recipe.chained.remove(at);
            }
            None => recipe.chained.push(index / GROUP),
        },
    }
    if let Some(task) = recipe.tasks.get_mut(&index) {
        // Its old outputs would show through.
        task.incremental &= task.shape == Shape::File;
    }
    Some(())
}

/// Removes a task and everything that names it.
fn remove_task(recipe: &mut Recipe, index: usize) {
    if recipe.tasks.len() < 2 {
        return;
    }
    recipe.tasks.remove(&index);
    for task in recipe.tasks.values_mut() {
        task.needs.retain(|other| *other != index);
        task.after.retain(|other| *other != index);
        task.sources.retain(|source| !matches!(source, Source::Of(other, _) if *other == index));
    }
}
