//! Who may decide on a proposal, and when. Pure.
//!
//! Invariant: nobody decides on what they proposed themselves, whatever roles they hold; but anyone takes back their own.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::ProposalFault;

/// SHA-256 of a proposal's content.
pub(crate) type Digest = [u8; 32];

/// Where a proposal stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
#[schema(as = ProposalState)]
pub(crate) enum State {
    /// Nobody has decided.
    Open,
    /// Another officer approved; it is being done.
    Approved,
    /// Another officer refused it, or its own took it back.
    Refused,
    /// Nobody decided in time.
    Expired,
    /// It is done.
    Done,
}

impl State {
    /// The name in the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Done => "done",
        }
    }
}

/// A proposal, as far as a decision needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) proposed_by: Uuid,
    pub(crate) digest: Digest,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) state: State,
}

impl Standing {
    /// Whether somebody may approve the content that they name.
    pub(crate) fn approve(&self, by: Uuid, digest: &Digest, now: DateTime<Utc>) -> Result<(), ProposalFault> {
        if by == self.proposed_by {
            return Err(ProposalFault::Own);
        }
        self.is_open(now)?;
        if *digest == self.digest { Ok(()) } else { Err(ProposalFault::OtherContent) }
    }

    /// Whether somebody may refuse it; whoever proposed it takes it back.
    pub(crate) fn refuse(&self, by: Uuid, approver: bool, now: DateTime<Utc>) -> Result<(), ProposalFault> {
        if !approver && by != self.proposed_by {
            return Err(ProposalFault::NotAllowed);
        }
        self.is_open(now)
    }

    fn is_open(&self, now: DateTime<Utc>) -> Result<(), ProposalFault> {
        match self.state {
            State::Open if now < self.expires_at => Ok(()),
            State::Open | State::Expired => Err(ProposalFault::Expired),
            State::Approved | State::Refused | State::Done => Err(ProposalFault::Decided),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Propose(u8),
        Approve { by: u8, proposal: usize, seen: usize },
        Refuse { by: u8, approver: bool, proposal: usize },
        Wait,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_u8).prop_map(Step::Propose),
            (0..3_u8, 0..4_usize, 0..4_usize).prop_map(|(by, proposal, seen)| Step::Approve { by, proposal, seen }),
            (0..3_u8, any::<bool>(), 0..4_usize).prop_map(|(by, approver, proposal)| Step::Refuse {
                by,
                approver,
                proposal
            }),
            Just(Step::Wait),
        ]
    }

    fn person(number: u8) -> Uuid {
        Uuid::from_u128(u128::from(number) + 1)
    }

    fn digest(number: usize) -> Digest {
        [u8::try_from(number).expect("a few"); 32]
    }

    const LIFE: TimeDelta = TimeDelta::hours(2);

    proptest! {
        /// The slow model is the log alone: of all that was asked, which approvals may have counted.
        #[test]
        fn no_sequence_lets_one_person_do_both(steps in prop::collection::vec(step(), 0..40)) {
            let mut now = DateTime::UNIX_EPOCH;
            let mut all: Vec<Standing> = Vec::new();
            let mut log: Vec<(usize, Uuid, &str, DateTime<Utc>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait => now += TimeDelta::hours(1),
                    Step::Propose(by) => {
                        let proposed_by = person(by);
                        log.push((all.len(), proposed_by, "proposed", now));
                        all.push(Standing { proposed_by, digest: digest(all.len()), expires_at: now + LIFE, state: State::Open });
                    }
                    Step::Approve { by, proposal, seen } => {
                        let Some(known) = all.get_mut(proposal) else { continue };
                        if known.approve(person(by), &digest(seen), now).is_ok() {
                            known.state = State::Approved;
                            log.push((proposal, person(by), if seen == proposal { "approved" } else { "blind" }, now));
                        }
                    }
                    Step::Refuse { by, approver, proposal } => {
                        let Some(known) = all.get_mut(proposal) else { continue };
                        if known.refuse(person(by), approver, now).is_ok() {
                            known.state = State::Refused;
                            log.push((proposal, person(by), "refused", now));
                        }
                    }
                }
            }
            prop_assert!(log.iter().all(|(_, _, what, _)| *what != "blind"), "who approves has seen the content");
            for (number, known) in all.iter().enumerate() {
                let of = |what| log.iter().filter(move |(of, _, is, _)| *of == number && *is == what).collect::<Vec<_>>();
                let (proposed, approved, refused) = (of("proposed"), of("approved"), of("refused"));
                prop_assert!(approved.len() + refused.len() <= 1, "it is decided once");
                prop_assert_eq!(known.state == State::Approved, approved.len() == 1);
                if let [(_, by, _, at)] = approved.as_slice() {
                    prop_assert_ne!(*by, proposed[0].1);
                    prop_assert!(*at < proposed[0].3 + LIFE);
                }
            }
        }
    }

    #[test]
    fn each_refusal_says_why() {
        let (one, other, now) = (person(0), person(1), DateTime::UNIX_EPOCH);
        let open = Standing { proposed_by: one, digest: digest(7), expires_at: now + LIFE, state: State::Open };
        assert_eq!(open.approve(other, &digest(7), now), Ok(()));
        assert_eq!(open.approve(one, &digest(7), now), Err(ProposalFault::Own));
        assert_eq!(open.approve(other, &digest(8), now), Err(ProposalFault::OtherContent));
        assert_eq!(open.approve(other, &digest(7), now + LIFE), Err(ProposalFault::Expired));
        let done = Standing { state: State::Done, ..open };
        assert_eq!(done.approve(other, &digest(7), now), Err(ProposalFault::Decided));
        assert_eq!(open.refuse(one, false, now), Ok(()), "taken back");
        assert_eq!(open.refuse(other, false, now), Err(ProposalFault::NotAllowed));
        assert_eq!(open.refuse(other, true, now), Ok(()));
        assert_eq!(done.refuse(other, true, now), Err(ProposalFault::Decided));
    }
}
