//! Placeholders: `{model}` in arguments, variables and files, and the command line that is made of them.

use std::collections::BTreeMap;

use crate::model::{Adapter, Argument, PromptChannel};

/// The kernel takes no argument of 128 KiB or more, its final NUL counted.
const LONGEST_ARGUMENT: usize = 128 * 1024 - 1;

/// What placeholders stand for. An empty text is one that is not set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Values {
    /// `{bin}`, the program: a name on PATH, or an absolute path.
    pub bin: String,
    /// `{model}`
    pub model: String,
    /// `{max_turns}`, how many turns are left.
    pub max_turns: String,
    /// `{budget_usd}`, how many dollars are left.
    pub budget_usd: String,
    /// `{uuid}`, a fresh one, for programs that take the name of a new session.
    pub uuid: String,
    /// `{session}`, the one to go on with.
    pub session: String,
    /// `{prompt}`
    pub prompt: String,
    /// `{prompt_file}`, a file that holds the same.
    pub prompt_file: String,
    /// `{result_file}`, where the program may leave what it has to say, as JSON.
    pub result_file: String,
    /// `{state}`, a folder of its own, kept from run to run of one task.
    pub state: String,
    /// `{home}`, its HOME.
    pub home: String,
    /// `{wall}`, how many seconds are left, a whole number.
    pub wall: String,
    /// `{dir}`, the folder that it works in.
    pub dir: String,
    /// `{task}`, the task's id.
    pub task: String,
    /// `{attempt}`, 1 for the first.
    pub attempt: String,
    /// `{env.NAME}`, what the program's own environment holds.
    pub env: BTreeMap<String, String>,
}

impl Values {
    /// All placeholders but `{env.NAME}`.
    pub const NAMES: [&str; 15] = [
        "bin",
        "model",
        "max_turns",
        "budget_usd",
        "uuid",
        "session",
        "prompt",
        "prompt_file",
        "result_file",
        "state",
        "home",
        "wall",
        "dir",
        "task",
        "attempt",
    ];

    /// What `{name}` stands for; none for a name that is no placeholder.
    pub fn get(&self, name: &str) -> Option<&str> {
        Some(match name {
            "bin" => &self.bin,
            "model" => &self.model,
            "max_turns" => &self.max_turns,
            "budget_usd" => &self.budget_usd,
            "uuid" => &self.uuid,
            "session" => &self.session,
            "prompt" => &self.prompt,
            "prompt_file" => &self.prompt_file,
            "result_file" => &self.result_file,
            "state" => &self.state,
            "home" => &self.home,
            "wall" => &self.wall,
            "dir" => &self.dir,
            "task" => &self.task,
            "attempt" => &self.attempt,
            other => {
                let name = other.strip_prefix("env.").filter(|name| !name.is_empty())?;
                self.env.get(name).map_or("", String::as_str)
            }
        })
    }
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("`{{` without its `}}`; a brace that is meant is written twice")]
    Unclosed,
    /// Not one of [`Values::NAMES`].
    #[error("there is no placeholder `{{{0}}}`")]
    Unknown(String),
}

/// A part of a template.
enum Part<'t> {
    Text(&'t str),
    /// `{name}`, or `{name|what stands there where it is empty}`.
    Place(&'t str, Option<&'t str>),
    Unclosed,
}

/// The parts of `template` in their order. A `}` that closes nothing is an ordinary one.
fn parts(template: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if let Some(double) = rest.get(..2).filter(|two| matches!(*two, "{{" | "}}")) {
            rest = &rest[2..];
            return Some(Part::Text(&double[..1]));
        }
        if let Some(inside) = rest.strip_prefix('{') {
            let Some((name, behind)) = inside.split_once('}') else {
                rest = "";
                return Some(Part::Unclosed);
            };
            rest = behind;
            return Some(match name.split_once('|') {
                Some((name, otherwise)) => Part::Place(name, Some(otherwise)),
                None => Part::Place(name, None),
            });
        }
        let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '{' | '}'));
        let (text, behind) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = behind;
        (!text.is_empty()).then_some(Part::Text(text))
    })
}

/// The names of the placeholders in `template`.
pub fn placeholders(template: &str) -> Result<Vec<&str>, TemplateError> {
    let mut names = Vec::new();
    for part in parts(template) {
        match part {
            Part::Text(_) => {}
            Part::Place(name, _) if Values::default().get(name).is_some() => names.push(name),
            Part::Place(name, _) => return Err(TemplateError::Unknown(name.to_owned())),
            Part::Unclosed => return Err(TemplateError::Unclosed),
        }
    }
    Ok(names)
}

/// `template` with its placeholders filled in. What is no placeholder stays as it is; manifests with such were refused.
pub fn fill(template: &str, values: &Values) -> String {
    let mut text = String::with_capacity(template.len());
    for part in parts(template) {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Unclosed => text.push('{'),
            Part::Place(name, otherwise) => match values.get(name) {
                Some("") => text.push_str(otherwise.unwrap_or_default()),
                Some(value) => text.push_str(value),
                None => {
                    text.push('{');
                    text.push_str(name);
                    text.push('}');
                }
            },
        }
    }
    text
}

/// Is one of its placeholders empty, with nothing to stand in its place?
fn lacks_a_value(template: &str, values: &Values) -> bool {
    parts(template).any(|part| matches!(part, Part::Place(name, None) if values.get(name) == Some("")))
}

/// Does one of the arguments have the placeholder `name`?
pub fn uses(arguments: &[Argument], name: &str) -> bool {
    let has = |template: &String| {
        parts(template).any(|part| matches!(part, Part::Place(other, _) if other == name))
    };
    arguments.iter().any(|argument| match argument {
        Argument::Always(template) => has(template),
        Argument::Group(templates) => templates.iter().any(has),
    })
}

/// The program and its arguments: `argv`, then `new` or `resume`, then `tail`, then the prompt where that is an argument.
pub fn command_line(adapter: &Adapter, values: &Values, resume: bool) -> Vec<String> {
    let session = if resume { &adapter.resume } else { &adapter.new };
    let mut line = Vec::new();
    for argument in adapter.argv.iter().chain(session).chain(&adapter.tail) {
        match argument {
            Argument::Always(template) => line.push(fill(template, values)),
            Argument::Group(templates) => {
                if !templates.iter().any(|template| lacks_a_value(template, values)) {
                    line.extend(templates.iter().map(|template| fill(template, values)));
                }
            }
        }
    }
    if let PromptChannel::Argument(flag) = &adapter.prompt {
        line.extend(flag.clone());
        line.push(prompt_argument(values));
    }
    line
}

/// The prompt itself, or where to find it when it is too large for an argument.
fn prompt_argument(values: &Values) -> String {
    if values.prompt.len() <= LONGEST_ARGUMENT || values.prompt_file.is_empty() {
        return values.prompt.clone();
    }
    format!(
        "Your task is written in the file {}. Read all of it first, then do what it says.",
        values.prompt_file
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            bin: "agent".to_owned(),
            model: "big".to_owned(),
            uuid: "u".to_owned(),
            prompt: "do it".to_owned(),
            env: [("KEY".to_owned(), "k".to_owned())].into(),
            ..Values::default()
        }
    }

    #[test]
    fn placeholders_are_filled_in_and_doubled_braces_are_braces() {
        let check = |template: &str, expected: &str| assert_eq!(fill(template, &values()), expected);
        check("{bin} -m {model}", "agent -m big");
        check(r#"{{"model":"{model}","turns":{max_turns|-1}}}"#, r#"{"model":"big","turns":-1}"#);
        check("{env.KEY}{env.OTHER}", "k");
        check("é{model}é } {{}}", "ébigé } {}");
        check("{nope} {", "{nope} {");
        assert_eq!(placeholders("{model}{max_turns|1}"), Ok(vec!["model", "max_turns"]));
        assert_eq!(placeholders("{modle}"), Err(TemplateError::Unknown("modle".to_owned())));
        assert_eq!(placeholders("a {model"), Err(TemplateError::Unclosed));
    }

    #[test]
    fn every_placeholder_has_a_value() {
        for name in Values::NAMES {
            assert!(Values::default().get(name).is_some(), "{name}");
        }
        assert_eq!(Values::default().get("env."), None);
    }

    fn adapter() -> Adapter {
        let always = |text: &str| Argument::Always(text.to_owned());
        let group = |texts: &[&str]| Argument::Group(texts.iter().map(|&text| text.to_owned()).collect());
        Adapter {
            argv: vec![
                always("{bin}"),
                group(&["--model", "{model}"]),
                group(&["--turns", "{max_turns}"]),
                group(&["--wall", "{wall|60}"]),
            ],
            new: vec![group(&["--session-id", "{uuid}"])],
            resume: vec![always("--resume={session}")],
            tail: vec![always("--json")],
            ..Adapter::default()
        }
    }

    #[test]
    fn a_group_goes_as_a_whole_where_one_of_its_placeholders_is_empty() {
        let line = command_line(&adapter(), &values(), false);
        assert_eq!(line, ["agent", "--model", "big", "--wall", "60", "--session-id", "u", "--json"]);
        let values = Values { model: String::new(), session: "s".to_owned(), ..values() };
        let line = command_line(&adapter(), &values, true);
        assert_eq!(line, ["agent", "--wall", "60", "--resume=s", "--json"]);
    }

    #[test]
    fn a_prompt_that_is_an_argument_comes_last_and_one_too_large_for_the_kernel_is_named() {
        let adapter = Adapter { prompt: PromptChannel::Argument(Some("-p".to_owned())), ..adapter() };
        assert!(command_line(&adapter, &values(), false).ends_with(&["-p".to_owned(), "do it".to_owned()]));
        let large =
            Values { prompt: "x".repeat(LONGEST_ARGUMENT + 1), prompt_file: "/tmp/p".to_owned(), ..values() };
        let line = command_line(&adapter, &large, false);
        assert!(line.last().unwrap().contains("/tmp/p") && line.last().unwrap().len() < 200);
    }
}
