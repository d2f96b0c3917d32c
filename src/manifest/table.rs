//! The table of keys of format 1.

use super::keys::Type::{
    Anything, Count, Defaults, Duration, Flag, Integer, List, Map, Number, OneOf, Record, Size, Text, Word,
};
use super::keys::{Key, Type, key, required};

/// A command: a string for `sh -eu -c`, or a program with its arguments.
const COMMAND: Type = OneOf(&[Text, List(&Text)]);
const TEXTS: Type = List(&Text);
/// Values, or names whose values the caller's environment has.
const ENV: Type = OneOf(&[Map(&Text), List(&Text)]);

/// The keys of a manifest file.
pub(super) const FILE: &[Key] = &[
    required("conductor", Integer(1), "the version of the format: 1"),
    key("project", Text, "", "the project's name, for people"),
    key("default", TEXTS, "every task", "the targets of a bare `conductor build`"),
    key("include", TEXTS, "[]", "further manifest files, as paths or globs"),
    key(
        "namespace",
        Text,
        "that of the includer",
        "prefix of this file's ids where another file includes it",
    ),
    key("vars", Map(&Text), "{}", "values for `${vars.NAME}` in this file"),
    key("env", ENV, "{}", "variables of every task of this file, part of every key"),
    key("pass_env", TEXTS, "[]", "variables handed through where the caller has them, never part of a key"),
    key("pools", Map(&Integer(1)), "{ agents: 8 }", "named limits on how many tasks run at once"),
    key(
        "defaults",
        Defaults(TASK, NO_DEFAULTS),
        "{}",
        "what holds for tasks of this file that do not say otherwise",
    ),
    key("agents", Map(&Record(ADAPTER)), "{}", "adapters for agents, laid over the built-in ones"),
    key("remote", Record(REMOTE), "none", "a remote cache and execution service; no effect yet"),
    key("groups", Map(&Record(GROUP)), "{}", "groups of tasks"),
    key("tasks", Map(&Record(TASK)), "{}", "the tasks"),
    key("cache", Record(CACHE), "{}", "the local cache"),
    key("budget", Record(BUDGET), "no limit", "what the agents of one run may spend"),
    key("notify", Record(NOTIFY), "none", "whom to tell when a run ends; no effect yet"),
];

/// The keys of a group.
const GROUP: &[Key] = &[
    key("title", Text, "", "for people"),
    key(
        "after",
        TEXTS,
        "[]",
        "groups or tasks that must be complete, gates included, before any member starts",
    ),
    key("gate", List(&Record(CHECK)), "[]", "checks that run when the group's tasks are done"),
    key("budget", Record(BUDGET), "no limit", "what the agents of its tasks may spend in one run"),
];

/// The keys of a task.
pub(super) const TASK: &[Key] = &[
    key("title", Text, "", "for people"),
    key("group", Text, "none", "the group that it belongs to"),
    key("role", Text, "", "who does such work, for people"),
    key("effort", Duration, "1s", "an estimate, for scheduling until there is history"),
    key("tags", TEXTS, "[]", "words for `tag:NAME` targets"),
    key("needs", TEXTS, "[]", "tasks and groups whose outputs are inputs of this task"),
    key("after", TEXTS, "[]", "tasks and groups that go first; never makes stale"),
    key("inputs", TEXTS, "must be given", "paths and globs that it reads; `!` excludes, the last match wins"),
    key("env", ENV, "{}", "variables of the task, part of its key"),
    key("secrets", TEXTS, "[]", "variables of the caller, never in a key, redacted everywhere"),
    key("pass_env", TEXTS, "[]", "variables handed through where the caller has them, never part of a key"),
    key("tools", List(&OneOf(&[Text, Record(TOOL)])), "[]", "programs whose identity is part of the key"),
    key(
        "outputs",
        List(&OneOf(&[Text, Record(OUTPUT)])),
        "[]",
        "files, and folders with a trailing `/`, that it makes",
    ),
    key("edits", TEXTS, "[]", "existing files that it may change"),
    key("run", COMMAND, "", "the command: a string for `sh -eu -c`, or a list of arguments"),
    key("agent", Text, "", "the adapter of an agent, instead of `run`"),
    key("model", Text, "the adapter's", "the agent's model, part of the key"),
    key("instructions", OneOf(&[Text, Record(INSTRUCTIONS)]), "", "what the agent is to do"),
    key("budget", Record(BUDGET), "no limit", "what the agent may spend"),
    key("depfile", Text, "none", "a make-format list of inputs that the command discovered"),
    key("require", List(&Record(CHECK)), "[]", "checks before it starts"),
    key("validate", List(&Record(CHECK)), "[]", "checks after it, before it counts"),
    key("rollback", COMMAND, "none", "a command that undoes what it did beside its outputs"),
    key(
        "isolation",
        Word(&["none", "sandbox", "worktree"]),
        "none for run, worktree for agent",
        "where it runs",
    ),
    key("sees", Word(&["inputs", "all"]), "inputs", "what a sandbox or worktree holds"),
    key("integrate", Word(&["tree", "branch"]), "tree", "where accepted results of a worktree go"),
    key(
        "writes",
        Word(&["error", "warn"]),
        "error in a worktree, warn in a sandbox",
        "what undeclared files are",
    ),
    key("copy", TEXTS, "[]", "what a worktree needs and git has not"),
    key("setup", COMMAND, "none", "a command that prepares a worktree; outside the key"),
    key("approve", Flag, "false", "wait for `conductor approve` after validation"),
    key("timeout", Duration, "none", "how long it may run"),
    key("stall", Duration, "none", "how long it may be silent and change nothing"),
    key("limit_wait", Duration, "1h", "how long a provider's limit may pause an agent"),
    key(
        "retries",
        OneOf(&[Integer(0), Record(RETRIES)]),
        "0 for run, 2 for agent",
        "how often it is tried again",
    ),
    key("pool", Text, "none", "the pool whose limit it counts against"),
    key("weight", Integer(1), "1", "job slots that it takes"),
    key("incremental", Flag, "false", "leave its previous outputs in place for it"),
    key("always", Flag, "false", "never fresh"),
    key("cache", Word(&["off", "local", "shared"]), "shared", "where its results are kept"),
    key("network", Word(&["on", "off"]), "on", "off: no network in a sandbox"),
    key("platform", Map(&Text), "{}", "properties for remote execution"),
    key("dir", Text, "the manifest's folder", "the command's working folder"),
    key("matrix", Map(&List(&Text)), "{}", "one instance for each combination of values"),
];

/// Keys of a task that cannot be defaults: they say what this one task is.
const NO_DEFAULTS: &[&str] =
    &["title", "run", "instructions", "outputs", "edits", "depfile", "rollback", "matrix"];

const CHECK: &[Key] = &[
    key("run", COMMAND, "", "a command that accepts by exit code 0"),
    key("non_empty", Text, "", "a file that must not be empty, or a folder that must hold a file"),
    key("matches", Record(MATCHES), "", "a file whose content must match"),
    key("inputs", TEXTS, "[]", "what the check reads beside the task's inputs and outputs"),
];

const MATCHES: &[Key] = &[
    required("path", Text, "the file"),
    required("regex", Text, "in the dialect of Rust's regex crate; `^` and `$` match at each line"),
];

const TOOL: &[Key] = &[required("run", COMMAND, "a command whose output identifies the tool")];

const OUTPUT: &[Key] = &[
    required("path", Text, "the file, or the folder with a trailing `/`"),
    key("optional", Flag, "false", "it may be missing afterwards"),
];

const INSTRUCTIONS: &[Key] = &[required("file", Text, "the file that holds them")];

const RETRIES: &[Key] = &[
    required("max", Integer(0), "how often after the first attempt"),
    key("backoff", Duration, "1s", "before the first retry; doubles for each one after it"),
];

const BUDGET: &[Key] = &[
    key("usd", Number, "no limit", "US dollars"),
    key("tokens", Count, "no limit", "tokens"),
    key("turns", Count, "no limit", "model turns"),
    key("time", Duration, "no limit", "wall-clock time"),
];

const CACHE: &[Key] = &[
    key("dir", Text, "`conductor/cache` in git's common folder, else `.conductor/cache`", "its folder"),
    key("max_size", Size, "10GB", "how large it may become"),
    key("max_age", Duration, "30d", "how long an unused entry stays"),
    key("read", Word(&["all", "signed", "off"]), "all", "which results may come from it"),
    key("write", Word(&["trusted", "all", "off"]), "trusted", "whether results go into it"),
];

const NOTIFY: &[Key] = &[key("webhook", Text, "none", "a URL that gets the run's result")];

const REMOTE: &[Key] = &[
    required("endpoint", Text, "`grpc://HOST:PORT`, `grpcs://HOST:PORT` or `unix:/PATH`"),
    key("instance", Text, "", "the instance name"),
    key("cache", Word(&["off", "ro", "rw"]), "rw", "how the remote cache is used"),
    key("execute", Word(&["false", "true", "auto"]), "false", "whether tasks run remotely"),
    key("platform", Map(&Text), "{}", "properties of every action"),
    key("tls", Anything, "the system's certificates", "certificates"),
    key("headers", Map(&Text), "{}", "sent with every request"),
    key("token", Text, "none", "the name of a variable that holds a bearer token"),
    key("timeout", Duration, "60s", "for one request"),
    key("concurrency", Integer(1), "64", "requests at once"),
    key("compression", Anything, "what the server offers", "of blobs on the wire"),
    key("digest", Word(&["sha256", "blake3"]), "what the server offers", "the digest function"),
];

/// Arguments; a list among them is left out as a whole where one of its placeholders is empty.
const ARGUMENTS: Type = List(&OneOf(&[Text, List(&Text)]));

/// See `docs/agents.md`.
const ADAPTER: &[Key] = &[
    key("bin", Text, "the adapter's name", "the program: a name on PATH, or a path"),
    key("argv", ARGUMENTS, "[\"{bin}\"]", "the command line"),
    key("new", ARGUMENTS, "[]", "further arguments of a new session"),
    key("resume", ARGUMENTS, "[]", "further arguments that go on with a session"),
    key("tail", ARGUMENTS, "[]", "arguments behind all others"),
    key("prompt", Text, "stdin", "how it gets its task: `stdin`, `file`, `arg` or `arg:--flag`"),
    key("env", Map(&Text), "{}", "its environment"),
    key("pass_env", TEXTS, "[]", "variables handed through where the caller has them"),
    key("secrets", TEXTS, "[]", "the same, with values that are masked everywhere"),
    key("files", Map(&Text), "{}", "files to be written into its HOME"),
    key("login", TEXTS, "[]", "files linked from the user's own HOME"),
    key("settings", TEXTS, "[]", "files copied from the user's own HOME, which nothing brings back"),
    key("home", Word(&["private", "user"]), "private", "whose HOME it has"),
    key("output", Word(&["json", "text", "file"]), "json with `events`, else file", "what it prints"),
    key("events", Record(EVENTS), "{}", "where session, usage and text stand in what it prints"),
    key("outcome", List(&Record(RULE)), "`ok` on exit code 0", "how it ended; the first rule that holds"),
    key("model", Text, "", "the model unless a task names one"),
    key("price", Record(PRICE), "", "US dollars per million tokens, where it does not tell what it cost"),
    key("stall", Duration, "5m", "how long it may neither print nor change anything"),
    key("grace", Duration, "10s", "between TERM and KILL"),
    key("version", TEXTS, "[]", "the arguments with which it prints its version"),
    key("require", Text, "any", "the version that it must have, or the beginning of one"),
    key("check_login", TEXTS, "[]", "the arguments with which it says whether it is logged in"),
    key("help", Text, "", "what to do where it is not installed or not logged in"),
    key("protect", TEXTS, "[]", "names of files and folders from which it takes settings"),
];

const PRICE: &[Key] = &[
    required("input", Number, "of a million tokens read"),
    required("output", Number, "of a million tokens written"),
];

/// One place, or several of which the first that has a value holds.
const READINGS: Type = OneOf(&[Record(READING), List(&Record(READING))]);

const EVENTS: &[Key] = &[
    key("session", READINGS, "", "the session's id"),
    key("final", READINGS, "", "what only a run prints that came to its end"),
    key("text", READINGS, "", "the answer"),
    key("message", READINGS, "", "what went wrong, in its own words"),
    key("tokens_in", READINGS, "", "tokens read"),
    key("tokens_out", READINGS, "", "tokens written"),
    key("cost_usd", READINGS, "", "US dollars"),
    key("turns", READINGS, "", "turns of the model"),
    key("denials", READINGS, "", "tools that it was not allowed to use"),
    key("retry_after", READINGS, "", "seconds until a limit is over, or a sentence that says so"),
];

const READING: &[Key] = &[
    key("where", Map(&Text), "any event", "paths of an event and what they must hold"),
    key("at", OneOf(&[Text, List(&Text)]), "the event itself", "where the value stands"),
    key("text", Text, "", "an expression over lines that are no events; its first group is the value"),
    key("take", Word(&["first", "last", "sum", "count", "concat"]), "last", "which of several values"),
    key("by", Text, "", "events with the same value there tell of one thing; the last of them holds"),
    key("scope", Word(&["run", "session"]), "run", "what a number counts from"),
];

const RULE: &[Key] = &[
    required(
        "is",
        Word(&[
            "ok",
            "failed",
            "auth",
            "rate_limit",
            "provider",
            "overflow",
            "budget",
            "turn_limit",
            "config",
        ]),
        "how it ended",
    ),
    key("where", Map(&Text), "", "some event holds this"),
    key("last", Map(&Text), "", "the last event that holds this is the one that `where` is about"),
    key("text", Text, "", "some line that is no event matches this"),
    key("exit", List(&Integer(0)), "any", "its exit code is one of these"),
];
