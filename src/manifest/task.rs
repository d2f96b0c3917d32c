//! One task, or one instance of a matrix task: from its entry and the file's `defaults` to the model.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::adapter::unknown_cost;
use super::check::checks;
use super::context::{Facts, Scope, Shared};
use super::fill::Mode;
use super::problems::did_you_mean;
use super::reader::Reader;
use super::tree::{Entry, Kind, Node, find};
use super::{environment, rules};
use crate::model::{
    Adapter, AgentWork, At, Budget, CacheMode, Diagnostic, GroupId, Instructions, Integrate, Isolation,
    Output, Pattern, Reference, Retries, Sees, Task, TaskId, Tool, ToolKind, Work, Writes,
};

/// Keys that mean something for agents alone.
const AGENT_KEYS: [&str; 4] = ["model", "instructions", "budget", "limit_wait"];
/// How often an agent is shown what is wrong, unless its task says otherwise.
const AGENT_RETRIES: Retries = Retries { max: 2, backoff: Duration::from_secs(1) };
/// Keys that mean nothing for an agent.
const RUN_KEYS: [&str; 3] = ["depfile", "weight", "incremental"];

/// A task as it is written, before its instances are built.
pub(super) struct Written<'a> {
    pub(super) scope: &'a Scope<'a>,
    pub(super) entry: &'a Entry<'a>,
    /// The whole id and the matrix values of each instance.
    pub(super) instances: Vec<(TaskId, Vec<(String, String)>)>,
}

/// The keys of a task over those of `defaults`.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    own: &'a [Entry<'a>],
    defaults: &'a [Entry<'a>],
}

impl<'a> Fields<'a> {
    /// What the task itself says of `key`.
    pub(super) fn own(&self, key: &str) -> Option<&'a Entry<'a>> {
        find(self.own, key)
    }

    /// What the task says of `key`, else its file's defaults.
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry<'a>> {
        self.own(key).or_else(|| find(self.defaults, key))
    }

    fn get(&self, key: &str) -> Option<&'a Node<'a>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Defaults first, so that what the task says is laid over them.
    fn both(&self, key: &str) -> impl Iterator<Item = &'a Node<'a>> {
        [find(self.defaults, key), self.own(key)].into_iter().flatten().map(|entry| &entry.value)
    }
}

/// Builds one instance. None where what it does cannot be known.
pub(super) fn build(
    shared: &Shared<'_>,
    written: &Written<'_>,
    id: &TaskId,
    matrix: &[(String, String)],
) -> Option<Task> {
    let scope = written.scope;
    let fields = Fields {
        own: written.entry.value.entries(),
        defaults: scope.root.get("defaults").map_or(&[], Node::entries),
    };
    let unnamed = Facts { id: id.as_str().to_owned(), ..Facts::default() };
    let early = Reader { shared, scope, facts: Some(&unnamed), matrix, env: None };
    let title = fields.get("title").and_then(|node| early.text(node));
    let role = fields.get("role").and_then(|node| early.text(node));
    let group = fields.get("group").and_then(|node| group(&early, node));
    let facts = Facts {
        id: id.as_str().to_owned(),
        title: title.clone(),
        role: role.clone(),
        group: group.as_ref().map(|group| group.as_str().to_owned()),
    };
    let naming = Reader { facts: Some(&facts), ..early };
    let env = environment::env(&naming, scope.root.get("env").into_iter().chain(fields.both("env")));
    let reader = Reader { shared, scope, facts: Some(&facts), matrix, env: Some(&env) };
    let builder = Builder { reader: &reader, fields, at: written.entry.key_at, id };
    let work = builder.work();
    let mut task = builder.common(work?, title, role, group);
    task.env.clone_from(&env);
    rules::check(&reader, written.entry.key_at, &fields, &task);
    // What `defaults` say of branches is for those that have one.
    if task.isolation != Isolation::Worktree {
        task.integrate = Integrate::Tree;
    }
    Some(task)
}

fn group(reader: &Reader<'_>, node: &Node<'_>) -> Option<GroupId> {
    let name = reader.text(node)?;
    let names = &reader.shared.names;
    let group = names.group(&reader.scope.file.namespace, &name);
    if group.is_none() {
        names.unknown(reader.shared.problems, &name, node.at, true);
    }
    group
}

struct Builder<'a> {
    reader: &'a Reader<'a>,
    fields: Fields<'a>,
    /// The task's key.
    at: At,
    id: &'a TaskId,
}

impl<'a> Builder<'a> {
    fn report(&self, diagnostic: Diagnostic) {
        self.reader.shared.problems.push(diagnostic);
    }

    fn read<T>(&self, key: &str, read: impl FnOnce(&Reader<'a>, &'a Node<'a>) -> Option<T>) -> Option<T> {
        self.fields.get(key).and_then(|node| read(self.reader, node))
    }

    fn flag(&self, key: &str) -> bool {
        self.read(key, Reader::boolean).unwrap_or(false)
    }

    fn duration(&self, key: &str) -> Option<Duration> {
        self.read(key, Reader::duration)
    }

    /// One of a few words; the table of keys has reported others.
    fn word<T>(&self, key: &str, words: &[(&str, T)]) -> Option<T>
    where
        T: Copy,
    {
        let text = self.read(key, Reader::text)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }

    fn list<T>(&self, key: &str, read: impl FnOnce(&Reader<'a>, &'a Node<'a>) -> Vec<T>) -> Vec<T> {
        self.fields.get(key).map(|node| read(self.reader, node)).unwrap_or_default()
    }

    /// `run` or `agent`, and where it stands.
    fn work(&self) -> Option<(Work, At)> {
        match (self.fields.own("run"), self.fields.own("agent")) {
            (Some(run), None) => {
                self.only_for("an agent", &AGENT_KEYS, "manifest::agent_key_on_run");
                Some((Work::Run(self.reader.command(&run.value, true)?), run.value.at))
            }
            (Some(run), Some(agent)) => {
                self.report(
                    Diagnostic::error("manifest::two_kinds_of_work", "a task has either `run` or `agent`")
                        .label(agent.key_at, "an agent")
                        .label(run.key_at, "a command")
                        .help("make two tasks of it; one can need the other"),
                );
                None
            }
            (None, _) => {
                if let Some(agent) = self.fields.entry("agent") {
                    return self.agent(agent);
                }
                // A task whose body is malformed was reported for that.
                if !self.fields.own.is_empty() {
                    self.report(
                        Diagnostic::error("manifest::no_work", format!("`{}` does nothing", self.id))
                            .label(self.at, "neither `run` nor `agent`")
                            .help("say what it does: `run: COMMAND`, or `agent: claude` with `instructions`"),
                    );
                }
                None
            }
        }
    }

    fn only_for(&self, whom: &str, keys: &[&str], code: &str) {
        for key in keys {
            if let Some(entry) = self.fields.own(key) {
                self.report(
                    Diagnostic::error(code, format!("`{key}` is for {whom}"))
                        .label(entry.key_at, "means nothing here")
                        .help("remove it"),
                );
            }
        }
    }

    fn adapter(&self, name: &str, at: At) -> Option<Adapter> {
        let shared = self.reader.shared;
        let adapter = shared.adapter(name);
        if adapter.is_none() {
            let declared = shared.adapters.borrow();
            let known = shared.built_in().keys().chain(declared.keys()).map(String::as_str);
            self.report(
                Diagnostic::error("manifest::unknown_agent", format!("there is no adapter `{name}`"))
                    .label(at, "not known")
                    .help(did_you_mean(shared.problems, name, "adapters", known)),
            );
        }
        adapter
    }

    fn agent(&self, agent: &Entry<'_>) -> Option<(Work, At)> {
        self.only_for("a command", &RUN_KEYS, "manifest::run_key_on_agent");
        let name = self.reader.text(&agent.value)?;
        let adapter = self.adapter(&name, agent.value.at);
        if let Some(problem) =
            adapter.as_ref().and_then(|one| super::adapter::missing_program(one, agent.value.at))
        {
            self.report(problem);
        }
        let Some(instructions) = self.fields.get("instructions") else {
            self.report(
                Diagnostic::error(
                    "manifest::missing_instructions",
                    format!("`{}` has no instructions", self.id),
                )
                .label(agent.key_at, "an agent must be told what to do")
                .help("add `instructions: |` with a text, or `instructions: { file: PATH }`"),
            );
            return None;
        };
        let instructions = match &instructions.kind {
            Kind::Map(_) => Instructions::File(self.reader.path(instructions.get("file")?)?.0),
            _ => Instructions::Text(self.reader.template(instructions, Mode::Instructions)?),
        };
        // The model that it will really be is what the result depends on.
        let model = self.read("model", Reader::text);
        let model = model.or_else(|| adapter.as_ref().and_then(|adapter| adapter.model.clone()));
        let budget = self.budget(adapter.as_ref());
        Some((
            Work::Agent(Box::new(AgentWork { adapter: name, model, instructions, budget })),
            agent.value.at,
        ))
    }

    /// What it declares, and the file of its instructions.
    fn inputs(&self) -> Vec<Pattern> {
        let mut inputs = self.list("inputs", |reader, node| reader.patterns(node));
        let file = self.fields.get("instructions").and_then(|node| node.get("file"));
        if let Some(pattern) = file.and_then(|file| self.reader.pattern(file))
            && !inputs.iter().any(|input| !input.negated && input.literal == pattern.literal)
        {
            inputs.push(pattern);
        }
        inputs
    }

    fn budget(&self, adapter: Option<&Adapter>) -> Budget {
        let Some(node) = self.fields.get("budget") else { return Budget::default() };
        let limits = budget(self.reader, node);
        if let Some(adapter) = adapter.filter(|adapter| limits.usd.is_some() && !adapter.tells_cost()) {
            let at = node.entry("usd").map_or(node.at, |usd| usd.key_at);
            self.report(unknown_cost(adapter, at));
        }
        limits
    }

    fn common(
        &self,
        (work, work_at): (Work, At),
        title: Option<String>,
        role: Option<String>,
        group: Option<GroupId>,
    ) -> Task {
        let reader = self.reader;
        let is_agent = matches!(work, Work::Agent(_));
        let in_its_way = if is_agent { Isolation::Worktree } else { Isolation::None };
        Task {
            id: self.id.clone(),
            at: self.at,
            title,
            group,
            role,
            effort: self.duration("effort"),
            tags: self
                .list("tags", |reader, node| reader.texts(node))
                .into_iter()
                .map(|(tag, _)| tag)
                .collect(),
            work,
            work_at,
            dir: self
                .read("dir", Reader::path)
                .map_or_else(|| reader.scope.file.folder.clone(), |(path, _)| path),
            needs: self.list("needs", references),
            after: self.list("after", references),
            inputs: self.inputs(),
            env: Vec::new(),
            pass_env: environment::names(
                reader.scope.root.get("pass_env").into_iter().chain(self.fields.get("pass_env")),
                reader,
            ),
            secrets: environment::names(self.fields.get("secrets"), reader),
            tools: self.list("tools", tools),
            outputs: self.list("outputs", outputs),
            edits: self.list("edits", |reader, node| reader.patterns(node)),
            depfile: self.fields.get("depfile").and_then(|node| Some((reader.path(node)?.0, node.at))),
            require: self.list("require", |reader, node| checks(reader, node, true)),
            validate: self.list("validate", |reader, node| checks(reader, node, true)),
            rollback: self.read("rollback", |reader, node| reader.command(node, true)),
            isolation: self
                .word(
                    "isolation",
                    &[
                        ("none", Isolation::None),
                        ("sandbox", Isolation::Sandbox),
                        ("worktree", Isolation::Worktree),
                    ],
                )
                .unwrap_or(in_its_way),
            sees: self.word("sees", &[("inputs", Sees::Inputs), ("all", Sees::All)]).unwrap_or_default(),
            integrate: self
                .word("integrate", &[("tree", Integrate::Tree), ("branch", Integrate::Branch)])
                .unwrap_or_default(),
            writes: self.word("writes", &[("error", Writes::Error), ("warn", Writes::Warn)]),
            copy: self.list("copy", |reader, node| reader.patterns(node)),
            setup: self.read("setup", |reader, node| reader.command(node, true)),
            approve: self.flag("approve"),
            timeout: self.duration("timeout"),
            stall: self.duration("stall"),
            limit_wait: self.duration("limit_wait"),
            retries: self.read("retries", retries).or(is_agent.then_some(AGENT_RETRIES)),
            pool: self.read("pool", pool),
            weight: self.read("weight", |reader, node| reader.integer(node, 1)).unwrap_or(1),
            incremental: self.flag("incremental"),
            always: self.flag("always"),
            cache: self
                .word(
                    "cache",
                    &[("off", CacheMode::Off), ("local", CacheMode::Local), ("shared", CacheMode::Shared)],
                )
                .unwrap_or_default(),
            network: self.word("network", &[("on", true), ("off", false)]).unwrap_or(true),
            platform: self.platform(),
        }
    }

    fn platform(&self) -> Vec<(String, String)> {
        let mut properties = BTreeMap::new();
        for entry in self.fields.both("platform").flat_map(Node::entries) {
            if let Some(value) = self.reader.text(&entry.value) {
                properties.insert(entry.key.to_string(), value);
            }
        }
        properties.into_iter().collect()
    }
}

/// What the names of `needs` or `after` refer to.
pub(super) fn references(reader: &Reader<'_>, node: &Node<'_>) -> Vec<Reference> {
    let names = &reader.shared.names;
    let mut all = Vec::new();
    for (name, at) in reader.texts(node) {
        match names.resolve(&reader.scope.file.namespace, &name, at) {
            Some(found) if reader.shared.spend(64 * found.len(), at) => all.extend(found),
            Some(_) => {}
            None => names.unknown(reader.shared.problems, &name, at, false),
        }
    }
    // `[T1, "T1[os=a]"]` names one instance twice.
    let mut seen = HashSet::new();
    let first_time: Vec<bool> = all.iter().map(|reference| seen.insert(rules::name(reference))).collect();
    let mut first_time = first_time.into_iter();
    all.retain(|_| first_time.next().unwrap_or(true));
    all
}

fn tools(reader: &Reader<'_>, node: &Node<'_>) -> Vec<Tool> {
    let tool = |item: &Node<'_>| {
        let kind = match &item.kind {
            Kind::Map(_) => ToolKind::Command(reader.command(item.get("run")?, false)?),
            _ => ToolKind::Program(reader.text(item)?),
        };
        let name = match &kind {
            ToolKind::Program(name) => name.clone(),
            ToolKind::Command(command) => command.display(),
        };
        Some(Tool { name, kind, at: item.at })
    };
    node.items().iter().filter_map(tool).collect()
}

fn outputs(reader: &Reader<'_>, node: &Node<'_>) -> Vec<Output> {
    let output = |item: &Node<'_>| {
        let (written, optional) = match &item.kind {
            Kind::Map(_) => (
                item.get("path")?,
                item.get("optional").and_then(|node| reader.boolean(node)).unwrap_or(false),
            ),
            _ => (item, false),
        };
        let (path, folder) = reader.output(written)?;
        Some(Output { path, folder, optional, at: written.at })
    };
    let mut outputs: Vec<Output> = node.items().iter().filter_map(output).collect();
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    outputs
}

fn retries(reader: &Reader<'_>, node: &Node<'_>) -> Option<Retries> {
    let backoff = Duration::from_secs(1);
    if let Kind::Map(_) = node.kind {
        return Some(Retries {
            max: node.get("max").and_then(|node| reader.integer(node, 0)).unwrap_or(0),
            backoff: node.get("backoff").and_then(|node| reader.duration(node)).unwrap_or(backoff),
        });
    }
    reader.integer(node, 0).map(|max| Retries { max, backoff })
}

/// The pool's whole name: one of the own namespace, else the root's.
fn pool(reader: &Reader<'_>, node: &Node<'_>) -> Option<String> {
    let name = reader.text(node)?;
    let pools = reader.shared.pools.borrow();
    let own = super::names::qualify(&reader.scope.file.namespace, &name);
    for candidate in [&own, &name] {
        if candidate == "agents" || pools.contains_key(candidate) {
            return Some(candidate.clone());
        }
    }
    if !reader.shared.names.incomplete {
        let known: Vec<&str> = pools.keys().map(String::as_str).collect();
        reader.shared.problems.push(
            Diagnostic::error("manifest::unknown_pool", format!("there is no pool `{name}`"))
                .label(node.at, "not under `pools`")
                .help(did_you_mean(reader.shared.problems, &name, "pools", known)),
        );
    }
    None
}

/// `budget:` of a task or a run.
pub(super) fn budget(reader: &Reader<'_>, node: &Node<'_>) -> Budget {
    let count = |key: &str| node.get(key).and_then(|node| crate::model::parse_count(&reader.text(node)?));
    Budget {
        usd: node.get("usd").and_then(|node| reader.text(node)?.parse().ok()),
        tokens: count("tokens"),
        turns: count("turns"),
        time: node.get("time").and_then(|node| reader.duration(node)),
    }
}
