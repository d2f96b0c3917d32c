//! `conductor validate`: the manifest alone, with everything that looks wrong about it.

use serde_json::json;

use super::options::Global;
use super::session::{Session, locate};
use super::{Exit, Output, Stop};
use crate::incremental::{Caller, Told};
use crate::manifest;
use crate::model::{Diagnostic, Severity};
use crate::report::{count, diagnostics};

pub(super) fn run(global: &Global, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let (location, _) = locate(global, &caller)?;
    let session = Session::open(global, caller)?;
    let mut warnings = session.plan.warnings().to_vec();
    let mut engine = session.reader();
    let scope: Vec<_> = session.plan.order().collect();
    engine.observe(&scope);
    session.refuse_unordered(&mut engine)?;
    // Doubts concern what may run; here that is everything.
    for index in &scope {
        engine.make_candidate(*index);
    }
    let mut errors = session.misplaced(&engine, &scope);
    errors.extend(engine.unreadable_instructions(&scope));
    if !errors.is_empty() {
        return Err(session.stop(Exit::Usage, errors));
    }
    warnings.extend(engine.doubts(&scope));
    let mut told = Told::default();
    for index in scope {
        let Ok(task) = session.plan.task(index) else { continue };
        let missing = engine.missing_tools(index, &task, &mut told);
        warnings
            .extend(missing.into_iter().map(|missing| Diagnostic { severity: Severity::Warning, ..missing }));
    }
    let loaded = manifest::load(&location, &|name| session.caller.text(name));
    if let Some(manifest) = &loaded.manifest {
        warnings.extend(manifest::undeclared_paths(manifest, session.workspace.root()));
    }
    let tasks = session.plan.indices().filter(|index| !session.plan.is_hidden(*index));
    let tasks = tasks.filter(|index| !session.plan.is_gate(*index)).count();
    if output.json {
        let mut document = diagnostics::to_json(&warnings, session.sources());
        document["valid"] = json!(true);
        document["tasks"] = json!(tasks);
        output.say_json(&document);
    } else {
        output.warn(&warnings, session.sources());
        let parts = [
            count(tasks, "task"),
            count(session.plan.groups().len(), "group"),
            count(session.sources().files.len(), "file"),
            count(warnings.len(), "warning"),
        ];
        output.say(&format!("valid: {}\n", parts.join(", ")));
    }
    Ok(Exit::Success)
}
