//! A manifest as the laws know it: tasks drawn from a few kinds whose commands are POSIX shell, and what each of
//! them must print, computed here without any shell. Knows nothing of what is on disk.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A file as it matters to a build: bytes and executable bit. A link is its text behind [`LINK`].
pub(crate) type Content = (Vec<u8>, bool);

/// No file of a law begins so.
const LINK: &[u8] = b"\0link ";

/// The content of a link.
pub(crate) fn link(text: &str) -> Content {
    ([LINK, text.as_bytes()].concat(), false)
}

/// The text of a link.
pub(crate) fn link_text(content: &Content) -> Option<&str> {
    content.0.strip_prefix(LINK).map(|text| std::str::from_utf8(text).unwrap())
}
/// What a path holds, where it holds anything.
pub(crate) type Entry = Option<Content>;

/// Tasks of one folder of outputs.
pub(crate) const LAYER: usize = 5;
/// Tasks of one group.
pub(crate) const GROUP: usize = 6;

/// What a task makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One file.
    File,
    /// A folder, in which other folders come and go with the input.
    Folder,
    /// A file, and a second one only sometimes.
    Optional,
    /// A file that is executable only sometimes.
    Executable,
    /// A file, from an input that only the depfile names.
    Depfile,
    /// A link to the output of the first task that it needs, or to a source.
    Link,
}

/// How much of its input a task lets through: the coarser, the more often a wave stops at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filter {
    /// All of it.
    All,
    /// The number of lines.
    Count,
    /// Its lines, each once, sorted.
    Unique,
    /// The first line.
    First,
    /// The last digit of its size.
    Digit,
}

/// Something that a task names under `inputs`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A path, a glob, a folder, or a glob taken out.
    Text(String),
    /// Something of what another task makes.
    Of(usize, Part),
}

/// What of another task's outputs is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Its main output.
    Main,
    /// Its optional output, where it has one.
    Optional,
    /// Its folder, where it has one.
    Folder,
    /// A file in its folder that is there only sometimes.
    Inside,
}

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its place in the order; everything it refers to has a smaller one.
    pub(crate) index: usize,
    /// How often it was renamed.
    pub(crate) renamed: u8,
    /// How often its outputs were renamed.
    pub(crate) edition: u8,
    /// What it makes.
    pub(crate) shape: Shape,
    /// How coarse it is.
    pub(crate) filter: Filter,
    /// Its `inputs`.
    pub(crate) sources: Vec<Source>,
    /// Its `needs`.
    pub(crate) needs: Vec<usize>,
    /// Its `after`.
    pub(crate) after: Vec<usize>,
    /// A variable, and whether the command uses it.
    pub(crate) tag: Option<(u8, bool)>,
    /// A check's version, and the file that it declares as input.
    pub(crate) check: Option<(u8, Option<String>)>,
    /// Its title, which matters to nobody.
    pub(crate) title: u8,
    /// `always: true`
    pub(crate) always: bool,
    /// `incremental: true`, for a single file that it overwrites.
    pub(crate) incremental: bool,
}

/// A manifest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    /// By index.
    pub(crate) tasks: BTreeMap<usize, Task>,
    /// By group: the version of its gate's check, where it has one.
    pub(crate) gates: BTreeMap<usize, u8>,
    /// Groups that come after the one before them.
    pub(crate) chained: Vec<usize>,
}

/// The result of reading a path through all links.
pub(crate) enum Read {
    Nothing,
    Folder,
    File(Content),
}

/// What a run of a task makes.
pub(crate) struct Made {
    /// Its outputs.
    pub(crate) outputs: BTreeMap<String, Content>,
    /// What its depfile names.
    pub(crate) discovered: Option<String>,
}

impl Task {
    /// Its id.
    pub(crate) fn id(&self) -> String {
        format!("T{}{}", self.index, "x".repeat(self.renamed.into()))
    }

    /// Its group's number.
    pub(crate) fn group(&self) -> usize {
        self.index / GROUP
    }

    fn base(&self) -> String {
        format!("out/L{}/t{}e{}", self.index / LAYER, self.index, self.edition)
    }

    /// The file that everybody may read of it.
    pub(crate) fn main_output(&self) -> String {
        match self.shape {
            Shape::Folder => format!("{}/main.txt", self.base()),
            Shape::Executable => format!("{}.sh", self.base()),
            Shape::File | Shape::Optional | Shape::Depfile | Shape::Link => format!("{}.txt", self.base()),
        }
    }

    /// Its output folder, where it has one.
    pub(crate) fn folder(&self) -> Option<String> {
        (self.shape == Shape::Folder).then(|| self.base())
    }

    /// Its optional output, where it has one.
    pub(crate) fn optional(&self) -> Option<String> {
        (self.shape == Shape::Optional).then(|| format!("{}.opt", self.base()))
    }

    fn part(&self, part: Part) -> String {
        let part = match part {
            Part::Main => None,
            Part::Optional => self.optional(),
            Part::Folder => self.folder().map(|folder| format!("{folder}/")),
            Part::Inside => self.folder().map(|folder| format!("{folder}/d10/p.txt")),
        };
        part.unwrap_or_else(|| self.main_output())
    }

    /// Is this path one of its declared outputs, or inside one?
    pub(crate) fn declares(&self, path: &str) -> bool {
        match self.folder() {
            Some(folder) => path.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/')),
            None => path == self.main_output() || Some(path) == self.optional().as_deref(),
        }
    }

    /// What of it a dependent reads that `needs` it.
    fn read_by_dependents(&self) -> Vec<String> {
        std::iter::once(self.main_output()).chain(self.optional()).collect()
    }

    fn filter_command(&self) -> &'static str {
        match self.filter {
            Filter::All => "cat",
            Filter::Count => "wc -l | tr -d ' '",
            Filter::Unique => "LC_ALL=C sort -u",
            Filter::First => "sed -n 1p",
            Filter::Digit => "wc -c | tr -d ' ' | tail -c 2",
        }
    }

    fn filtered(&self, body: &[u8]) -> Vec<u8> {
        let lines = body.split_inclusive(|byte| *byte == b'\n');
        match self.filter {
            Filter::All => body.to_vec(),
            Filter::Count => format!("{}\n", lines.count()).into_bytes(),
            Filter::Unique => {
                lines.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().concat()
            }
            Filter::First => lines.take(1).collect::<Vec<_>>().concat(),
            Filter::Digit => format!("{}\n", body.len() % 10).into_bytes(),
        }
    }

    /// Its check in the manifest. A link has none, because the check asks for content.
    pub(crate) fn checks(&self) -> Option<&(u8, Option<String>)> {
        self.check.as_ref().filter(|_| self.shape != Shape::Link)
    }

    /// The output of a needed task to which it links.
    fn linked(&self, recipe: &Recipe) -> Option<String> {
        self.needs.first().map(|index| recipe.tasks[index].main_output())
    }

    /// The common start of the names of which its depfile names one.
    fn picks(&self) -> &'static str {
        if self.index.is_multiple_of(2) { "src/s" } else { "ln/f" }
    }

    /// Its command.
    pub(crate) fn command(&self, recipe: &Recipe) -> String {
        let needed: Vec<String> =
            self.needs.iter().flat_map(|index| recipe.tasks[index].read_by_dependents()).collect();
        let tag = if self.tag.is_some_and(|(_, said)| said) { "echo \"tag $TAG\"\n" } else { "" };
        let mut script = format!(
            "body() {{\necho \"task {}\"\n{tag}for f in ${{inputs}} {}; do\n\
             if [ -f \"$f\" ]; then cat \"$f\"; else echo \"no $f\"; fi\n\
             if [ -x \"$f\" ]; then echo \"$f runs\"; fi\ndone\n}}\n",
            self.index,
            needed.join(" ")
        );
        let (filter, base, main) = (self.filter_command(), self.base(), self.main_output());
        let rest = match self.shape {
            Shape::File => format!("body | {filter} > {main}"),
            Shape::Folder => format!(
                "n=$(body | wc -l)\nbody | {filter} > {main}\ni=0\nwhile [ $i -lt $((n % 3)) ]; do\n\
                 mkdir -p {base}/d$((n % 2))$i\necho $i > {base}/d$((n % 2))$i/p.txt\ni=$((i + 1))\ndone"
            ),
            Shape::Optional => format!(
                "n=$(body | wc -l)\nbody | {filter} > {main}\nif [ $((n % 2)) -eq 1 ]; then echo odd > {base}.opt; fi"
            ),
            Shape::Executable => format!(
                "n=$(body | wc -l)\nbody | {filter} > {main}\nif [ $((n % 2)) -eq 1 ]; then chmod +x {main}; fi"
            ),
            Shape::Link => {
                let to = self.linked(recipe).unwrap_or_else(|| "src/s$((n % 4)).txt".to_owned());
                format!("n=$(body | wc -l)\nln -s ../../{to} {main}")
            }
            Shape::Depfile => format!(
                "n=$(body | wc -l)\npick={}$((n % 3)).txt\n\
                 {{ body; if [ -f $pick ]; then cat $pick; else echo none; fi; }} | {filter} > {main}\n\
                 echo \"{main}: $pick\" > dep/t{}.d",
                self.picks(),
                self.index
            ),
        };
        script.push_str(&rest);
        script
    }

    /// What its command makes of these, which it reads in this order: `${inputs}`, then what it needs.
    pub(crate) fn make(
        &self,
        recipe: &Recipe,
        inputs: impl Iterator<Item = String>,
        read: &dyn Fn(&str) -> Read,
    ) -> Made {
        let mut body = format!("task {}\n", self.index).into_bytes();
        if let Some((tag, true)) = self.tag {
            body.extend(format!("tag v{tag}\n").into_bytes());
        }
        let needed = self.needs.iter().flat_map(|index| recipe.tasks[index].read_by_dependents());
        for path in inputs.chain(needed) {
            let (said, executable) = match read(&path) {
                Read::Nothing => (format!("no {path}\n").into_bytes(), false),
                Read::Folder => (format!("no {path}\n").into_bytes(), true),
                Read::File((bytes, executable)) => (bytes, executable),
            };
            body.extend(said);
            if executable {
                body.extend(format!("{path} runs\n").into_bytes());
            }
        }
        let n = body.split(|byte| *byte == b'\n').count() - 1;
        let base = self.base();
        let mut made = Made { outputs: BTreeMap::new(), discovered: None };
        if self.shape == Shape::Depfile {
            let pick = format!("{}{}.txt", self.picks(), n % 3);
            body.extend(match read(&pick) {
                Read::File((bytes, _)) => bytes,
                Read::Nothing | Read::Folder => b"none\n".to_vec(),
            });
            made.discovered = Some(pick);
        }
        if self.shape == Shape::Link {
            let to = self.linked(recipe).unwrap_or_else(|| format!("src/s{}.txt", n % 4));
            made.outputs.insert(self.main_output(), link(&format!("../../{to}")));
            return made;
        }
        let executable = self.shape == Shape::Executable && n % 2 == 1;
        made.outputs.insert(self.main_output(), (self.filtered(&body), executable));
        if self.shape == Shape::Folder {
            for i in 0..n % 3 {
                made.outputs
                    .insert(format!("{base}/d{}{i}/p.txt", n % 2), (format!("{i}\n").into_bytes(), false));
            }
        }
        if self.shape == Shape::Optional && n % 2 == 1 {
            made.outputs.insert(format!("{base}.opt"), (b"odd\n".to_vec(), false));
        }
        made
    }

    /// All of its definition that its key holds, but for inputs and needs.
    pub(crate) fn definition(&self, recipe: &Recipe) -> String {
        format!(
            "{} {:?} {} {:?}",
            self.command(recipe),
            self.tag.map(|(tag, _)| tag),
            self.incremental,
            self.shape
        )
    }

    fn to_yaml(&self, recipe: &Recipe, text: &mut String) {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let ids =
            |indices: &[usize]| indices.iter().map(|i| recipe.tasks[i].id()).collect::<Vec<_>>().join(", ");
        let _ =
            writeln!(text, "  {}:\n    title: title {}\n    group: G{}", self.id(), self.title, self.group());
        let patterns: Vec<String> = recipe.patterns(self).iter().map(|pattern| quoted(pattern)).collect();
        let _ = writeln!(text, "    inputs: [{}]", patterns.join(", "));
        // A tool that another task makes is an edge as `needs` is; every other task names one.
        let (tool, needs) = match self.needs.split_first() {
            Some((first, rest)) if self.index.is_multiple_of(2) => {
                (Some(recipe.tasks[first].main_output()), rest)
            }
            _ => (None, &self.needs[..]),
        };
        let _ = writeln!(text, "    needs: [{}]\n    after: [{}]", ids(needs), ids(&self.after));
        if let Some(tool) = tool {
            let _ = writeln!(text, "    tools: ['{tool}']");
        }
        let outputs = match (self.folder(), self.optional()) {
            (Some(folder), _) => format!("{folder}/"),
            (None, Some(optional)) => {
                format!("{}, {{ path: {optional}, optional: true }}", self.main_output())
            }
            (None, None) => self.main_output(),
        };
        let _ = writeln!(text, "    outputs: [{outputs}]\n    run: {}", quoted(&self.command(recipe)));
        if self.shape == Shape::Depfile {
            let _ = writeln!(text, "    depfile: dep/t{}.d", self.index);
        }
        if let Some((tag, _)) = self.tag {
            let _ = writeln!(text, "    env: {{ TAG: v{tag} }}");
        }
        if let Some((version, input)) = self.checks() {
            let inputs = input.iter().map(|path| format!("[{path}]")).next().unwrap_or("[]".to_owned());
            let _ = writeln!(text, "    validate:\n      - non_empty: {}", self.main_output());
            let _ = writeln!(text, "      - run: \"true # {version}\"\n        inputs: {inputs}");
        }
        for (name, on) in [("always", self.always), ("incremental", self.incremental)] {
            if on {
                let _ = writeln!(text, "    {name}: true");
            }
        }
    }
}

impl Recipe {
    /// A task's `inputs` as written.
    pub(crate) fn patterns(&self, task: &Task) -> Vec<String> {
        let mut patterns = Vec::new();
        for source in &task.sources {
            let text = match source {
                Source::Text(text) => text.clone(),
                Source::Of(index, part) => self.tasks[index].part(*part),
            };
            if !patterns.contains(&text) {
                patterns.push(text);
            }
        }
        patterns
    }

    /// As conductor.yaml.
    pub(crate) fn to_yaml(&self) -> String {
        let mut text = "conductor: 1\nproject: laws\ngroups:\n".to_owned();
        let last = self.tasks.keys().last().copied().unwrap_or(0) / GROUP;
        for group in 0..=last {
            let after = if self.chained.contains(&group) && group > 0 {
                format!("[G{}]", group - 1)
            } else {
                "[]".to_owned()
            };
            let _ = writeln!(text, "  G{group}:\n    after: {after}");
            if let Some(version) = self.gates.get(&group) {
                let _ = writeln!(text, "    gate:\n      - run: \"true # {version}\"");
            }
        }
        text.push_str("tasks:\n");
        for task in self.tasks.values() {
            task.to_yaml(self, &mut text);
        }
        text
    }
}
