//! The graph for other programs: Graphviz, Mermaid, JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{EdgeKinds, Plan, TaskIndex};

/// An edge between two visible tasks: from needs to.
struct Arrow {
    from: TaskIndex,
    to: TaskIndex,
    kind: &'static str,
}

/// Edges among `scope`; a hidden gate is replaced by edges to the tasks behind it.
fn arrows(plan: &Plan, scope: &[TaskIndex]) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for from in scope.iter().copied().filter(|i| !plan.is_hidden(*i)) {
        for (to, kinds) in plan.deps(from) {
            if plan.is_hidden(to) {
                let behind = plan.deps(to).map(|(to, _)| to).filter(|to| !plan.is_hidden(*to));
                let explicit: BTreeSet<_> = plan.deps(from).map(|(to, _)| to).collect();
                arrows.extend(behind.filter(|to| !explicit.contains(to)).map(|to| Arrow {
                    from,
                    to,
                    kind: EdgeKinds::AFTER.name(),
                }));
            } else {
                arrows.push(Arrow { from, to, kind: kinds.name() });
            }
        }
    }
    arrows
}

fn visible(plan: &Plan, scope: &[TaskIndex]) -> impl Iterator<Item = TaskIndex> {
    scope.iter().copied().filter(|i| !plan.is_hidden(*i))
}

/// The contract's JSON; `title` and `group` where the manifest gives them.
pub fn to_json(plan: &Plan, scope: &[TaskIndex]) -> Value {
    let nodes: Vec<Value> = visible(plan, scope)
        .map(|i| {
            let task = plan.task(i).ok();
            let title = task.as_ref().and_then(|task| task.title.clone());
            let group = task.as_ref().and_then(|task| task.group.as_ref().map(ToString::to_string));
            json!({"id": plan.id(i), "title": title, "group": group})
        })
        .collect();
    let edges: Vec<Value> = arrows(plan, scope)
        .iter()
        .map(|arrow| json!({"from": plan.id(arrow.from), "to": plan.id(arrow.to), "kind": arrow.kind}))
        .collect();
    json!({"version": 1, "nodes": nodes, "edges": edges})
}

/// Graphviz, groups as clusters; an arrow points from a task to one that waits for it.
pub fn to_dot(plan: &Plan, scope: &[TaskIndex]) -> String {
    let mut dot =
        String::from("digraph conductor {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    for (group, members) in by_group(plan, scope) {
        let indent = if group.is_some() { "    " } else { "  " };
        if let Some(name) = &group {
            let _ = writeln!(
                dot,
                "  subgraph {} {{\n    label={};",
                quote(&format!("cluster_{name}")),
                quote(name)
            );
        }
        for i in members {
            let title = plan.task(i).ok().and_then(|task| task.title.clone()).unwrap_or_default();
            let label =
                if title.is_empty() { plan.id(i).to_owned() } else { format!("{}\n{title}", plan.id(i)) };
            let shape = if plan.is_gate(i) { ", shape=diamond" } else { "" };
            let _ = writeln!(
                dot,
                "{indent}{} [label={}{shape}];",
                quote(plan.id(i)),
                quote(&label).replace('\n', "\\n")
            );
        }
        if group.is_some() {
            dot.push_str("  }\n");
        }
    }
    for arrow in arrows(plan, scope) {
        let style = if matches!(arrow.kind, "after" | "gate") { " [style=dashed]" } else { "" };
        let _ = writeln!(dot, "  {} -> {}{style};", quote(plan.id(arrow.to)), quote(plan.id(arrow.from)));
    }
    dot.push_str("}\n");
    dot
}

/// Mermaid, for Markdown; nodes are numbered since ids may hold what Mermaid cannot.
pub fn to_mermaid(plan: &Plan, scope: &[TaskIndex]) -> String {
    let mut mermaid = String::from("flowchart LR\n");
    let quote = |text: &str| text.replace('"', "#quot;").replace('[', "#91;").replace(']', "#93;");
    for (group, members) in by_group(plan, scope) {
        let indent = if group.is_some() { "    " } else { "  " };
        if let Some(name) = &group {
            let _ =
                writeln!(mermaid, "  subgraph g_{}[\"{}\"]", name.replace([':', '.', '-'], "_"), quote(name));
        }
        for i in members {
            let title = plan.task(i).ok().and_then(|task| task.title.clone()).unwrap_or_default();
            let label = if title.is_empty() {
                quote(plan.id(i))
            } else {
                format!("{}: {}", quote(plan.id(i)), quote(&title))
            };
            let (open, close) = if plan.is_gate(i) { ("{", "}") } else { ("[", "]") };
            let _ = writeln!(mermaid, "{indent}t{i}{open}\"{label}\"{close}");
        }
        if group.is_some() {
            mermaid.push_str("  end\n");
        }
    }
    for arrow in arrows(plan, scope) {
        let line = if matches!(arrow.kind, "after" | "gate") { "-.->" } else { "-->" };
        let _ = writeln!(mermaid, "  t{} {line} t{}", arrow.to, arrow.from);
    }
    mermaid
}

/// Tasks under their groups in the manifest's order; those without one last.
fn by_group(plan: &Plan, scope: &[TaskIndex]) -> Vec<(Option<String>, Vec<TaskIndex>)> {
    let group_of = |i: TaskIndex| plan.task(i).ok().and_then(|task| task.group.clone());
    let tasks: BTreeSet<TaskIndex> = visible(plan, scope).collect();
    let tasks: Vec<_> = tasks.into_iter().map(|i| (i, group_of(i))).collect();
    let members = |group: Option<&crate::model::GroupId>| {
        tasks.iter().filter(|(_, own)| own.as_ref() == group).map(|(i, _)| *i).collect::<Vec<_>>()
    };
    let named = plan.groups().iter().map(|group| (Some(group.id.to_string()), members(Some(&group.id))));
    named.chain([(None, members(None))]).filter(|(_, members)| !members.is_empty()).collect()
}
