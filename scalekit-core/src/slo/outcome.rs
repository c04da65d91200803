//! How a request ended, and what that means for an objective: pure functions.

use http::StatusCode;

/// How a request ended; the set is closed, so the label values are bounded.
///
/// ```
/// use scalekit_core::slo::Outcome;
///
/// assert_eq!(Outcome::CancelledHead.as_str(), "cancelled_head");
/// assert_eq!(Outcome::ALL.len(), 7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// A status below 400 and a body that was taken to its end.
    Ok,
    /// A 4xx status, however much of the body was taken.
    ClientError,
    /// A 5xx status, or the inner service failed without a response.
    ServerError,
    /// The body failed after a head below 500.
    BodyError,
    /// Dropped before there was a response head.
    CancelledHead,
    /// Dropped after a head below 400, before the end of the body.
    CancelledBody,
    /// A panic while the response was made, or while its body was.
    Panicked,
}

impl Outcome {
    /// Every outcome, in the order of the exported series.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::BodyError,
        Self::CancelledHead,
        Self::CancelledBody,
        Self::Panicked,
    ];

    /// The value of the `outcome` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::BodyError => "body_error",
            Self::CancelledHead => "cancelled_head",
            Self::CancelledBody => "cancelled_body",
            Self::Panicked => "panicked",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The outcome of a request whose body was taken to its end.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            500.. => Self::ServerError,
            400..=499 => Self::ClientError,
            _ => Self::Ok,
        }
    }
}

/// What a request says about its objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answered in time.
    Good,
    /// Answered or still wanted, but too late.
    Slow,
    /// Not answered by our fault.
    Failed,
    /// Says nothing about us.
    Excluded,
}

/// Judges a request that ended after `nanos` against the threshold, inclusively; without one nothing is too slow.
pub(super) fn judge(outcome: Outcome, nanos: u64, threshold: Option<u64>) -> Verdict {
    let late = threshold.is_some_and(|threshold| nanos > threshold);
    match outcome {
        Outcome::ServerError | Outcome::BodyError | Outcome::Panicked => Verdict::Failed,
        Outcome::ClientError => Verdict::Excluded,
        Outcome::Ok if late => Verdict::Slow,
        Outcome::Ok => Verdict::Good,
        // Who gives up after the threshold was made to wait too long; who leaves before it had another reason.
        Outcome::CancelledHead | Outcome::CancelledBody if late => Verdict::Slow,
        Outcome::CancelledHead | Outcome::CancelledBody => Verdict::Excluded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_judged_as_documented() {
        use Verdict::{Excluded, Failed, Good, Slow};
        let rows = [
            (Outcome::Ok, Good, Slow, Good),
            (Outcome::ClientError, Excluded, Excluded, Excluded),
            (Outcome::ServerError, Failed, Failed, Failed),
            (Outcome::BodyError, Failed, Failed, Failed),
            (Outcome::CancelledHead, Excluded, Slow, Excluded),
            (Outcome::CancelledBody, Excluded, Slow, Excluded),
            (Outcome::Panicked, Failed, Failed, Failed),
        ];
        assert_eq!(rows.len(), Outcome::ALL.len());
        for (outcome, at_threshold, after, without) in rows {
            assert_eq!(judge(outcome, 100, Some(100)), at_threshold, "{outcome:?}");
            assert_eq!(judge(outcome, 101, Some(100)), after, "{outcome:?}");
            assert_eq!(judge(outcome, u64::MAX, None), without, "{outcome:?}");
        }
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
        }
    }
}
