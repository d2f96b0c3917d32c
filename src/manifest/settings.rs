//! Top-level keys that concern more than one task. Those of included files count only where the file's
//! tasks depend on them (`pools`, `agents`): the rest is for when the file stands alone.

use std::path::Path;

use super::adapter;
use super::context::{Scope, Shared};
use super::names::{bad_name, is_id, qualify};
use super::reader::Reader;
use super::scalar;
use super::task::budget;
use super::tree::{Kind, Node};
use crate::model::{Diagnostic, Settings};

/// Reads the settings; pools and adapters of all files are put into `shared` too, for the tasks.
pub(super) fn read(shared: &Shared<'_>, scopes: &[Scope<'_>]) -> Settings {
    for scope in scopes {
        let reader = Reader { shared, scope, facts: None, matrix: &[], env: None };
        for entry in scope.root.get("pools").map_or(&[][..], Node::entries) {
            if !is_id(&entry.key) {
                shared.problems.push(bad_name("pool", &entry.key, entry.key_at));
            }
            let limit = reader.integer(&entry.value, 1).unwrap_or(1);
            shared.pools.borrow_mut().insert(qualify(&scope.file.namespace, &entry.key), limit);
        }
        for entry in scope.root.get("agents").map_or(&[][..], Node::entries) {
            let text = |node: &Node<'_>| reader.text(node);
            let mut adapter = adapter::declared(entry, shared.built_in(), shared.problems, &text);
            if adapter.bin.contains('/') {
                // A path is the file's own, as every other.
                let folder = scope.file.folder.under(Path::new(""));
                adapter.bin = folder.join(&adapter.bin).to_string_lossy().into_owned();
            }
            shared.adapters.borrow_mut().entry(entry.key.to_string()).or_insert(adapter);
        }
    }
    let mut settings = scopes.first().map(|root| of_root(shared, root)).unwrap_or_default();
    settings.pools = shared.pools.borrow().iter().map(|(name, limit)| (name.clone(), *limit)).collect();
    settings
}

fn of_root(shared: &Shared<'_>, scope: &Scope<'_>) -> Settings {
    let reader = Reader { shared, scope, facts: None, matrix: &[], env: None };
    let root = scope.root;
    let text = |node: Option<&Node<'_>>| node.and_then(|node| reader.text(node));
    let cache = root.get("cache");
    let remote = root.get("remote").filter(|remote| matches!(remote.kind, Kind::Map(_)));
    let endpoint = remote.and_then(|remote| remote.get("endpoint"));
    check_address(&reader, endpoint, &["grpc://", "grpcs://", "unix:/"], "manifest::bad_endpoint");
    let webhook = root.get("notify").and_then(|notify| notify.get("webhook"));
    check_address(&reader, webhook, &["https://", "http://"], "manifest::bad_webhook");
    let of_cache = |key: &str| cache.and_then(|cache| cache.get(key));
    Settings {
        project: text(root.get("project")),
        default: root.get("default").map(|node| reader.texts(node)).unwrap_or_default(),
        cache_dir: text(of_cache("dir")),
        cache_max_size: of_cache("max_size").and_then(|node| reader.size(node)),
        cache_max_age: of_cache("max_age").and_then(|node| reader.duration(node)),
        cache_policy: (text(of_cache("read")), text(of_cache("write"))),
        budget: root.get("budget").map(|node| budget(&reader, node)).unwrap_or_default(),
        remote: remote.map(|remote| scalar::to_json(remote).to_string()),
        webhook: text(webhook),
        ..Settings::default()
    }
}

/// An address begins with one of a few schemes.
fn check_address(reader: &Reader<'_>, node: Option<&Node<'_>>, schemes: &[&str], code: &str) {
    let Some((node, text)) = node.and_then(|node| Some((node, reader.text(node)?))) else { return };
    if !schemes.iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme)) {
        reader.shared.problems.push(
            Diagnostic::error(code, format!("`{text}` is no address"))
                .label(node.at, "must begin with a scheme")
                .help(format!("write one of {}", schemes.join(", "))),
        );
    }
}
