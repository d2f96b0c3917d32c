//! Is the version that a program tells the one that a manifest wants?

/// Does `told` (`codex-cli 0.169.0`, `v2.1.330 (Claude Code)`) name a version that is `wanted`, or a more precise one?
pub fn is_version(told: &str, wanted: &str) -> bool {
    let wanted = wanted.trim().trim_start_matches('v');
    let words = told.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '/' | '@'));
    words.map(|word| word.trim_start_matches('v')).any(|word| {
        let rest = word.strip_prefix(wanted).filter(|_| !wanted.is_empty());
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_as_precise_as_it_is_wanted() {
        assert!(is_version("codex-cli 0.169.0", "0.169.0"));
        assert!(is_version("codex-cli 0.169.0", "0.169"));
        assert!(is_version("v2.1.330 (Claude Code)", "2.1"));
        assert!(is_version("aider/0.86.2", "v0.86.2"));
        assert!(!is_version("codex-cli 0.169.0", "0.16"));
        assert!(!is_version("codex-cli 0.169.0", "169"));
        assert!(!is_version("codex-cli 0.169.0", ""));
    }
}
