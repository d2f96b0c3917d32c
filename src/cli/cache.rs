//! `conductor cache stat | gc | verify | clear`: what lies in the cache, and what is to go.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::caching::{self, Found};
use super::options::{CacheArgs, CacheCommand, GcArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::incremental::Caller;
use crate::model::{Diagnostic, Settings, format_duration};
use crate::report::count;
use crate::store::Cache;
use crate::worktree::Repository;

/// What a cache may grow to, in bytes, unless the manifest says otherwise.
const MAX_SIZE: u64 = 10_000_000_000;
/// How long an unused result stays, unless the manifest says otherwise.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Size and age that the manifest allows.
pub(super) fn limits(settings: &Settings) -> (u64, Duration) {
    (settings.cache_max_size.unwrap_or(MAX_SIZE), settings.cache_max_age.unwrap_or(MAX_AGE))
}

pub(super) fn run(global: &Global, args: &CacheArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let repository = Repository::discover(session.workspace.root());
    let found = caching::find(&session, repository.as_ref());
    output.warn(&found.notices, session.sources());
    if let CacheCommand::Stat(_) = &args.command {
        return Ok(stat(&session, &found, output));
    }
    let Some(cache) = &found.cache else {
        let because = found.because.unwrap_or_default();
        let message = format!("the cache is off: {because}");
        return Err(Stop::plain(Exit::Usage, Diagnostic::error("cache::off", message)));
    };
    match &args.command {
        CacheCommand::Stat(_) => Ok(Exit::Success),
        CacheCommand::Gc(args) => gc(&session, cache, args, output),
        CacheCommand::Verify(args) => verify(cache, args.repair, output),
        CacheCommand::Clear(_) => clear(cache, output),
    }
}

fn stat(session: &Session, found: &Found, output: &Output) -> Exit {
    let (max_size, max_age) = limits(session.plan.settings());
    let Some(cache) = &found.cache else {
        let because = found.because.as_deref().unwrap_or_default();
        if output.json {
            output.say_json(
                &json!({"version": 1, "dir": null, "read": false, "write": false, "because": because}),
            );
        } else {
            output.say(&format!("the cache is off: {because}\n"));
        }
        return Exit::Success;
    };
    let statistics = cache.statistics();
    let oldest = statistics.oldest.and_then(|at| at.elapsed().ok());
    if output.json {
        output.say_json(&json!({
            "version": 1,
            "dir": cache.dir().display().to_string(),
            "read": cache.is_read(),
            "write": cache.is_written(),
            "because": found.because,
            "signs_as": cache.keys().public(),
            "signatures_required": cache.keys().is_required(),
            "entries": statistics.entries,
            "blobs": statistics.blobs,
            "bytes": statistics.bytes,
            "content_bytes": statistics.content_bytes,
            "duration_ms": millis(statistics.duration),
            "oldest_ms": oldest.map(millis),
            "max_size": max_size,
            "max_age_ms": millis(max_age),
        }));
        return Exit::Success;
    }
    let mut text = format!("{}\n", cache.dir().display());
    let entries = count(statistics.entries, "result");
    let of = format!("of {} allowed", bytes(max_size));
    let _ = writeln!(text, "  {entries} in {}, {of}", bytes(statistics.bytes));
    if statistics.entries > 0 {
        let took = format_duration(statistics.duration);
        let _ = writeln!(
            text,
            "  {} of content uncompressed; their commands took {took}",
            bytes(statistics.content_bytes)
        );
    }
    if let Some(oldest) = oldest {
        let (oldest, age) = (age(oldest), age(max_age));
        let _ = writeln!(text, "  unused for {oldest} at most; what is unused for {age} goes");
    }
    let because = found.because.as_ref().map(|because| format!(": {because}")).unwrap_or_default();
    match (cache.is_read(), cache.is_written()) {
        (true, true) => {}
        (true, false) => _ = writeln!(text, "  read only{because}"),
        (false, true) => _ = writeln!(text, "  written only{because}"),
        (false, false) => _ = writeln!(text, "  not used{because}"),
    }
    if let Some(key) = cache.keys().public() {
        let _ = writeln!(text, "  signs as {key}");
    }
    if cache.keys().is_required() {
        let _ = writeln!(text, "  only results that a trusted key has signed are used");
    }
    output.say(&text);
    Exit::Success
}

fn gc(session: &Session, cache: &Cache, args: &GcArgs, output: &Output) -> Result<Exit, Stop> {
    let (max_size, max_age) = limits(session.plan.settings());
    let collected = cache.collect(args.max_size.unwrap_or(max_size), args.max_age.unwrap_or(max_age))?;
    if output.json {
        output.say_json(&json!({
            "version": 1,
            "dir": cache.dir().display().to_string(),
            "removed": {"entries": collected.entries, "blobs": collected.blobs, "bytes": collected.bytes},
            "kept": {"entries": collected.kept_entries, "bytes": collected.kept_bytes},
        }));
    } else {
        output.say(&format!(
            "removed {} and {}, {}; {} left in {}\n",
            count(collected.entries, "result"),
            count(collected.blobs, "piece") + " of content",
            bytes(collected.bytes),
            count(collected.kept_entries, "result"),
            bytes(collected.kept_bytes),
        ));
    }
    Ok(Exit::Success)
}

fn verify(cache: &Cache, repair: bool, output: &Output) -> Result<Exit, Stop> {
    let damage = cache.verify(repair)?;
    let is_left = damage.iter().any(|damage| !damage.removed);
    if output.json {
        let damaged: Vec<_> = damage
            .iter()
            .map(|one| json!({"path": one.path.display().to_string(), "what": one.what, "removed": one.removed}))
            .collect();
        output.say_json(&json!({
            "version": 1, "dir": cache.dir().display().to_string(), "repair": repair, "damaged": damaged
        }));
    } else {
        let mut text = String::new();
        for one in &damage {
            let verb = if one.removed { "removed" } else { "damaged" };
            let _ = writeln!(text, "{verb} {}: {}", one.path.display(), one.what);
        }
        match damage.len() {
            0 => text.push_str("everything is as it was written\n"),
            _ if !repair => text.push_str("next: conductor cache verify --repair\n"),
            _ => {}
        }
        output.say(&text);
    }
    Ok(if is_left { Exit::Integrity } else { Exit::Success })
}

fn clear(cache: &Cache, output: &Output) -> Result<Exit, Stop> {
    let freed = cache.clear()?;
    if output.json {
        let dir = cache.dir().display().to_string();
        output.say_json(&json!({"version": 1, "dir": dir, "bytes": freed}));
    } else {
        output.say(&format!("removed {}\n", bytes(freed)));
    }
    Ok(Exit::Success)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Long durations for people.
fn age(duration: Duration) -> String {
    match duration.as_secs() / (24 * 60 * 60) {
        0 | 1 => format_duration(duration),
        days => format!("{days} days"),
    }
}

/// Bytes for people: `1.2GB`.
fn bytes(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{}{unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes}B"),
    }
}
