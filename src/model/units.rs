//! Durations (`90s`, `30m`, `4h`, `2d`), sizes (`10GB`, `512MiB`) and counts (`500k`) as people write them.

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// No number at the start.
    #[error("no number at the start")]
    NoNumber,
    /// Nothing follows the number.
    #[error("a unit is missing")]
    NoUnit,
    /// What follows the number is no unit.
    #[error("`{0}` is no unit")]
    Unit(String),
    /// Too large to hold.
    #[error("too large")]
    TooLarge,
}

fn split(text: &str) -> Result<(f64, &str), ParseUnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| ParseUnitError::NoNumber)?;
    Ok((number, text[end..].trim()))
}

/// `250ms`, `90s`, `30m`, `4h`, `2d`; several may follow each other (`1h30m`). A unit is required.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    loop {
        let (number, tail) = split(rest)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let seconds = match tail[..end].trim() {
            "ms" => number / 1000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            "d" => number * 86400.0,
            "" => return Err(ParseUnitError::NoUnit),
            unit => return Err(ParseUnitError::Unit(unit.to_owned())),
        };
        let part = Duration::try_from_secs_f64(seconds).map_err(|_| ParseUnitError::TooLarge)?;
        total = total.checked_add(part).ok_or(ParseUnitError::TooLarge)?;
        rest = &tail[end..];
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// `10GB` (powers of 1000) and `512MiB` (powers of 1024), as a number of bytes. A bare number is bytes.
pub fn parse_bytes(text: &str) -> Result<u64, ParseUnitError> {
    let (number, unit) = split(text)?;
    let factor: f64 = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        unit => return Err(ParseUnitError::Unit(unit.to_owned())),
    };
    let bytes = number * factor;
    #[expect(clippy::cast_precision_loss, reason = "a bound, not a value")]
    if bytes >= u64::MAX as f64 {
        return Err(ParseUnitError::TooLarge);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above, never negative"
    )]
    Ok(bytes as u64)
}

/// A count as people write it: `40`, `500k`, `2M`.
pub fn parse_count(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => return text.parse().ok(),
    };
    let number: f64 = digits.parse().ok().filter(|number: &f64| *number >= 0.0 && *number < 1e9)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    Some((number * factor) as u64)
}

/// A duration for people: `12ms`, `3.4s`, `2m05s`, `1h02m`.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{:.1}s", duration.as_secs_f64()),
        60_000..3_600_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("30"), Err(ParseUnitError::NoUnit));
        assert_eq!(parse_duration("30 weeks"), Err(ParseUnitError::Unit("weeks".to_owned())));
        assert_eq!(parse_duration("soon"), Err(ParseUnitError::NoNumber));
        assert_eq!(parse_duration("99999999999999999999d"), Err(ParseUnitError::TooLarge));
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("10GB"), Ok(10_000_000_000));
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert_eq!(parse_bytes("1 XB"), Err(ParseUnitError::Unit("XB".to_owned())));
    }

    #[test]
    fn durations_for_people() {
        assert_eq!(format_duration(Duration::from_millis(12)), "12ms");
        assert_eq!(format_duration(Duration::from_millis(3400)), "3.4s");
        assert_eq!(format_duration(Duration::from_secs(125)), "2m05s");
        assert_eq!(format_duration(Duration::from_secs(3725)), "1h02m");
    }

    #[test]
    fn counts_may_end_in_a_unit() {
        assert_eq!(parse_count("40"), Some(40));
        assert_eq!(parse_count("500k"), Some(500_000));
        assert_eq!(parse_count("1.5M"), Some(1_500_000));
        assert_eq!(parse_count("-1"), None);
        assert_eq!(parse_count("many"), None);
        assert_eq!(parse_count("é"), None);
    }
}
