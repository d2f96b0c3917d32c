//! Text that strangers wrote, made safe and short for a terminal: what a task prints, what a manifest
//! says. No control character that is not conductor's own ever reaches the screen.

use std::borrow::Cow;

use anstream::adapter::strip_str;

/// A line of a task's output without escape sequences and control characters. Of a line that was drawn
/// over with carriage returns, the last state that shows something.
pub(super) fn clean(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_unsafe) {
        return Cow::Borrowed(line);
    }
    let stripped = strip_str(line).to_string();
    // `strip_str` removes carriage returns only within sequences, so the split is still possible.
    let last = stripped.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or_default();
    Cow::Owned(last.replace('\t', "    ").chars().filter(|c| !is_unsafe(*c)).collect())
}

/// Any text as one clean line: line ends become blanks.
pub fn one_line(text: &str) -> String {
    clean(&text.trim().replace(['\n', '\r'], " ")).into_owned()
}

/// The first line of a text, without what would move the cursor.
pub(super) fn first_line(text: &str) -> String {
    one_line(text.lines().next().unwrap_or_default())
}

/// At most `max` characters of a text, the last one an ellipsis where something was left out.
pub(super) fn shorten(text: &str, max: usize, ellipsis: &str) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let keep = max.saturating_sub(ellipsis.chars().count());
    text.chars().take(keep).chain(ellipsis.chars()).collect()
}

/// `1 task`, `2 tasks`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A moment as people write it: `2026-11-22 14:05:01` of an RFC 3339 time with its own offset.
pub(super) fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).unwrap_or(rfc3339).replacen('T', " ", 1)
}

/// A name as a word of a shell command.
pub(super) fn shell_word(name: &str) -> String {
    shlex::try_quote(name).map_or_else(|_| name.to_owned(), Cow::into_owned)
}

/// Control characters, and those that reorder the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_never_reach_the_screen() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}text\u{8}"), "red text");
        assert_eq!(clean("a\u{202e}b"), "ab");
        assert_eq!(clean("plain ünïcode"), "plain ünïcode");
    }

    #[test]
    fn of_a_line_that_was_drawn_over_the_last_state_is_shown() {
        assert_eq!(clean(" 10%\r 50%\r100%\r"), "100%");
        assert_eq!(clean("a\tb"), "a    b");
    }

    #[test]
    fn text_is_shortened_by_characters() {
        assert_eq!(shorten("äöüß", 3, "…"), "äö…");
        assert_eq!(shorten("äöü", 3, "…"), "äöü");
    }

    #[test]
    fn an_id_with_brackets_is_quoted_for_the_shell() {
        assert_eq!(shell_word("T1[os=a,v=1]"), "'T1[os=a,v=1]'");
        assert_eq!(shell_word("api:T1"), "api:T1");
    }
}
