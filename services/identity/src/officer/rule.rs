//! Who gives and takes which role, and who sees whose. Pure.
//!
//! An admin: all roles. A lead of the operations centre: its operators. A head of an agency: officers of it and of all below,
//! and heads of those below; the head of its part in one ward only what lies in that ward. So nobody gives more than they hold.
//! Whoever gives a role also takes it. Nobody gives one to themself, not even an admin.

use super::role::{Role, RoleKind};
use crate::organisation::Organisations;

/// Whether somebody who holds these roles gives and takes `role`.
pub(crate) fn may_change(held: &[Role], role: &Role, organisations: &Organisations) -> bool {
    held.iter().any(|own| match own.kind() {
        RoleKind::Admin => true,
        RoleKind::IocLead => role.kind() == RoleKind::IocOperator,
        RoleKind::AgencyHead => {
            let lower = match role.kind() {
                RoleKind::AgencyOfficer => true,
                RoleKind::AgencyHead => own.agency() != role.agency(),
                _ => false,
            };
            lower && own.place().zip(role.place()).is_some_and(|(own, place)| organisations.covers(own, place))
        }
        _ => false,
    })
}

/// Which grants somebody sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// All of them.
    pub everything: bool,
    /// Those of these roles.
    pub roles: Vec<&'static str>,
    /// Those of these agencies.
    pub agencies: Vec<String>,
}

impl Sight {
    /// An admin sees all, a lead of the centre the centre's, a head those of the whole agency and of all below it; others none.
    pub(crate) fn of(held: &[Role], organisations: &Organisations) -> Option<Self> {
        let mut sight = Self::default();
        for own in held {
            match (own.kind(), own.agency()) {
                (RoleKind::Admin, _) => sight.everything = true,
                (RoleKind::IocLead, _) => {
                    sight.roles = vec![RoleKind::IocOperator.as_str(), RoleKind::IocLead.as_str()];
                }
                (RoleKind::AgencyHead, Some(agency)) => sight.agencies.extend(organisations.within(agency)),
                _ => {}
            }
        }
        (sight != Self::default()).then_some(sight)
    }

    /// Sees everything.
    pub(crate) fn full() -> Self {
        Self { everything: true, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::organisation::tests::{WARDS, organisation, tree};

    const AGENCIES: [&str; 4] = ["HEPCO", "TNDT", "UBND-1", "KTHT-1"];
    const PLACES: [Option<&str>; 3] = [None, Some(WARDS[0]), Some(WARDS[1])];

    /// A city with two lines of agencies, one of them a ward's.
    fn city() -> Organisations {
        tree(vec![
            organisation("HEPCO", None, None),
            organisation("TNDT", Some("HEPCO"), None),
            organisation("UBND-1", None, Some("1")),
            organisation("KTHT-1", Some("UBND-1"), Some("1")),
        ])
    }

    /// Every role of that city.
    fn all() -> Vec<String> {
        let mut all: Vec<String> =
            ["ioc.operator", "ioc.lead", "finance.officer", "finance.approver", "admin"].map(str::to_owned).to_vec();
        for kind in ["agency.officer", "agency.head"] {
            for agency in AGENCIES {
                let name = |ward: Option<&str>| ward.map(|ward| format!(":{ward}")).unwrap_or_default();
                let wards = PLACES.into_iter().filter(|ward| !(agency.ends_with("-1") && *ward == Some("2")));
                all.extend(wards.map(|ward| format!("{kind}:{agency}{}", name(ward))));
            }
        }
        all
    }

    /// The slow model: for one role held, every name that it gives, written out by hand.
    fn given_by(held: &str) -> Vec<&'static str> {
        match held {
            "ioc.lead" => vec!["ioc.operator"],
            "agency.head:HEPCO" => vec![
                "agency.officer:HEPCO",
                "agency.officer:HEPCO:1",
                "agency.officer:HEPCO:2",
                "agency.officer:TNDT",
                "agency.officer:TNDT:1",
                "agency.officer:TNDT:2",
                "agency.head:TNDT",
                "agency.head:TNDT:1",
                "agency.head:TNDT:2",
            ],
            "agency.head:HEPCO:1" => {
                vec!["agency.officer:HEPCO:1", "agency.officer:TNDT:1", "agency.head:TNDT:1"]
            }
            "agency.head:HEPCO:2" => {
                vec!["agency.officer:HEPCO:2", "agency.officer:TNDT:2", "agency.head:TNDT:2"]
            }
            "agency.head:TNDT" => vec!["agency.officer:TNDT", "agency.officer:TNDT:1", "agency.officer:TNDT:2"],
            "agency.head:TNDT:1" => vec!["agency.officer:TNDT:1"],
            "agency.head:TNDT:2" => vec!["agency.officer:TNDT:2"],
            "agency.head:UBND-1" | "agency.head:UBND-1:1" => vec![
                "agency.officer:UBND-1",
                "agency.officer:UBND-1:1",
                "agency.officer:KTHT-1",
                "agency.officer:KTHT-1:1",
                "agency.head:KTHT-1",
                "agency.head:KTHT-1:1",
            ],
            "agency.head:KTHT-1" | "agency.head:KTHT-1:1" => vec!["agency.officer:KTHT-1", "agency.officer:KTHT-1:1"],
            _ => Vec::new(),
        }
    }

    fn roles(names: &[String]) -> Vec<Role> {
        names.iter().map(|name| name.parse().expect("a role")).collect()
    }

    fn sees(sight: &Sight, role: &Role) -> bool {
        sight.everything
            || sight.roles.contains(&role.kind().as_str())
            || role.agency().is_some_and(|agency| sight.agencies.iter().any(|seen| seen == agency))
    }

    proptest! {
        #[test]
        fn a_role_is_given_by_exactly_those_on_the_list(held in prop::sample::subsequence(all(), 0..6)) {
            let (own, city) = (roles(&held), city());
            let admin = held.iter().any(|name| name == "admin");
            let listed: std::collections::HashSet<&str> = held.iter().flat_map(|name| given_by(name)).collect();
            for name in all() {
                let role: Role = name.parse().expect("a role");
                prop_assert_eq!(may_change(&own, &role, &city), admin || listed.contains(name.as_str()), "{:?} {}", held, name);
            }
        }

        #[test]
        fn whoever_gives_a_role_sees_it_and_who_gives_none_sees_none(held in prop::sample::subsequence(all(), 0..6)) {
            let (own, city) = (roles(&held), city());
            let sight = Sight::of(&own, &city);
            let gives: Vec<Role> = roles(&all()).into_iter().filter(|role| may_change(&own, role, &city)).collect();
            prop_assert_eq!(sight.is_some(), !gives.is_empty());
            if let Some(sight) = sight {
                prop_assert!(gives.iter().all(|role| sees(&sight, role)));
                let admin: Role = "admin".parse().expect("a role");
                prop_assert_eq!(sees(&sight, &admin), held.iter().any(|name| name == "admin"));
            }
        }
    }

    #[test]
    fn nobody_but_an_admin_raises_themself() {
        for name in all().iter().filter(|name| *name != "admin") {
            let own = roles(std::slice::from_ref(name));
            for higher in ["admin", "ioc.lead", "agency.head:HEPCO", "finance.approver", "finance.officer", name] {
                assert!(!may_change(&own, &higher.parse().expect("a role"), &city()), "{name} {higher}");
            }
        }
    }
}
