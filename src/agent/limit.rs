//! How long a provider's limit lasts, out of what is said of it.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use regex::{Captures, Regex};

/// A longer wait is none that a program would sit out, and most likely misread.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// `12s`, `1m30.5s`, `2 hours 5 minutes`.
const SPAN: &str = r"(?:\d+(?:\.\d+)?\s*(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)[\s,]*(?:and\s+)?)+";

static IN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(&format!(
        r#"(?i)\b(?:try\s+again|try|retry|retrying|wait|resets?|available|reset\s+after|retry[-_ ]?delay|retry[-_ ]?after)\b(?:\s+again|\s+after|\s+in|\s+for|\s+about|\s+at\s+least|["'\s:=~])*({SPAN})(?:\W|$)"#
    ))
    .ok()
});
static AFTER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i)\bretry[-_ ]?after["'\s:=]+(\d+(?:\.\d+)?)\b"#).ok());
static PART: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)(\d+(?:\.\d+)?)\s*([a-z]+)").ok());
static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:resets?|again|until|available|after)\b[^.\n]{0,20}?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)").ok()
});
static EPOCH: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)(?:\||\bresets?(?:[_ ]?at)?\W{1,4})(1\d{9})(?:\d{3})?\b").ok());
/// `resets 3pm (Europe/Berlin)`, `try again at Nov 27th, 2026 3:05 PM`.
static CLOCK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:resets?|again)(?:\s+at)?\s+(?:([a-z]{3})[a-z]*\s+(\d{1,2})(?:st|nd|rd|th)?(?:,?\s+(\d{4}))?(?:,|\s+at)?\s+)?(\d{1,2})(?::(\d\d))?\s*([ap]m)\b(?:\s*\(([A-Za-z_/+-]+)\))?",
    )
    .ok()
});

/// How long to wait, where `text` says so: `try again in 12s`, `retry-after: 7`, `resets at …`. `now` is for points in time.
pub fn retry_after(text: &str, now: &Zoned) -> Option<Duration> {
    let found = |regex: &'static LazyLock<Option<Regex>>| regex.as_ref()?.captures(text);
    let wait = found(&IN)
        .and_then(|found| span(&found[1]))
        .or_else(|| Duration::try_from_secs_f64(found(&AFTER)?[1].parse().ok()?).ok())
        .or_else(|| Some(until(point(&found(&DATE)?[1], now)?, now)))
        .or_else(|| Some(until(Timestamp::from_second(found(&EPOCH)?[1].parse().ok()?).ok()?, now)))
        .or_else(|| Some(until(clock(&found(&CLOCK)?, now)?, now)));
    wait.filter(|wait| *wait <= LONGEST)
}

fn span(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    for part in PART.as_ref()?.captures_iter(text) {
        let number: f64 = part[1].parse().ok()?;
        let unit = part[2].to_ascii_lowercase();
        seconds += number
            * match unit.as_str() {
                "ms" | "millisecond" | "milliseconds" => 0.001,
                unit if unit.starts_with('s') => 1.0,
                unit if unit.starts_with('m') => 60.0,
                unit if unit.starts_with('h') => 3600.0,
                unit if unit.starts_with('d') => 86400.0,
                _ => return None,
            };
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// A date with a time, in `now`'s zone unless it names one.
fn point(text: &str, now: &Zoned) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(now.time_zone().clone()).ok()?.timestamp())
    })
}

/// Nothing where it has passed.
fn until(then: Timestamp, now: &Zoned) -> Duration {
    Duration::try_from(then.duration_since(now.timestamp())).unwrap_or(Duration::ZERO)
}

/// The next moment at which a clock shows it.
fn clock(found: &Captures<'_>, now: &Zoned) -> Option<Timestamp> {
    let part = |index: usize| found.get(index).map(|part| part.as_str());
    let hour: i8 = part(4)?.parse().ok().filter(|hour| (1..=12).contains(hour))?;
    let afternoon = part(6)?.eq_ignore_ascii_case("pm");
    let minute: i8 = part(5).map_or(Ok(0), str::parse).ok()?;
    let time = Time::new(hour % 12 + if afternoon { 12 } else { 0 }, minute, 0, 0).ok()?;
    let zone = match part(7) {
        Some(name) => TimeZone::get(name).ok()?,
        None => now.time_zone().clone(),
    };
    let here = now.with_time_zone(zone.clone());
    let date = match (part(1), part(2)) {
        (Some(month), Some(day)) => {
            let year = part(3).map_or_else(|| here.year().to_string(), str::to_owned);
            jiff::civil::Date::strptime("%b %d %Y", format!("{month} {day} {year}")).ok()?
        }
        _ => here.date(),
    };
    let mut then = date.to_datetime(time).to_zoned(zone).ok()?;
    if part(1).is_none() && then.timestamp() < now.timestamp() {
        then = then.tomorrow().ok()?.with().time(time).build().ok()?;
    }
    Some(then.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_out_of_what_providers_say() {
        let now: Zoned = "2026-11-25T14:00:00+00:00[UTC]".parse().unwrap();
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(retry_after(text, &now).map(|wait| wait.as_secs_f64()), seconds, "{text}");
        };
        check("Rate limit reached. Please try again in 12s. Visit …", Some(12.0));
        check("Please try again in 1.242s", Some(1.242));
        check("try again in 20ms.", Some(0.02));
        check("Please try again in 6m0s", Some(360.0));
        check("try again in 2 days 3 hours and 5 minutes", Some(2.0 * 86400.0 + 3.0 * 3600.0 + 300.0));
        check("Please retry in 34.07s.", Some(34.07));
        check(r#"{"@type":"RetryInfo","retryDelay":"34s"}"#, Some(34.0));
        check("Your quota will reset after 2h3m10s.", Some(7390.0));
        check("retry-after: 7", Some(7.0));
        check(r#"{"retry_after": 1.5}"#, Some(1.5));
        check("limit resets at 2026-11-25T14:30:00Z", Some(1800.0));
        check("resets at 2026-11-25 15:00", Some(3600.0));
        check("resets at 2026-11-25T13:00:00Z", Some(0.0));
        check("Claude AI usage limit reached|1795618800", Some(3600.0));
        check(r#""resets_at":1795618800"#, Some(3600.0));
        check("You've hit your limit · resets 3pm (UTC)", Some(3600.0));
        check("resets 9am (America/New_York)", Some(0.0));
        check("resets 1:30pm", Some(23.5 * 3600.0));
        check("or try again at 3:05 PM.", Some(3900.0));
        check("try again at Nov 27th, 2026 2:00 PM.", Some(2.0 * 86400.0));
        check("429 Too Many Requests", None);
        check("the tests took 12s, try harder", None);
        check("try again in 99999 days", None);
    }
}
