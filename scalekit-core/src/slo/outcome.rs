//! How a request ended, and what that means for an objective: pure functions.

use std::time::Duration;

use http::StatusCode;

use super::bounds::nanos;

/// How a request ended; the set is closed, so the label values are bounded.
///
/// ```
/// use scalekit_core::slo::Outcome;
///
/// assert_eq!(Outcome::CancelledHead.as_str(), "cancelled_head");
/// assert_eq!(Outcome::ALL.len(), 8);
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
    /// Refused because of overload: a status of 400 or more with the mark [`Shed`](crate::http::Shed).
    Shed,
    /// A panic while the response was made, or while its body was.
    Panicked,
}

impl Outcome {
    /// Every outcome, in the order of the exported series.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::BodyError,
        Self::CancelledHead,
        Self::CancelledBody,
        Self::Shed,
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
            Self::Shed => "shed",
            Self::Panicked => "panicked",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Whether an availability promises that it does not happen; refusing under overload can be agreed on.
    pub(super) const fn is_failure(self) -> bool {
        matches!(self, Self::ServerError | Self::BodyError | Self::Panicked)
    }
}

/// What the head of a response says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// Whether it is marked as refused because of overload.
    pub(super) shed: bool,
}

impl Head {
    /// The outcome of a request whose body was taken to its end.
    pub(super) fn complete(self) -> Outcome {
        match self.status.as_u16() {
            400.. if self.shed => Outcome::Shed,
            500.. => Outcome::ServerError,
            400..=499 => Outcome::ClientError,
            _ => Outcome::Ok,
        }
    }

    /// The outcome of a request whose body failed.
    pub(super) fn broken(self) -> Outcome {
        match self.complete() {
            // An error that could not be told in full is no other error.
            told @ (Outcome::ServerError | Outcome::Shed) => told,
            _ => Outcome::BodyError,
        }
    }

    /// The outcome of a request whose body was dropped before its end.
    pub(super) fn dropped(self) -> Outcome {
        match self.complete() {
            Outcome::Ok => Outcome::CancelledBody,
            // The head has told all there is to know about an error.
            error => error,
        }
    }
}

/// The outcomes that an objective does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exclusions(u8);

impl Exclusions {
    pub(super) fn contains(self, outcome: Outcome) -> bool {
        self.0 & (1 << outcome.index()) != 0
    }
}

impl Default for Exclusions {
    fn default() -> Self {
        [Outcome::ClientError, Outcome::Shed].into_iter().collect()
    }
}

impl FromIterator<Outcome> for Exclusions {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        Self(outcomes.into_iter().fold(0, |set, outcome| set | 1 << outcome.index()))
    }
}

/// What a request that counts says about its objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answered within the threshold T.
    Good,
    /// Answered after T, within 4T.
    Tolerable,
    /// Answered after 4T, or given up by the client after T.
    Slow,
    /// Not answered by our fault.
    Failed,
}

/// What an objective asks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// T in nanoseconds; without one nothing is too slow.
    threshold: Option<u64>,
    exclude: Exclusions,
}

impl Terms {
    pub(super) fn new(threshold: Option<Duration>, exclude: Exclusions) -> Self {
        Self { threshold: threshold.map(nanos), exclude }
    }

    /// Judges a request that took `nanos`; none if it does not count. Thresholds are inclusive.
    pub(super) fn judge(self, outcome: Outcome, nanos: u64) -> Option<Verdict> {
        if self.exclude.contains(outcome) {
            return None;
        }
        match outcome {
            Outcome::ServerError | Outcome::BodyError | Outcome::Panicked | Outcome::Shed => {
                Some(Verdict::Failed)
            }
            Outcome::Ok | Outcome::ClientError => Some(self.pace(nanos)),
            // Who gives up after the threshold was made to wait too long; who leaves before it had another reason.
            Outcome::CancelledHead | Outcome::CancelledBody => {
                (self.pace(nanos) != Verdict::Good).then_some(Verdict::Slow)
            }
        }
    }

    /// Judges an answer by its time alone.
    pub(super) fn pace(self, nanos: u64) -> Verdict {
        match self.threshold {
            Some(threshold) if nanos > threshold.saturating_mul(4) => Verdict::Slow,
            Some(threshold) if nanos > threshold => Verdict::Tolerable,
            _ => Verdict::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_nanos(100);

    #[test]
    fn every_outcome_is_judged_as_documented() {
        use Verdict::{Failed, Good, Slow, Tolerable};
        // At T, just after it, at 4T, just after that, and without a threshold; nothing is excluded.
        let rows = [
            (Outcome::Ok, [Some(Good), Some(Tolerable), Some(Tolerable), Some(Slow), Some(Good)]),
            (Outcome::ClientError, [Some(Good), Some(Tolerable), Some(Tolerable), Some(Slow), Some(Good)]),
            (Outcome::ServerError, [Some(Failed); 5]),
            (Outcome::BodyError, [Some(Failed); 5]),
            (Outcome::CancelledHead, [None, Some(Slow), Some(Slow), Some(Slow), None]),
            (Outcome::CancelledBody, [None, Some(Slow), Some(Slow), Some(Slow), None]),
            (Outcome::Shed, [Some(Failed); 5]),
            (Outcome::Panicked, [Some(Failed); 5]),
        ];
        assert_eq!(rows.len(), Outcome::ALL.len());
        for (outcome, [at, after, at_four, after_four, without]) in rows {
            let all = Terms::new(Some(T), Exclusions::from_iter([]));
            for (nanos, expected) in [(100, at), (101, after), (400, at_four), (401, after_four)] {
                assert_eq!(all.judge(outcome, nanos), expected, "{outcome:?} {nanos}");
                let excluding = Terms::new(Some(T), Exclusions::from_iter([outcome]));
                assert_eq!(excluding.judge(outcome, nanos), None, "{outcome:?} is excluded");
                let others = Outcome::ALL.into_iter().filter(|other| *other != outcome);
                let others = Terms::new(Some(T), others.collect());
                assert_eq!(others.judge(outcome, nanos), expected, "{outcome:?}, all others excluded");
                let default = Terms::new(Some(T), Exclusions::default());
                let counted = !matches!(outcome, Outcome::ClientError | Outcome::Shed);
                assert_eq!(default.judge(outcome, nanos), expected.filter(|_| counted), "{outcome:?}");
            }
            let timeless = Terms::new(None, Exclusions::from_iter([]));
            assert_eq!(timeless.judge(outcome, u64::MAX), without, "{outcome:?}");
        }
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
        }
    }

    #[test]
    fn the_head_tells_an_error_whatever_becomes_of_the_body() {
        use Outcome::{BodyError, CancelledBody, ClientError, Ok, ServerError, Shed};
        let rows = [
            (200, false, [Ok, BodyError, CancelledBody]),
            // The mark is for refusals: a success that carries it is a success.
            (200, true, [Ok, BodyError, CancelledBody]),
            (404, false, [ClientError, BodyError, ClientError]),
            (429, true, [Shed; 3]),
            (503, false, [ServerError; 3]),
            (503, true, [Shed; 3]),
        ];
        for (status, shed, expected) in rows {
            let head = Head { status: StatusCode::from_u16(status).unwrap(), shed };
            assert_eq!([head.complete(), head.broken(), head.dropped()], expected, "{head:?}");
        }
    }
}
