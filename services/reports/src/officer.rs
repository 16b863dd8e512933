//! Officers: as whom a caller acts, by the roles of their access token alone.
//!
//! `ioc.lead` is a supervisor of the operations centre, `ioc.operator` an operator; `agency.officer:CODE` and `agency.head:CODE`
//! act for that agency and all below it, with `:WARD` only for reports of that ward. Identity gives the roles, and ends them
//! within seconds. Pure.

use platform::auth::Principal;

use crate::city::Agencies;
use crate::lifecycle::{Actor, Case};

/// What a caller may do as an officer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Office {
    /// The operations centre, as an operator or a supervisor.
    Centre(Actor),
    /// Agencies, each in one ward or everywhere; never empty.
    Agencies(Vec<Post>),
}

/// An agency for which an officer acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) agency: String,
    /// The one ward whose reports it is about.
    pub(crate) ward: Option<String>,
}

impl Office {
    /// As whom the officer acts on a report; `None` when it is none of theirs. The leading agency comes first.
    pub(crate) fn actor(&self, case: &Case, ward: Option<&str>) -> Option<Actor> {
        let posts = match self {
            Self::Centre(actor) => return Some(actor.clone()),
            Self::Agencies(posts) => posts,
        };
        let has = |code: &String| posts.iter().any(|post| post.agency == *code && post.is_for(ward));
        case.lead.iter().chain(&case.co).find(|code| has(code)).map(|code| Actor::Agency(code.clone()))
    }
}

impl Post {
    fn is_for(&self, ward: Option<&str>) -> bool {
        self.ward.is_none() || self.ward.as_deref() == ward
    }
}

/// What a caller may do as an officer, if they are one; the widest role counts.
pub(crate) fn office(agencies: &Agencies, caller: &Principal) -> Option<Office> {
    if caller.has_role("ioc.lead") {
        return Some(Office::Centre(Actor::Supervisor));
    }
    if caller.has_role("ioc.operator") {
        return Some(Office::Centre(Actor::Ioc));
    }
    let mut posts: Vec<Post> = caller.roles.iter().flat_map(|role| posts_of(agencies, role)).collect();
    posts.sort_unstable_by(|one, other| (&one.agency, &one.ward).cmp(&(&other.agency, &other.ward)));
    posts.dedup();
    (!posts.is_empty()).then_some(Office::Agencies(posts))
}

/// The agencies for which a role acts: its own and all below; none for a role of another kind.
fn posts_of(agencies: &Agencies, role: &str) -> Vec<Post> {
    let place = role.strip_prefix("agency.head:").or_else(|| role.strip_prefix("agency.officer:"));
    let Some(place) = place else { return Vec::new() };
    let (agency, ward) = place.split_once(':').map_or((place, None), |(agency, ward)| (agency, Some(ward)));
    let post = |code| Post { agency: code, ward: ward.map(str::to_owned) };
    agencies.within(agency).into_iter().map(post).collect()
}

#[cfg(test)]
mod tests;
