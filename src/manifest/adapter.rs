//! Adapters: the built-in ones of `adapters.yaml`, and those of a manifest, which are laid over them key by key. Maps are
//! merged, lists and texts are replaced. An adapter of another name is laid over `command`.
//!
//! Shapes were judged before, by the table; here is judged what a table cannot say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::problems::{Problems, did_you_mean};
use super::syntax;
use super::tree::{Entry, Kind, Node};
use crate::agent::{self, PatternError, TemplateError, Values};
use crate::model::{
    Adapter, AgentEnd, AgentOutput, Argument, At, Diagnostic, Events, Home, Price, PromptChannel, Reading,
    Rule, Scope, Take, WorkspacePath, parse_duration,
};

/// The built-in adapters.
const BUILT_IN: &str = include_str!("adapters.yaml");

/// What an adapter is laid over that is none of the built-in ones.
const BASE: &str = "command";

/// The built-in adapters by their names. That the file is right a test has seen to.
pub(super) fn built_in() -> BTreeMap<String, Adapter> {
    let problems = Problems::default();
    let Some(root) = syntax::parse(0, BUILT_IN, &problems) else { return BTreeMap::new() };
    let read = |entry: &Entry<'_>| {
        let name = entry.key.to_string();
        // Which program `command` is a manifest has to say, if only by declaring it.
        let bin = if name == BASE { String::new() } else { name.clone() };
        let base = Adapter { name, bin, ..plain() };
        let text = |node: &Node<'_>| node.scalar().map(str::to_owned);
        (entry.key.to_string(), Layer { problems: &problems, text: &text }.over(base, &entry.value))
    };
    root.entries().iter().map(read).collect()
}

/// What holds where nothing is said.
fn plain() -> Adapter {
    Adapter {
        argv: vec![Argument::Always("{bin}".to_owned())],
        stall: Duration::from_secs(300),
        grace: Duration::from_secs(10),
        ..Adapter::default()
    }
}

/// The adapter that a manifest declares. `text` reads a scalar, variables filled in.
pub(super) fn declared(
    entry: &Entry<'_>,
    built_in: &BTreeMap<String, Adapter>,
    problems: &Problems,
    text: &dyn Fn(&Node<'_>) -> Option<String>,
) -> Adapter {
    let name = entry.key.to_string();
    let base = built_in.get(&name).cloned().unwrap_or_else(|| {
        let base = built_in.get(BASE).cloned().unwrap_or_else(plain);
        let events = entry.value.get("events").is_some();
        let output = if events { AgentOutput::JsonLines } else { base.output };
        Adapter { bin: name.clone(), name, output, ..base }
    });
    let mut adapter = Layer { problems, text }.over(base, &entry.value);
    if adapter.bin.is_empty() {
        adapter.bin.clone_from(&adapter.name);
    }
    // How the base goes on with sessions says nothing of a program that names none.
    if entry.value.get("resume").is_none() && !knows_its_session(&adapter) {
        adapter.resume.clear();
    }
    if !adapter.resume.is_empty() && !knows_its_session(&adapter) {
        let at = entry.value.entry("resume").map_or(entry.key_at, |resume| resume.key_at);
        problems.push(
            Diagnostic::error(
                "manifest::unknown_session",
                format!("`{}` cannot go on with a session that nobody knows", adapter.name),
            )
            .label(at, "resumes one")
            .help("say under `events` where `session` stands in its output, or give it a name: `new: [--session-id, \"{uuid}\"]`"),
        );
    }
    adapter
}

fn knows_its_session(adapter: &Adapter) -> bool {
    !adapter.events.session.is_empty()
        || agent::uses(&adapter.new, "uuid")
        || adapter.output == AgentOutput::ResultFile
}

/// The diagnostic for a task at `at` whose agent is any program, where nothing says which.
pub(super) fn missing_program(adapter: &Adapter, at: At) -> Option<Diagnostic> {
    adapter.bin.is_empty().then(|| {
        Diagnostic::error("manifest::missing_program", "nothing says which program `command` starts")
            .label(at, "any program")
            .help("name it: `agents: { command: { bin: ./tools/agent } }`")
    })
}

/// A limit in US dollars at `at` cannot hold.
pub fn unknown_cost(adapter: &Adapter, at: At) -> Diagnostic {
    let name = &adapter.name;
    let message = format!("nobody tells what `{name}` costs, so a limit in US dollars cannot hold");
    Diagnostic::error("manifest::unknown_cost", message).label(at, "cannot be kept").help(format!(
        "limit `tokens`, `turns` or `time`, or say what tokens cost: `agents: {{ {name}: {{ price: {{ input: 1.25, output: 10 }} }} }}`"
    ))
}

/// Lays what is written over an adapter.
struct Layer<'a> {
    problems: &'a Problems,
    text: &'a dyn Fn(&Node<'_>) -> Option<String>,
}

impl Layer<'_> {
    fn over(&self, base: Adapter, node: &Node<'_>) -> Adapter {
        let text = |key: &str| node.get(key).and_then(|node| (self.text)(node));
        let duration = |key: &str| text(key).and_then(|text| parse_duration(&text).ok());
        let list = |key: &str, base: Vec<String>| node.get(key).map_or(base, |node| self.texts(node));
        let arguments =
            |key: &str, base: Vec<Argument>| node.get(key).map_or(base, |node| self.arguments(node));
        Adapter {
            bin: text("bin").unwrap_or(base.bin),
            argv: arguments("argv", base.argv),
            new: arguments("new", base.new),
            resume: arguments("resume", base.resume),
            tail: arguments("tail", base.tail),
            prompt: node.get("prompt").and_then(|node| self.prompt(node)).unwrap_or(base.prompt),
            env: self.map(node.get("env"), base.env, &|_, _| true),
            pass_env: list("pass_env", base.pass_env),
            secrets: list("secrets", base.secrets),
            files: self.map(node.get("files"), base.files, &|path, at| self.is_below_home(path, at)),
            login: self.below_home(node.get("login"), base.login),
            settings: self.below_home(node.get("settings"), base.settings),
            home: match text("home").as_deref() {
                Some("user") => Home::User,
                Some("private") => Home::Private,
                _ => base.home,
            },
            output: match text("output").as_deref() {
                Some("json") => AgentOutput::JsonLines,
                Some("text") => AgentOutput::Text,
                Some("file") => AgentOutput::ResultFile,
                _ => base.output,
            },
            events: node.get("events").map_or(base.events.clone(), |node| self.events(base.events, node)),
            outcome: node.get("outcome").map_or(base.outcome, |node| self.outcome(node)),
            model: text("model").or(base.model),
            price: node.get("price").map_or(base.price, |node| self.price(node)),
            stall: duration("stall").unwrap_or(base.stall),
            grace: duration("grace").unwrap_or(base.grace),
            version: list("version", base.version),
            require: text("require").or(base.require),
            check_login: list("check_login", base.check_login),
            help: text("help").or(base.help),
            protect: list("protect", base.protect),
            name: base.name,
        }
    }

    fn texts(&self, node: &Node<'_>) -> Vec<String> {
        node.items().iter().filter_map(|item| (self.text)(item)).collect()
    }

    fn arguments(&self, node: &Node<'_>) -> Vec<Argument> {
        let argument = |item: &Node<'_>| match &item.kind {
            Kind::List(items) => {
                let group = items.iter().filter_map(|item| self.template(item)).collect();
                Some(Argument::Group(group))
            }
            _ => self.template(item).map(Argument::Always),
        };
        node.items().iter().filter_map(argument).collect()
    }

    /// A text with placeholders.
    fn template(&self, node: &Node<'_>) -> Option<String> {
        let text = (self.text)(node)?;
        if let Err(error) = agent::placeholders(&text) {
            let help = match &error {
                TemplateError::Unknown(name) => {
                    did_you_mean(self.problems, name, "placeholders", Values::NAMES)
                }
                TemplateError::Unclosed => "write `{{` for a brace".to_owned(),
            };
            self.problems.push(
                Diagnostic::error("manifest::adapter_placeholder", error.to_string())
                    .label(node.at, "here")
                    .help(format!("{help}; a brace that is meant is doubled")),
            );
        }
        Some(text)
    }

    /// A map, laid over another one.
    fn map(
        &self,
        node: Option<&Node<'_>>,
        base: Vec<(String, String)>,
        accept: &dyn Fn(&str, At) -> bool,
    ) -> Vec<(String, String)> {
        let mut merged: BTreeMap<String, String> = base.into_iter().collect();
        for entry in node.map_or(&[][..], Node::entries) {
            if accept(&entry.key, entry.key_at)
                && let Some(value) = self.template(&entry.value)
            {
                merged.insert(entry.key.to_string(), value);
            }
        }
        merged.into_iter().collect()
    }

    fn below_home(&self, node: Option<&Node<'_>>, base: Vec<String>) -> Vec<String> {
        let Some(node) = node else { return base };
        let paths = node.items().iter().filter_map(|item| Some(((self.text)(item)?, item.at)));
        paths.filter(|(path, at)| self.is_below_home(path, *at)).map(|(path, _)| path).collect()
    }

    fn is_below_home(&self, path: &str, at: At) -> bool {
        let below = WorkspacePath::new(path).is_ok_and(|path| !path.is_root());
        if !below {
            self.problems.push(
                Diagnostic::error("manifest::bad_path", format!("`{path}` is no path below HOME"))
                    .label(at, "leads elsewhere")
                    .help("write it as seen from HOME: `.tool/settings.json`"),
            );
        }
        below
    }

    fn prompt(&self, node: &Node<'_>) -> Option<PromptChannel> {
        let text = (self.text)(node)?;
        match text.split_once(':') {
            None if text == "stdin" => Some(PromptChannel::Stdin),
            None if text == "file" => Some(PromptChannel::File),
            None if text == "arg" => Some(PromptChannel::Argument(None)),
            Some(("arg", flag)) if !flag.is_empty() => Some(PromptChannel::Argument(Some(flag.to_owned()))),
            _ => {
                self.problems.push(
                    Diagnostic::error(
                        "manifest::unknown_word",
                        format!("`{text}` is no way to hand over a prompt"),
                    )
                    .label(node.at, "here")
                    .help("write `stdin`, `file`, `arg`, or `arg:--flag`"),
                );
                None
            }
        }
    }

    fn events(&self, base: Events, node: &Node<'_>) -> Events {
        let read = |key: &str, base: Vec<Reading>| node.get(key).map_or(base, |node| self.readings(node));
        Events {
            session: read("session", base.session),
            end: read("final", base.end),
            text: read("text", base.text),
            message: read("message", base.message),
            tokens_in: read("tokens_in", base.tokens_in),
            tokens_out: read("tokens_out", base.tokens_out),
            cost_usd: read("cost_usd", base.cost_usd),
            turns: read("turns", base.turns),
            denials: read("denials", base.denials),
            retry_after: read("retry_after", base.retry_after),
        }
    }

    fn readings(&self, node: &Node<'_>) -> Vec<Reading> {
        match &node.kind {
            Kind::List(items) => items.iter().map(|item| self.reading(item)).collect(),
            _ => vec![self.reading(node)],
        }
    }

    fn reading(&self, node: &Node<'_>) -> Reading {
        let word = |key: &str| node.get(key).and_then(|node| (self.text)(node));
        let at = node.get("at").map_or_else(Vec::new, |node| match &node.kind {
            Kind::List(items) => items.iter().filter_map(|item| self.path(item)).collect(),
            _ => self.path(node).into_iter().collect(),
        });
        Reading {
            filter: self.filter(node.get("where")),
            at,
            text: node.get("text").and_then(|node| self.regex(node)),
            take: match word("take").as_deref() {
                Some("first") => Take::First,
                Some("sum") => Take::Sum,
                Some("count") => Take::Count,
                Some("concat") => Take::Concat,
                _ => Take::Last,
            },
            by: node.get("by").and_then(|node| self.path(node)),
            scope: if word("scope").as_deref() == Some("session") { Scope::Session } else { Scope::Run },
        }
    }

    /// A dotted path.
    fn path(&self, node: &Node<'_>) -> Option<String> {
        let text = (self.text)(node)?;
        self.check_path(&text, node.at);
        Some(text)
    }

    fn check_path(&self, text: &str, at: At) {
        if !agent::is_path(text) {
            self.problems.push(
                Diagnostic::error("manifest::bad_event_path", format!("`{text}` is no path into an event"))
                    .label(at, "here")
                    .help("names with a dot between them: `usage.input_tokens`"),
            );
        }
    }

    fn filter(&self, node: Option<&Node<'_>>) -> Vec<(String, String)> {
        let entries = node.map_or(&[][..], Node::entries).iter();
        let condition = |entry: &Entry<'_>| {
            self.check_path(&entry.key, entry.key_at);
            Some((entry.key.to_string(), self.regex(&entry.value)?))
        };
        entries.filter_map(condition).collect()
    }

    fn regex(&self, node: &Node<'_>) -> Option<String> {
        let text = (self.text)(node)?;
        if let Err(PatternError { why }) = agent::Pattern::new(&text) {
            self.problems.push(
                Diagnostic::error("manifest::bad_regex", format!("`{text}` is no regular expression: {why}"))
                    .label(node.at, "here")
                    .help("the dialect is that of the regex crate; see docs/agents.md"),
            );
        }
        Some(text)
    }

    fn outcome(&self, node: &Node<'_>) -> Vec<Rule> {
        let rules: Vec<Rule> = node.items().iter().filter_map(|item| self.rule(item)).collect();
        if rules.len() == node.items().len() && !rules.iter().any(|rule| rule.is == AgentEnd::Ok) {
            self.problems.push(
                Diagnostic::error("manifest::no_good_outcome", "by these rules no run could succeed")
                    .label(node.at, "no rule `is: ok`")
                    .help("say when a run went well: `{ is: ok, where: { type: result }, exit: [0] }`"),
            );
        }
        rules
    }

    fn rule(&self, node: &Node<'_>) -> Option<Rule> {
        let name = node.get("is").and_then(|node| (self.text)(node))?;
        let is = AgentEnd::NAMED.into_iter().find(|end| end.name() == name)?;
        let codes = node.get("exit").map_or(&[][..], Node::items).iter();
        let rule = Rule {
            is,
            filter: self.filter(node.get("where")),
            last: self.filter(node.get("last")),
            text: node.get("text").and_then(|node| self.regex(node)),
            exit: codes.filter_map(|node| (self.text)(node)?.parse().ok()).collect(),
        };
        let conditions = ["where", "last", "text", "exit"];
        if conditions.iter().all(|condition| node.get(condition).is_none()) {
            self.problems.push(
                Diagnostic::error(
                    "manifest::rule_without_condition",
                    "this rule says nothing of when it holds",
                )
                .label(node.at, "no `where`, `last`, `text` or `exit`")
                .help("say when: `where: { type: result }`, `text: REGEX` or `exit: [0]`"),
            );
        }
        Some(rule)
    }

    fn price(&self, node: &Node<'_>) -> Option<Price> {
        let number = |key: &str| (self.text)(node.get(key)?)?.parse().ok();
        Some(Price { input: number("input")?, output: number("output")? })
    }
}
