//! From a manifest to a plan: edges, cycles, overlaps, closures, the critical path.
//!
//! Knows neither the tree nor past runs: the plan of a manifest is the same on every machine.

mod affected;
mod bodies;
mod cycles;
mod edges;
pub mod export;
mod outputs;
mod plan;
mod select;
mod shards;

pub use affected::{Discovered, Edit, affected};
pub use bodies::Recompile;
pub use edges::EdgeKinds;
pub use plan::{BadPlan, Plan, TaskIndex};
pub use select::{closure, cone, critical_path, select};
pub use shards::split;

use crate::model::{Diagnostic, Manifest, WorkspacePath};

/// Compiles a manifest, or says all that keeps it from being one graph.
pub fn compile(manifest: Manifest) -> Result<Plan, Vec<Diagnostic>> {
    let (graph, mut errors) = edges::connect(&manifest, edges::MAX_EDGES);
    errors.extend(outputs::overlaps(&graph.tasks));
    let order = match cycles::order(&graph) {
        Ok(order) => order,
        Err(cycles) => {
            errors.extend(cycles);
            return Err(errors);
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let sources = manifest.sources.clone();
    let plan = Plan::archive(manifest, &graph, order)
        .map(|plan| plan.with_text(sources))
        .map_err(|error| vec![Diagnostic::error("graph::internal", error.to_string())])?;
    // A `default` that names nothing is the manifest's fault, not that of whoever builds.
    select(&plan, &[], &WorkspacePath::root())?;
    Ok(plan)
}
