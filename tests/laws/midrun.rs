//! Edits in the middle of a run: every point of a task's life, every isolation, and everything that
//! a person may do to a file there. Nothing that is recorded may be wrong afterwards.
//!
//! The gate runs a fixed part of the matrix, `CONDUCTOR_LAWS_ALL=1` all of it. Commands wait at
//! stops (`stops.rs`), so that no timing decides at which point a change comes. Three points have
//! no command that could wait (`Filling`, `Collection`, `Integration`). There the change comes as
//! soon as a file appears or the command tells that it ends, and the law holds whether it comes in
//! time or late. `expected.rs` lists the cells that fail today.

mod expected;
mod place;
mod random;
mod stops;
mod verdict;

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use place::{Content, Place};
use verdict::Clean;

use crate::ground::Ran;

/// The moment of a change, and with it the kind of file that is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Point {
    /// An input, while `setup` runs.
    Setup,
    /// An input, while the private folder is filled.
    Filling,
    /// An input of a check that `copy` brings.
    Copy,
    /// An input, while the command runs.
    Command,
    /// An input of a check, while the check runs after its command.
    Check,
    /// An input of a check, while the check runs without its command.
    CheckAlone,
    /// A tool, while the command runs.
    Tool,
    /// An agent's instructions, before it starts.
    Prompt,
    /// An input, while the outputs are collected.
    Collection,
    /// An output, while it comes into the tree.
    Integration,
}

/// Where the task runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isolation {
    None,
    Sandbox,
    Worktree,
}

/// The things that a person does to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// It stays changed.
    Stays,
    /// The old bytes are written again.
    PutBack,
    /// The same, and the old time of modification is set (`cp -p`, `touch -r`).
    OldTime,
    /// The file itself is moved aside and comes back.
    MovedAside,
    /// Another file that counts as well lives only meanwhile.
    Meanwhile,
}

const POINTS: [Point; 10] = [
    Point::Setup,
    Point::Filling,
    Point::Copy,
    Point::Command,
    Point::Check,
    Point::CheckAlone,
    Point::Tool,
    Point::Prompt,
    Point::Collection,
    Point::Integration,
];
const ISOLATIONS: [Isolation; 3] = [Isolation::None, Isolation::Sandbox, Isolation::Worktree];
const ACTS: [Act; 5] = [Act::Stays, Act::PutBack, Act::OldTime, Act::MovedAside, Act::Meanwhile];

impl Isolation {
    /// As a manifest says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sandbox => "sandbox",
            Self::Worktree => "worktree",
        }
    }
}

/// One cell of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Case {
    pub(crate) point: Point,
    pub(crate) isolation: Isolation,
    pub(crate) act: Act,
    /// Another task of the same build looks at the file while it is changed.
    pub(crate) watched: bool,
}

impl Case {
    /// False for what cannot happen: `setup` and `copy` are for worktrees, a prompt is one file,
    /// and in the tree nothing is filled or brought in.
    fn exists(self) -> bool {
        match self.point {
            Point::Setup | Point::Copy => self.isolation == Isolation::Worktree,
            Point::Filling | Point::Integration => self.isolation != Isolation::None && self.watched,
            Point::Prompt => self.act != Act::Meanwhile,
            Point::Collection => self.watched,
            _ => true,
        }
    }

    fn name(self) -> String {
        let watched = if self.watched { "watched" } else { "alone" };
        format!("{:?} {} {:?} {watched}", self.point, self.isolation.name(), self.act)
    }

    /// True if a command waits at the point.
    fn stops(self) -> bool {
        !matches!(self.point, Point::Filling | Point::Collection | Point::Integration)
    }
}

/// All cells, in a fixed order.
fn matrix() -> Vec<Case> {
    let mut cases = Vec::new();
    for point in POINTS {
        for isolation in ISOLATIONS {
            for watched in [false, true] {
                cases.extend(ACTS.map(|act| Case { point, isolation, act, watched }));
            }
        }
    }
    cases.retain(|case| case.exists());
    cases
}

/// True while the build runs.
fn runs(build: &mut Child) -> bool {
    build.try_wait().unwrap().is_none()
}

/// Longer than any step takes on a busy machine.
const HANG: Duration = Duration::from_secs(100);

/// Builds, and does the person's part in the midst of it.
fn build_with_change(place: &Place) -> Ran {
    use std::os::unix::fs::MetadataExt as _;
    let old = std::fs::metadata(place.subject()).ok().map(|metadata| metadata.ino());
    place.stops.open(false);
    let mut command = place.conductor(place.ground.root(), true);
    command.args(["build", "-k", "-j4", "--format", "json"]);
    let mut build = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let goes_on = |build: &mut Child, waited: Duration| {
        assert!(waited < HANG, "{} hangs", place.case.name());
        runs(build)
    };
    let stops = place.case.stops();
    let began = if stops || place.case.point == Point::Collection {
        place.stops.wait("T1", |waited| goes_on(&mut build, waited))
    } else {
        let old = if place.case.point == Point::Filling { None } else { old };
        place.wait_for_moment(old, || runs(&mut build))
    };
    assert!(began || !stops, "{}: the task never came to its point", place.case.name());
    let undo = place.change();
    let integrates = place.case.point == Point::Integration;
    if place.case.watched && !integrates {
        // If `u` has to wait until the task ends, `v` does not come.
        place.stops.wait("v", |waited| {
            place.stops.release("d");
            waited < Duration::from_secs(3) && runs(&mut build)
        });
    }
    if !integrates {
        place.stops.wait("T2", |waited| {
            // A check that refuses may come to its stop a second time.
            for name in ["d", "v", "T1"] {
                place.stops.release(name);
            }
            goes_on(&mut build, waited)
        });
    }
    place.take_back(&undo);
    place.stops.open(true);
    let ran = Ran::from_output(&build.wait_with_output().unwrap());
    ran.assert_no_panic();
    ran
}

/// The law for one cell.
fn law(case: Case) -> Result<(), String> {
    let place = Place::new(case);
    let first = verdict::build(&place, place.ground.root(), true);
    assert_eq!(first.ran.code, Some(0), "{}: {}", case.name(), first.ran.text());
    place.ground.write("ds", "new\n");
    place.write_subject(Content::Before);
    let ran = build_with_change(&place);
    if !matches!(ran.code, Some(0 | 1 | 3 | 4)) {
        return Err(format!("the build with the change ends with {}", ran.text()));
    }
    let mut clean = Clean::of(&place);
    clean.holds_for_what_is_fresh(&place, "after the build with the change")?;
    clean.is_reached(&place, "after it")?;
    if case.act == Act::Stays && case.point != Point::Integration {
        place.write_subject(Content::Before);
        clean = Clean::of(&place);
        clean.holds_for_what_is_fresh(&place, "with the file as before")?;
        clean.is_reached(&place, "with the file as before")?;
    }
    place.forget();
    verdict::build(&place, place.ground.root(), true);
    clean.equals(&place, "from the cache alone")?;
    clean.holds_for_what_is_fresh(&place, "from the cache alone")
}

/// Tries cases on several threads, since most of the time they wait. Returns the complaints.
fn try_all(cases: &[Case]) -> Vec<String> {
    let (next, complaints) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let complaint = expected::judge(*case, law(*case));
                    complaints.lock().unwrap().extend(complaint);
                }
            });
        }
    });
    complaints.into_inner().unwrap()
}

/// The part of the matrix that the gate runs: each point under each isolation, with acts that take
/// turns.
fn gate() -> Vec<Case> {
    let mut chosen = Vec::new();
    for (p, point) in POINTS.into_iter().enumerate() {
        for (i, isolation) in ISOLATIONS.into_iter().enumerate() {
            let act = ACTS[(p + 2 * i) % ACTS.len()];
            let cases = [p % 2 == 0, p % 2 == 1].map(|watched| Case { point, isolation, act, watched });
            chosen.extend(cases.into_iter().find(|case| case.exists()));
        }
    }
    chosen
}

#[test]
fn whatever_changes_at_whatever_point_of_a_run_nothing_recorded_is_wrong() {
    let all = std::env::var_os("CONDUCTOR_LAWS_ALL").is_some_and(|all| all == "1");
    let complaints = try_all(&if all { matrix() } else { gate() });
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn the_part_of_the_matrix_that_the_gate_runs_has_every_point_isolation_and_act() {
    let gate = gate();
    assert!(POINTS.iter().all(|point| gate.iter().any(|case| case.point == *point)));
    assert!(ISOLATIONS.iter().all(|isolation| gate.iter().any(|case| case.isolation == *isolation)));
    for (act, watched) in ACTS.iter().flat_map(|act| [(act, false), (act, true)]) {
        let tried = gate.iter().any(|case| case.act == *act && case.watched == watched);
        assert!(tried, "the gate does not try {act:?}, watched: {watched}");
    }
}
