//! Finds cycles and tells each as the chain of places in the manifest that make it.

use std::collections::VecDeque;

use super::edges::{Edge, Edges, Why};
use crate::model::{Diagnostic, WorkspacePath};

/// A topological order (dependencies first), or one diagnostic for each knot of tasks that wait for each
/// other.
pub(super) fn order(graph: &Edges) -> Result<Vec<u32>, Vec<Diagnostic>> {
    let n = graph.out.len();
    let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); n];
    let mut waits = vec![0_usize; n];
    for (from, edges) in (0..).zip(&graph.out) {
        for edge in edges {
            dependents[edge.to as usize].push(from);
            waits[from as usize] += 1;
        }
    }
    let mut ready: VecDeque<u32> =
        (0..).zip(&waits).filter(|(_, waits)| **waits == 0).map(|(i, _)| i).collect();
    let mut order = Vec::with_capacity(n);
    while let Some(task) = ready.pop_front() {
        order.push(task);
        for dependent in &dependents[task as usize] {
            waits[*dependent as usize] -= 1;
            if waits[*dependent as usize] == 0 {
                ready.push_back(*dependent);
            }
        }
    }
    if order.len() == n {
        return Ok(order);
    }
    Err(knots(graph, &waits))
}

/// One shortest cycle through each knot. Tasks that merely wait for a knot are in none.
fn knots(graph: &Edges, waits: &[usize]) -> Vec<Diagnostic> {
    let mut told = vec![false; waits.len()];
    let mut diagnostics = Vec::new();
    for start in 0..waits.len() {
        if waits[start] == 0 || told[start] {
            continue;
        }
        if let Some(cycle) = shortest_cycle(graph, start, waits) {
            let known = cycle.iter().any(|(task, _)| told[*task as usize]);
            for (task, _) in &cycle {
                told[*task as usize] = true;
            }
            if !known {
                diagnostics.push(tell(graph, &cycle));
            }
        }
    }
    diagnostics
}

/// Breadth first from `start` back to itself, among the tasks that never became ready.
fn shortest_cycle<'g>(graph: &'g Edges, start: usize, waits: &[usize]) -> Option<Vec<(u32, &'g Edge)>> {
    let mut reached: Vec<Option<(u32, &Edge)>> = vec![None; waits.len()];
    let mut queue = VecDeque::from([u32::try_from(start).ok()?]);
    while let Some(task) = queue.pop_front() {
        for edge in &graph.out[task as usize] {
            let to = edge.to as usize;
            if waits[to] == 0 || reached[to].is_some() {
                continue;
            }
            reached[to] = Some((task, edge));
            if to == start {
                let mut cycle = Vec::new();
                let mut at = start;
                while let Some((from, edge)) = reached[at] {
                    cycle.push((from, edge));
                    at = from as usize;
                    if at == start {
                        break;
                    }
                }
                cycle.reverse();
                return Some(cycle);
            }
            queue.push_back(edge.to);
        }
    }
    None
}

fn tell(graph: &Edges, cycle: &[(u32, &Edge)]) -> Diagnostic {
    let visible = |task: &u32| (*task as usize) < graph.hidden_from;
    let mut names: Vec<&str> = cycle
        .iter()
        .filter(|(task, _)| visible(task))
        .map(|(task, _)| graph.tasks[*task as usize].id.as_str())
        .collect();
    if let Some(first) = names.first().copied() {
        names.push(first);
    }
    let message = match names.as_slice() {
        [one, _] => format!("{one} waits for itself"),
        _ => format!("tasks wait for each other: {}", names.join(" → ")),
    };
    let mut diagnostic = Diagnostic::error("graph::cycle", message);
    for (from, edge) in cycle {
        diagnostic = diagnostic.label(edge.at, says(graph, *from, edge));
    }
    let glob = cycle.iter().find_map(|(from, edge)| match edge.why {
        Why::Reads { output, glob: Some(_) } => Some((from, output_path(graph, edge.to, output)?)),
        _ => None,
    });
    match glob {
        Some((from, path)) => diagnostic.help(format!(
            "a glob makes this cycle; add \"!{path}\" to the inputs of {} to break it",
            graph.tasks[*from as usize].id
        )),
        None => diagnostic
            .help("remove one of these edges; `after` waits too, it only keeps outputs out of the key"),
    }
}

fn says(graph: &Edges, from: u32, edge: &Edge) -> String {
    let (output, glob) = match &edge.why {
        Why::Says(words) => return words.to_string(),
        Why::Reads { output, glob } => (*output, glob),
    };
    let id = |task: u32| &graph.tasks[task as usize].id;
    let path = || output_path(graph, edge.to, output).map(WorkspacePath::to_text).unwrap_or_default();
    let what = glob.as_ref().map_or_else(path, ToString::to_string);
    format!("{} reads {what}, which {} makes", id(from), id(edge.to))
}

fn output_path(graph: &Edges, task: u32, output: u32) -> Option<&WorkspacePath> {
    graph.tasks[task as usize].outputs.get(output as usize).map(|output| &output.path)
}
