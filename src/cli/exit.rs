//! Exit codes, the same for all commands: part of the contract.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Exit {
    /// 0: done, or everything fresh.
    Success,
    /// 1: a task or gate failed, or conductor could not do its work (a full disk, a workspace that is held).
    Failed,
    /// 2: wrong usage or an invalid manifest.
    Usage,
    /// 3: something is stale (`check`, `--frozen`, an edit during the build).
    Stale,
    /// 4: something is not what conductor recorded.
    Integrity,
    /// 5: paused, and to be resumed.
    Paused,
    /// 130 or 143: stopped by a signal.
    Signal(i32),
}

impl Exit {
    /// The code.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Stale => 3,
            Self::Integrity => 4,
            Self::Paused => 5,
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(15)),
        }
    }

    /// Which of two holds when both apply: signal, 2, 4, 1, 5, 3, 0.
    pub fn or(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Signal(_) => 0,
            Self::Usage => 1,
            Self::Integrity => 2,
            Self::Failed => 3,
            Self::Paused => 4,
            Self::Stale => 5,
            Self::Success => 6,
        };
        if rank(other) < rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_exit_codes_the_gravest_holds() {
        let order = [
            Exit::Signal(2),
            Exit::Usage,
            Exit::Integrity,
            Exit::Failed,
            Exit::Paused,
            Exit::Stale,
            Exit::Success,
        ];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i..] {
                assert_eq!(first.or(*second), *first);
                assert_eq!(second.or(*first), *first);
            }
        }
        assert_eq!(order.map(Exit::code), [130, 2, 4, 1, 5, 3, 0]);
        assert_eq!(Exit::Signal(15).code(), 143);
    }
}
