//! The part of an action that the manifest alone decides: which keys of a task enter its key, and under
//! which name. `docs/keys.md` has the table.

use super::{
    AgentWork, Check, EnvValue, Instructions, Isolation, Pattern, Sees, Task, ToolKind, Work, WorkspacePath,
};

impl Task {
    /// The named parts of the definition in a fixed order. What is left at its default is left out, so that a
    /// new key with a default changes no existing key.
    pub fn definition(&self) -> Vec<(String, String)> {
        let mut parts = Parts::default();
        match &self.work {
            Work::Run(command) => parts.add("run", super::digestible(command)),
            Work::Agent(agent) => agent_parts(agent, &mut parts),
            Work::Gate => {}
        }
        parts.add_unless(self.dir.is_root(), "dir", || self.dir.to_text());
        for output in &self.outputs {
            let name = if output.optional { "optional output" } else { "output" };
            let slash = if output.folder { "/" } else { "" };
            parts.add(name, format!("{}{slash}", output.path.to_text()));
        }
        for pattern in &self.edits {
            parts.add("edits", pattern.display());
        }
        if let Some((path, _)) = &self.depfile {
            parts.add("depfile", path.to_text());
        }
        parts.add_unless(self.sees == Sees::Inputs, "sees", || "all".to_owned());
        parts.add_unless(self.network, "network", || "off".to_owned());
        parts.add_unless(!self.incremental, "incremental", || "true".to_owned());
        for (name, value) in &self.platform {
            parts.add("platform", format!("{name}={value}"));
        }
        parts.0
    }

    /// Everything in the manifest that freshness can depend on, beyond [`Self::definition`]: patterns,
    /// declared variables and tools, and checks. Two tasks with equal lists and equal edges differ only in
    /// what the world holds.
    pub fn declarations(&self) -> Vec<(String, String)> {
        let mut parts = Parts(self.definition());
        for pattern in &self.inputs {
            parts.add("input", pattern.display());
        }
        for variable in &self.env {
            let value = match &variable.value {
                EnvValue::Literal(value) => format!("={value}"),
                EnvValue::Caller => String::new(),
            };
            parts.add("env", format!("{}{value}", variable.name));
        }
        for tool in &self.tools {
            parts.add("tool", tool_text(&tool.kind));
        }
        for check in &self.validate {
            parts.add("check", check.definition());
            for pattern in &check.inputs {
                parts.add("check input", pattern.display());
            }
        }
        parts.add_unless(self.isolation == Isolation::None, "isolation", || format!("{:?}", self.isolation));
        parts.add_unless(!self.always, "always", || "true".to_owned());
        parts.0
    }
}

fn agent_parts(agent: &AgentWork, parts: &mut Parts) {
    parts.add("agent", agent.adapter.clone());
    if let Some(model) = &agent.model {
        parts.add("model", model.clone());
    }
    match &agent.instructions {
        Instructions::Text(text) => parts.add("instructions", text.source()),
        Instructions::File(path) => parts.add("instructions file", path.to_text()),
    }
}

fn tool_text(kind: &ToolKind) -> String {
    match kind {
        ToolKind::Program(name) => format!("program {name}"),
        ToolKind::Command(command) => format!("command {}", super::digestible(command)),
    }
}

impl Check {
    /// As it enters the validation's key.
    pub fn definition(&self) -> String {
        match &self.kind {
            super::CheckKind::Run(command) => format!("run {}", super::digestible(command)),
            super::CheckKind::NonEmpty(path) => format!("non_empty {}", path.to_text()),
            // Quoted, because a path may hold a space.
            super::CheckKind::Matches { path, regex } => {
                format!("matches {} {regex}", serde_json::Value::from(path.to_text()))
            }
        }
    }
}

impl Pattern {
    /// The folder under which everything that it matches lies: the path itself where it is literal, else
    /// the leading components that hold no glob characters.
    pub fn base(&self) -> WorkspacePath {
        if let Some(path) = &self.literal {
            return path.clone();
        }
        let plain = |part: &&str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
        let parts: Vec<&str> = self.glob.split('/').collect();
        let leading: Vec<&str> = parts[..parts.len() - 1].iter().copied().take_while(plain).collect();
        WorkspacePath::new(leading.join("/")).unwrap_or_default()
    }

    /// As people know it, the folder of its manifest in front.
    pub fn display(&self) -> String {
        let bang = if self.negated { "!" } else { "" };
        let slash = if self.folder && !self.glob.ends_with('/') { "/" } else { "" };
        format!("{bang}{}{slash}", self.glob)
    }
}

#[derive(Default)]
struct Parts(Vec<(String, String)>);

impl Parts {
    fn add(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }

    fn add_unless(&mut self, default: bool, name: &str, value: impl FnOnce() -> String) {
        if !default {
            self.add(name, value());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{At, CheckKind, Command, Template};

    #[test]
    fn a_space_in_a_path_does_not_make_two_checks_one() {
        let check = |path: &str, regex: &str| Check {
            kind: CheckKind::Matches { path: WorkspacePath::new(path).unwrap(), regex: regex.to_owned() },
            inputs: Vec::new(),
            at: At::default(),
        };
        assert_eq!(check("a", "x").definition(), r#"matches "a" x"#);
        assert_ne!(check("a", "b c").definition(), check("a b", "c").definition());
    }

    #[test]
    fn arguments_keep_their_boundaries() {
        let argv = |words: &[&str]| {
            super::super::digestible(&Command::Argv(words.iter().map(|word| Template::text(*word)).collect()))
        };
        assert_eq!(argv(&["echo", "a \"b\"", "é"]), r#"argv ["echo","a \"b\"","é"]"#);
        assert_ne!(argv(&["a", "b"]), argv(&["a b"]));
    }
}
