//! What is done after a run of an agent's program that led to no accepted result.

use crate::model::AgentEnd;

/// How far the work on a task has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Which attempt has just ended, from 1.
    pub(super) attempt: u32,
    /// How many there may be.
    pub(super) attempts: u32,
    /// The program can go on with the session of this run.
    pub(super) can_resume: bool,
    /// The run before this one failed in the same way.
    pub(super) same_again: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Another attempt in the same session, which is shown what is wrong.
    Resume,
    /// Another attempt in a session that knows nothing of the ones before, and is told what was done.
    Afresh,
    /// The same attempt goes on when the provider's limit is over.
    Wait,
    /// A person decides; nothing is lost meanwhile.
    Pause,
    /// It has failed.
    GiveUp,
    /// It has failed, and so would every task of the same adapter.
    StopAdapter,
}

/// The policy.
pub(super) fn next(end: AgentEnd, progress: Progress) -> Next {
    let another = progress.attempt < progress.attempts;
    match end {
        AgentEnd::RateLimit | AgentEnd::Provider => Next::Wait,
        AgentEnd::Auth | AgentEnd::Config => Next::StopAdapter,
        AgentEnd::Budget | AgentEnd::TurnLimit | AgentEnd::Cancelled => Next::Pause,
        AgentEnd::Overflow if another => Next::Afresh,
        _ if !another || progress.same_again => Next::GiveUp,
        // Of three attempts or more the last one is made by somebody who is not caught in the idea of the others.
        _ if !progress.can_resume || is_last_of_many(progress) => Next::Afresh,
        _ => Next::Resume,
    }
}

fn is_last_of_many(progress: Progress) -> bool {
    progress.attempts >= 3 && progress.attempt + 1 == progress.attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(attempt: u32, attempts: u32) -> Progress {
        Progress { attempt, attempts, can_resume: true, same_again: false }
    }

    #[test]
    fn a_refused_result_is_mended_in_its_session_and_in_the_end_by_a_fresh_one() {
        let all = |attempts| {
            (1..=attempts).map(|at| next(AgentEnd::Invalid, progress(at, attempts))).collect::<Vec<_>>()
        };
        assert_eq!(all(1), [Next::GiveUp]);
        assert_eq!(all(2), [Next::Resume, Next::GiveUp]);
        assert_eq!(all(4), [Next::Resume, Next::Resume, Next::Afresh, Next::GiveUp]);
    }

    #[test]
    fn the_same_failure_twice_is_enough() {
        let again = Progress { same_again: true, ..progress(2, 9) };
        assert_eq!(next(AgentEnd::Invalid, again), Next::GiveUp);
    }

    #[test]
    fn what_does_not_come_from_the_work_is_no_attempt() {
        let last = progress(3, 3);
        for end in [AgentEnd::RateLimit, AgentEnd::Provider] {
            assert_eq!(next(end, last), Next::Wait);
        }
        for end in [AgentEnd::Budget, AgentEnd::TurnLimit, AgentEnd::Cancelled] {
            assert_eq!(next(end, last), Next::Pause);
        }
        assert_eq!(next(AgentEnd::Auth, progress(1, 3)), Next::StopAdapter);
    }

    #[test]
    fn a_full_context_or_a_session_that_is_gone_means_a_new_one() {
        assert_eq!(next(AgentEnd::Overflow, progress(1, 3)), Next::Afresh);
        assert_eq!(next(AgentEnd::Overflow, progress(3, 3)), Next::GiveUp);
        assert_eq!(next(AgentEnd::Timeout, Progress { can_resume: false, ..progress(1, 3) }), Next::Afresh);
    }
}
