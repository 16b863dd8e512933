//! Who gives and takes which role, and who sees whose. Pure.
//!
//! An admin: all roles. A lead of the operations centre: its operators. A head of an agency: officers of that agency, and the
//! head of its part in one ward only those of that ward. Whoever gives a role also takes it.

use super::role::{Role, RoleKind};

/// Whether somebody who holds these roles gives and takes `role`.
pub(crate) fn may_change(held: &[Role], role: &Role) -> bool {
    held.iter().any(|own| match own.kind() {
        RoleKind::Admin => true,
        RoleKind::IocLead => role.kind() == RoleKind::IocOperator,
        RoleKind::AgencyHead => {
            role.kind() == RoleKind::AgencyOfficer
                && own.agency() == role.agency()
                && (own.ward().is_none() || own.ward() == role.ward())
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
    /// An admin sees all, a lead of the centre the centre's, a head the whole agency's; others none.
    pub(crate) fn of(held: &[Role]) -> Option<Self> {
        let mut sight = Self::default();
        for own in held {
            match (own.kind(), own.agency()) {
                (RoleKind::Admin, _) => sight.everything = true,
                (RoleKind::IocLead, _) => {
                    sight.roles = vec![RoleKind::IocOperator.as_str(), RoleKind::IocLead.as_str()];
                }
                (RoleKind::AgencyHead, Some(agency)) => sight.agencies.push(agency.to_owned()),
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

    const AGENCIES: [&str; 2] = ["HEPCO", "CA-1"];
    const WARDS: [Option<&str>; 3] = [None, Some("1"), Some("2")];

    /// Every role of a small city.
    fn all() -> Vec<String> {
        let mut all: Vec<String> =
            ["ioc.operator", "ioc.lead", "finance.officer", "finance.approver", "admin"].map(str::to_owned).to_vec();
        for kind in ["agency.officer", "agency.head"] {
            for agency in AGENCIES {
                all.extend(
                    WARDS.map(|ward| {
                        format!("{kind}:{agency}{}", ward.map(|ward| format!(":{ward}")).unwrap_or_default())
                    }),
                );
            }
        }
        all
    }

    /// The slow model: for one role held, the list of every name that it gives, written out by text alone.
    fn given_by(held: &str) -> Vec<String> {
        let parts: Vec<&str> = held.split(':').collect();
        let officers = |prefix: String| all().into_iter().filter(|name| name.starts_with(&prefix)).collect::<Vec<_>>();
        match parts.as_slice() {
            ["admin"] => all(),
            ["ioc.lead"] => vec!["ioc.operator".to_owned()],
            ["agency.head", agency] => officers(format!("agency.officer:{agency}")),
            ["agency.head", agency, ward] => vec![format!("agency.officer:{agency}:{ward}")],
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
            let own = roles(&held);
            let listed: std::collections::HashSet<String> = held.iter().flat_map(|name| given_by(name)).collect();
            for name in all() {
                let role: Role = name.parse().expect("a role");
                prop_assert_eq!(may_change(&own, &role), listed.contains(&name), "{:?} {}", held, name);
            }
        }

        #[test]
        fn whoever_gives_a_role_sees_it_and_who_gives_none_sees_none(held in prop::sample::subsequence(all(), 0..6)) {
            let own = roles(&held);
            let sight = Sight::of(&own);
            let gives: Vec<Role> = roles(&all()).into_iter().filter(|role| may_change(&own, role)).collect();
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
            for higher in ["admin", "ioc.lead", "agency.head:HEPCO", "finance.approver", "finance.officer"] {
                assert!(!may_change(&own, &higher.parse().expect("a role")), "{name} {higher}");
            }
        }
    }
}
