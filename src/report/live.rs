//! Progress on a terminal: one line of counts and a line for each running task, drawn over ten times a
//! second at most; what ended scrolls away above them. Where lines cannot be drawn over
//! ([`Terminal::is_live`](super::Terminal::is_live)), use [`Plain`](super::plain::Plain).
//!
//! Events only change a state in memory; a thread of its own draws it, so that a task that prints a
//! million lines costs no more than one that prints none. Each drawing is one write that leaves the
//! terminal in its usual mode: whatever ends the process, nothing has to be restored.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::model::{Event, Stamped, TaskId, format_duration};

use super::live_state::{Activity, LiveState};
use super::plain::{finished, notice};
use super::screen::Screen;
use super::style::Paint;
use super::summary::{Detail, Recap};
use super::text::{clean, one_line, shorten};
use super::{Reader, Style, Titles};

/// Between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);
/// A run that takes less than this to find out what is stale draws nothing meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
/// Lines of the terminal where their number is unknown.
const HEIGHT: usize = 24;
/// Running tasks that have a line of their own, at most; fewer on a low terminal.
const ROWS: usize = 16;
/// Characters of an id and of a title within a row.
const ID: usize = 24;
const TITLE: usize = 32;
/// Cells of the bar.
const BAR: usize = 24;

/// Draws a run.
pub struct Live {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

struct Shared {
    view: Mutex<View>,
    ended: Condvar,
}

/// All that is drawn.
struct View {
    style: Style,
    titles: Titles,
    state: LiveState,
    recap: Recap,
    /// The last line that each running task printed.
    lines: HashMap<TaskId, String>,
    /// What is still to be scrolled away above the rows.
    scrolled: String,
    /// Something stands above the summary.
    said: bool,
    /// When the run began.
    origin: Instant,
    ended: bool,
}

impl Live {
    /// Draws on `out`, a terminal that is `height()` lines high just now, where that is known.
    pub fn new(
        out: Box<dyn Write + Send>,
        height: impl Fn() -> Option<usize> + Send + 'static,
        style: Style,
        titles: Titles,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { view: Mutex::new(View::new(style, titles)), ended: Condvar::new() });
        let screen = Screen::new(out);
        let drawn = Arc::clone(&shared);
        let drawer = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || follow(&drawn, screen, &height))?;
        Ok(Self { shared, drawer: Some(drawer) })
    }
}

impl Reader for Live {
    fn event(&mut self, event: &Stamped) {
        self.shared.lock().event(event);
        if matches!(event.event, Event::RunFinished { .. }) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
        if let Some(drawer) = self.drawer.take() {
            // A drawer that panicked has nothing left to say.
            let _ = drawer.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws until the view has ended; then only what scrolled away is left.
fn follow(shared: &Shared, mut screen: Screen, height: &dyn Fn() -> Option<usize>) {
    let mut view = shared.lock();
    loop {
        let (ended, now) = (view.ended, view.origin.elapsed());
        // The cursor rests below the rows, and one line of what scrolled away stays in sight.
        let room = height().unwrap_or(HEIGHT).saturating_sub(2);
        let rows = if ended { Vec::new() } else { view.rows(now, room) };
        let scrolled = std::mem::take(&mut view.scrolled);
        drop(view);
        screen.draw(&scrolled, &rows);
        if ended {
            return;
        }
        view = shared.lock();
        if !view.ended {
            view = shared.ended.wait_timeout(view, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl View {
    fn new(style: Style, titles: Titles) -> Self {
        Self {
            style,
            recap: Recap::new(titles.clone()),
            titles,
            state: LiveState::default(),
            lines: HashMap::new(),
            scrolled: String::new(),
            said: false,
            origin: Instant::now(),
            ended: false,
        }
    }

    fn event(&mut self, event: &Stamped) {
        let style = self.style;
        self.state.event(event);
        let failure = self.recap.event(event).cloned();
        let scrolled = match &event.event {
            Event::TaskOutput { task, line } => {
                let line = clean(line);
                if !line.trim().is_empty() {
                    self.lines.insert(task.clone(), line.into_owned());
                }
                None
            }
            Event::Notice { .. } => notice(&event.event, style).map(|text| text + "\n"),
            Event::RunFinished { .. } => {
                let apart = if self.said { "\n" } else { "" };
                Some(format!("{apart}{}", self.recap.render(style, Detail::Ids)))
            }
            Event::TaskFinished { task, .. } => {
                self.lines.remove(task);
                match failure {
                    Some(failure) => Some(self.recap.failure(&failure, style)),
                    None => finished(&event.event, &self.titles.label(task), style).map(|text| text + "\n"),
                }
            }
            _ => None,
        };
        if let Some(text) = scrolled {
            self.scrolled.push_str(&text);
            self.said = true;
        }
    }

    /// What is drawn at `now`: the counts, then a line for each running task, `room` lines at most.
    /// They may be longer than the terminal is wide.
    fn rows(&self, now: Duration, room: usize) -> Vec<String> {
        let running = self.state.running();
        if running.len() == 0 && self.state.settled() == 0 {
            let looking = format!("looking for what is stale  {}", format_duration(now));
            return if now < PATIENCE { Vec::new() } else { vec![self.style.paint(Paint::Dim, &looking)] };
        }
        let mut rows = vec![self.counts(now)];
        let shown = if running.len() < room { ROWS } else { ROWS.min(room.saturating_sub(2)) };
        let hidden = running.len().saturating_sub(shown);
        let width = running.map(|(task, _)| task.as_str().chars().count()).max().unwrap_or(0).min(ID);
        for (task, activity) in self.state.running().take(shown) {
            rows.push(self.row(task, activity, now, width));
        }
        if hidden > 0 {
            rows.push(self.style.paint(Paint::Dim, &format!("  and {hidden} more")));
        }
        rows
    }

    /// `━━━━━━━━──── 8/22 · 3 running · 1 failed · 1m02s, about 2m left`
    fn counts(&self, now: Duration) -> String {
        let (style, state) = (self.style, &self.state);
        let settled = state.settled();
        let candidates = state.candidates.max(settled);
        let mut parts = vec![format!("{settled}/{candidates}")];
        if state.running().len() > 0 {
            parts.push(format!("{} running", state.running().len()));
        }
        if state.summary.failed > 0 {
            parts.push(style.paint(Paint::Bad, &format!("{} failed", state.summary.failed)));
        }
        let mut time = seconds(now);
        if let Some(remaining) = state.remaining() {
            time = format!("{time}, about {} left", seconds(remaining));
        }
        parts.push(time);
        let separator = format!(" {} ", style.dot());
        format!("{} {}", bar(settled, candidates, style), parts.join(&separator))
    }

    /// `  T9   1m02s  error-recovery API  compiling router`
    fn row(&self, task: &TaskId, activity: &Activity, now: Duration, width: usize) -> String {
        let style = self.style;
        let id = format!("{:width$}", shorten(task.as_str(), ID, style.ellipsis()));
        let id = style.paint(Paint::Name, &id);
        let (time, said) = match activity {
            Activity::Retrying { at, message, .. } => {
                let glyph = style.pick("↻ ", "retry: ");
                let said = style.paint(Paint::Warn, &format!("{glyph}{}", one_line(message)));
                (at.saturating_sub(now), said)
            }
            Activity::Running { since, attempt, validation_only } => {
                let mut said = String::new();
                if *attempt > 1 {
                    said = style.paint(Paint::Warn, &format!("attempt {attempt}  "));
                } else if *validation_only {
                    "checking  ".clone_into(&mut said);
                }
                if let Some(line) = self.lines.get(task) {
                    said.push_str(&style.paint(Paint::Dim, line.trim()));
                }
                (now.saturating_sub(*since), said)
            }
            Activity::Waiting | Activity::Finished { .. } => (Duration::ZERO, String::new()),
        };
        let title = self.titles.get(task).map(|title| shorten(&title, TITLE, style.ellipsis()) + "  ");
        format!("  {id} {:>6}  {}{said}", seconds(time), title.unwrap_or_default())
    }
}

/// Whole seconds: tenths that flicker tell nobody anything.
fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        secs @ 0..60 => format!("{secs}s"),
        _ => format_duration(duration),
    }
}

fn bar(done: usize, of: usize, style: Style) -> String {
    let filled = (done * BAR).checked_div(of).unwrap_or(BAR).min(BAR);
    let full = style.paint(Paint::Good, &style.pick("━", "=").repeat(filled));
    let empty = style.paint(Paint::Dim, &style.pick("─", "-").repeat(BAR - filled));
    format!("{full}{empty}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, ReasonKind, RunOutcome, Status};
    use crate::report::screen::seen;
    use crate::report::testing::{Page, Story, UNICODE, changed, failing_build, titles};

    fn view(story: &Story, style: Style) -> View {
        let mut view = View::new(style, titles());
        for event in &story.events {
            view.event(event);
        }
        view
    }

    fn rows(story: &Story, style: Style, now: u64) -> String {
        view(story, style).rows(Duration::from_millis(now), 22).join("\n")
    }

    fn busy() -> Story {
        let long = "services/payments:generate_bindings[os=linux,v=12]";
        Story::new(30, 12)
            .end("T1", Status::Ran, 2000)
            .end("T2", Status::Ran, 2000)
            .end("T4", Status::Ran, 2000)
            .fail("T5", 2000, "exit status 1")
            .start("T9", vec![changed("a")])
            .output("T9", "\u{1b}[1mcompiling\u{1b}[0m\t10%\r\u{1b}[1mcompiling\u{1b}[0m\t20%")
            .output("T9", "")
            .after(61_000)
            .start("T3", vec![changed("a")])
            .start(long, vec![Reason::new(ReasonKind::Forced)])
            .retry(long, 1, "exit status 2")
            .after(400)
            .attempt("T10", 2, Vec::new())
    }

    #[test]
    fn the_rows_are_the_counts_and_each_running_task() {
        insta::assert_snapshot!(rows(&busy(), UNICODE, 61_400));
    }

    #[test]
    fn the_rows_in_ascii() {
        insta::assert_snapshot!(rows(&busy(), Style::PLAIN, 61_400));
    }

    #[test]
    fn many_tasks_at_once_do_not_fill_the_screen() {
        let story = (0..100).fold(Story::new(100, 0), |story, n| story.start(&format!("T{n}"), Vec::new()));
        let view = view(&story, UNICODE);
        let rows = view.rows(Duration::ZERO, 22);
        assert_eq!(rows.len(), 1 + ROWS + 1);
        assert_eq!(rows.last().map(String::as_str), Some("  and 84 more"));
        assert_eq!(view.rows(Duration::ZERO, 6).len(), 6);
        assert_eq!(view.rows(Duration::ZERO, 0).len(), 2);
    }

    #[test]
    fn nothing_is_drawn_of_a_run_that_ends_at_once() {
        assert_eq!(rows(&Story::new(3, 3), UNICODE, 100), "");
        assert_eq!(rows(&Story::new(3, 3), UNICODE, 1200), "looking for what is stale  1.2s");
    }

    #[test]
    fn what_ended_scrolls_away_and_the_summary_comes_last() {
        let page = Page::default();
        let mut live = Live::new(Box::new(page.clone()), || None, UNICODE, titles()).unwrap();
        failing_build().tell(&mut live);
        insta::assert_snapshot!(seen(&page.text()));
    }

    /// For looking at it: `cargo test --lib report::live -- --ignored --nocapture` in a terminal.
    #[test]
    #[ignore = "draws on a terminal for half a minute"]
    fn a_show_for_the_eye() {
        let style = Style { color: true, unicode: true, width: 80 };
        let mut live = Live::new(Box::new(std::io::stderr()), || None, style, titles()).unwrap();
        let begun = Instant::now();
        let mut feed = |story: Story| {
            for mut event in story.events {
                event.t = u64::try_from(begun.elapsed().as_millis()).unwrap();
                live.event(&event);
            }
        };
        feed(Story::new(22, 2));
        let ids = ["T1", "T3", "T9", "T10", "T21", "api:generate_bindings[os=linux,v=12]", "T7", "T8"];
        for round in 0..3 {
            for id in ids {
                let id = if round == 0 { id.to_owned() } else { format!("{id}.{round}") };
                feed(Story::default().start(&id, vec![changed("src/a.txt")]));
            }
            for number in 0..80_000 {
                let id = ids[number % ids.len()];
                let id = if round == 0 { id.to_owned() } else { format!("{id}.{round}") };
                let text = format!("line {number} of a compiler that has a lot to say about 漢字 and widths");
                feed(Story::default().output(&id, &text));
                if number % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            for (number, id) in ids.into_iter().enumerate() {
                let id = if round == 0 { id.to_owned() } else { format!("{id}.{round}") };
                let time = 900 * u64::try_from(number).unwrap();
                feed(match number {
                    3 => Story::default().fail(&id, time, "exit status 3"),
                    _ => Story::default().end(&id, Status::Ran, time),
                });
                std::thread::sleep(Duration::from_millis(150));
            }
        }
        feed(Story::default().after(9000).finish(RunOutcome::Failed));
    }
}
