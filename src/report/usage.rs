//! What agents used, as people read it.

use crate::model::{AgentRun, Usage, format_duration};

/// `52 tokens`, `52.3k tokens`, `1.2M tokens`
fn tokens(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let scaled = |by: f64, unit: &str| format!("{:.1}{unit} tokens", number as f64 / by);
    match number {
        0..1000 => format!("{number} tokens"),
        1000..1_000_000 => scaled(1e3, "k"),
        _ => scaled(1e6, "M"),
    }
}

/// `$1.20`, and where that would be nothing, what it is: `$0.0004`.
fn money(usd: f64) -> String {
    if usd > 0.0 && usd < 0.01 { format!("${usd:.4}") } else { format!("${usd:.2}") }
}

/// `$0.41, 52.3k tokens`
pub fn short(usage: &Usage) -> String {
    let cost = usage.usd().map(money);
    let used = (usage.tokens() > 0).then(|| tokens(usage.tokens()));
    let parts: Vec<String> = cost.into_iter().chain(used).collect();
    if parts.is_empty() { format_duration(usage.time) } else { parts.join(", ") }
}

/// `agents used $0.41, 52.3k tokens in 2m05s; $12.30, 1.2M tokens were saved`; none where there is nothing to tell.
pub fn sentence(spent: Option<&Usage>, saved: Option<&Usage>) -> Option<String> {
    let spent = spent.map(|usage| format!("agents used {} in {}", short(usage), format_duration(usage.time)));
    let saved = saved.map(|usage| format!("results that stand saved {}", short(usage)));
    let parts: Vec<String> = spent.into_iter().chain(saved).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `invalid after 12.1s, $0.02, 1.2k tokens, resumed session abc`
pub fn run(run: &AgentRun) -> String {
    let session = run.session.as_ref().map_or_else(String::new, |session| {
        format!(", {} {session}", if run.resumed { "went on with session" } else { "session" })
    });
    let turns = if run.usage.turns > 0 { format!(", {} turns", run.usage.turns) } else { String::new() };
    let (end, time) = (run.end.name(), format_duration(run.usage.time));
    format!("{end} after {time}, {}{turns}{session}", short(&run.usage))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::AgentEnd;

    #[test]
    fn what_is_not_known_is_not_shown() {
        let usage = Usage { tokens_in: 52_000, tokens_out: 300, ..Usage::default() };
        assert_eq!(short(&usage), "52.3k tokens");
        assert_eq!(short(&Usage { micro_usd: Some(410_000), ..usage }), "$0.41, 52.3k tokens");
        assert_eq!(short(&Usage { micro_usd: Some(400), ..Usage::default() }), "$0.0004");
        assert_eq!(short(&Usage { time: Duration::from_secs(2), ..Usage::default() }), "2.0s");
        assert_eq!(sentence(None, None), None);
        let usage = Usage { time: Duration::from_secs(125), ..usage };
        assert_eq!(sentence(Some(&usage), None).as_deref(), Some("agents used 52.3k tokens in 2m05s"));
    }

    #[test]
    fn a_run_says_how_it_ended_and_in_which_session() {
        let usage = Usage { tokens_out: 7, turns: 2, time: Duration::from_secs(3), ..Usage::default() };
        let session = Some("abc".to_owned());
        let told = AgentRun { end: AgentEnd::Invalid, session, resumed: true, usage, complaint: None };
        assert_eq!(run(&told), "invalid after 3.0s, 7 tokens, 2 turns, went on with session abc");
    }
}
