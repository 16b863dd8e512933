//! As whom callers act.

use std::path::Path;

use chrono::DateTime;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::city::{City, Lane};
use crate::lifecycle::{Channel, State};

fn agencies() -> Agencies {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
    City::load(&dir).expect("the city is sound").agencies
}

fn caller(roles: &[&str]) -> Principal {
    Principal {
        subject: Uuid::nil(),
        session: Uuid::nil(),
        client: "app".to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        role_epoch: 0,
        scopes: Vec::new(),
        authenticated_at: DateTime::UNIX_EPOCH,
        expires_at: DateTime::UNIX_EPOCH,
        agency: None,
        is_client: false,
    }
}

fn case(lead: Option<&str>, co: &[&str]) -> Case {
    Case {
        state: State::Distributed,
        version: 3,
        round: 1,
        lane: Lane::Timed,
        channel: Channel::App,
        entered_at: DateTime::UNIX_EPOCH,
        lead: lead.map(str::to_owned),
        co: co.iter().map(|code| (*code).to_owned()).collect(),
        returns: 0,
        step: None,
        wait: None,
        handling: None,
        asked_allowance_ms: None,
        extensions: 0,
        stopwatches: 0,
    }
}

#[test]
fn the_widest_role_counts() {
    let agencies = agencies();
    let acts = |roles: &[&str]| office(&agencies, &caller(roles));
    assert_eq!(acts(&["agency.officer:HEPCO", "ioc.operator", "ioc.lead"]), Some(Office::Centre(Actor::Supervisor)));
    assert_eq!(acts(&["agency.officer:HEPCO", "ioc.operator"]), Some(Office::Centre(Actor::Ioc)));
    for none in [&[][..], &["admin"], &["agency.officer"], &["ioc.operator:HEPCO"], &["finance.officer"]] {
        assert_eq!(acts(none), None, "{none:?}");
    }
}

#[test]
fn an_agency_acts_for_those_below_it_and_in_its_ward_only() {
    let agencies = agencies();
    let acts = |role: &str, case: &Case, ward: Option<&str>| {
        office(&agencies, &caller(&[role])).expect("an officer").actor(case, ward)
    };
    let as_agency = |code: &str| Some(Actor::Agency(code.to_owned()));
    let drains = case(Some("TNDT"), &["HEPCO"]);
    assert_eq!(acts("agency.officer:TNDT", &drains, None), as_agency("TNDT"));
    assert_eq!(acts("agency.officer:HEPCO", &drains, None), as_agency("TNDT"), "it leads, and stands below");
    assert_eq!(acts("agency.officer:HUEWACO", &drains, None), None);
    let parks = case(Some("CVCX"), &["HEPCO"]);
    assert_eq!(acts("agency.head:HEPCO", &parks, None), as_agency("HEPCO"), "it helps");
    let roads = case(Some("KTHT-19753"), &[]);
    assert_eq!(acts("agency.head:UBND-19753", &roads, Some("19753")), as_agency("KTHT-19753"));
    assert_eq!(acts("agency.head:UBND-19789", &roads, Some("19753")), None);
    assert_eq!(acts("agency.officer:HEPCO:19753", &drains, Some("19753")), as_agency("TNDT"));
    for elsewhere in [Some("19789"), None] {
        assert_eq!(acts("agency.officer:HEPCO:19753", &drains, elsewhere), None);
    }
    assert_eq!(acts("agency.officer:GONE", &case(None, &[]), None), None);
}

proptest! {
    /// The slow model looks up from each agency of the report, one parent at a time, for a role that names it.
    #[test]
    fn who_acts_is_who_holds_a_role_somewhere_above(
        roles in prop::sample::subsequence(vec![
            "agency.officer:HEPCO", "agency.officer:TNDT:19753", "agency.head:UBND-19753", "agency.officer:KTHT-19789", "agency.head:HEPCO:19789",
        ], 1..5),
        lead in prop::sample::select(vec![None, Some("HEPCO"), Some("TNDT"), Some("KTHT-19753"), Some("KTHT-19789")]),
        co in prop::sample::subsequence(vec!["CVCX", "UBND-19753"], 0..2),
        ward in prop::sample::select(vec![None, Some("19753"), Some("19789")]),
    ) {
        let parent = |code: &str| match code {
            "TNDT" => Some("HEPCO"),
            "KTHT-19753" => Some("UBND-19753"),
            "KTHT-19789" => Some("UBND-19789"),
            _ => None,
        };
        let held = |code: &str| roles.iter().any(|role| {
            let parts: Vec<&str> = role.split(':').collect();
            parts[1] == code && parts.get(2).is_none_or(|named| ward == Some(*named))
        });
        let acts_for = |code: &str| held(code) || parent(code).is_some_and(held);
        let expected = lead.iter().chain(&co).find(|code| acts_for(code)).map(|code| Actor::Agency((*code).to_owned()));
        let office = office(&agencies(), &caller(&roles)).expect("an officer");
        prop_assert_eq!(office.actor(&case(lead, &co), ward), expected);
    }
}
