//! Who stands above whom, and what a place in the tree covers. Pure.
//!
//! A place is an agency and perhaps one ward: officers hold their roles there. It covers the agency and all below it, and of
//! them only what lies in its ward, if it names one. An agency of a ward lies in that ward as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use crate::officer::RoleFault;

/// What an organisation is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OrganisationName)]
pub struct Name {
    /// In Vietnamese.
    pub vi: String,
    /// In English.
    pub en: String,
}

/// One agency of the city.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Organisation {
    /// Its stable code; that of a ward's agency ends with the ward's.
    #[schema(example = "KTHT-19753")]
    pub code: String,
    /// What it is called.
    pub name: Name,
    /// Code of the one above it; absent right below the city.
    #[schema(example = "UBND-19753")]
    pub parent: Option<String>,
    /// Code of the ward that it is for, if for one alone.
    #[schema(example = "19753")]
    pub ward: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Organisations {
    by_code: BTreeMap<String, Organisation>,
    wards: BTreeSet<String>,
    /// What the codes begin with of the agencies that keep their wards' registers of people.
    registry: Option<String>,
}

/// Where a role counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub agency: &'a str,
    /// The one ward, if not everywhere.
    pub ward: Option<&'a str>,
}

impl Organisations {
    /// Organisations of which none stands above itself, and the codes of all wards.
    pub(super) fn new(all: Vec<Organisation>, wards: BTreeSet<String>) -> Self {
        Self { by_code: all.into_iter().map(|one| (one.code.clone(), one)).collect(), wards, registry: None }
    }

    /// The same, with the agency of each ward that keeps its register of people.
    pub(super) fn kept_by(self, registry: Option<String>) -> Self {
        Self { registry, ..self }
    }

    /// Each ward with the code of the agency that keeps its register of people; none in a city that has named no such agency.
    pub(crate) fn registers(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_ward = |agency: &str, ward: &str| self.get(&format!("{agency}-{ward}"));
        let agencies = self.wards.iter().map(move |ward| {
            let keeper = self.registry.as_deref().and_then(|agency| of_ward(agency, ward));
            keeper.map(|keeper| (ward.as_str(), keeper.code.as_str()))
        });
        agencies.flatten()
    }

    /// Whether there is such a ward.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn check_ward(&self, ward: &str) -> Result<(), RoleFault> {
        if self.wards.contains(ward) { Ok(()) } else { Err(RoleFault::WardUnknown) }
    }

    /// The organisation with a code.
    pub fn get(&self, code: &str) -> Option<&Organisation> {
        self.by_code.get(code)
    }

    /// All, by code, after one.
    pub fn after<'a>(&'a self, code: Option<&'a str>) -> impl Iterator<Item = &'a Organisation> {
        self.by_code.values().skip_while(move |one| code.is_some_and(|code| one.code.as_str() <= code))
    }

    /// An organisation, the one above it, and so on to the top.
    pub fn upwards<'a>(&'a self, code: &str) -> impl Iterator<Item = &'a Organisation> {
        std::iter::successors(self.get(code), |one| self.get(one.parent.as_deref()?))
    }

    /// Whether an organisation is another one or stands somewhere below it. One that is not known is itself only.
    pub fn is_within(&self, code: &str, top: &str) -> bool {
        code == top || self.upwards(code).any(|one| one.code == top)
    }

    /// The codes of an organisation and of all below it.
    pub(crate) fn within(&self, top: &str) -> Vec<String> {
        let below = self.by_code.keys().filter(|code| *code != top && self.is_within(code, top));
        std::iter::once(top).chain(below.map(String::as_str)).map(str::to_owned).collect()
    }

    /// Whether one place has all of another in it.
    pub(crate) fn covers(&self, wide: Place<'_>, narrow: Place<'_>) -> bool {
        let ward = narrow.ward.or_else(|| self.get(narrow.agency)?.ward.as_deref());
        self.is_within(narrow.agency, wide.agency) && (wide.ward.is_none() || wide.ward == ward)
    }

    /// Whether there is such a place.
    ///
    /// # Errors
    /// An agency or a ward that is not known, or a ward in which the agency is not.
    pub(crate) fn check(&self, place: Place<'_>) -> Result<(), RoleFault> {
        let agency = self.get(place.agency).ok_or(RoleFault::AgencyUnknown)?;
        match (place.ward, &agency.ward) {
            (Some(ward), _) if !self.wards.contains(ward) => Err(RoleFault::WardUnknown),
            (Some(ward), Some(own)) if ward != own => Err(RoleFault::Scope),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const WARDS: [&str; 2] = ["1", "2"];

    pub(crate) fn organisation(code: &str, parent: Option<&str>, ward: Option<&str>) -> Organisation {
        let name = Name { vi: code.to_owned(), en: code.to_owned() };
        Organisation { code: code.to_owned(), name, parent: parent.map(str::to_owned), ward: ward.map(str::to_owned) }
    }

    pub(crate) fn tree(all: Vec<Organisation>) -> Organisations {
        Organisations::new(all, WARDS.map(str::to_owned).into())
    }

    /// Trees of up to six organisations: each stands below one that was made before it, in the same ward if that has one, or
    /// below the city.
    fn trees() -> impl Strategy<Value = Vec<Organisation>> {
        let node = (any::<prop::sample::Index>(), 0..3_usize);
        prop::collection::vec(node, 1..7).prop_map(|nodes| {
            let mut all: Vec<Organisation> = Vec::new();
            for (number, (above, ward)) in nodes.into_iter().enumerate() {
                let parent = above.index(number + 1).checked_sub(1).map(|index| all[index].clone());
                let inherited = parent.as_ref().and_then(|parent| parent.ward.clone());
                let ward = inherited.or_else(|| Some(WARDS[ward.checked_sub(1)?].to_owned()));
                let parent = parent.map(|parent| parent.code);
                all.push(organisation(&format!("A{number}"), parent.as_deref(), ward.as_deref()));
            }
            all
        })
    }

    /// The slow model: every agency and ward that a place covers, one by one.
    fn extent(all: &[Organisation], place: Place<'_>) -> BTreeSet<(String, String)> {
        let mut codes = BTreeSet::from([place.agency.to_owned()]);
        for _ in all {
            let below = all.iter().filter(|one| one.parent.as_ref().is_some_and(|parent| codes.contains(parent)));
            codes.extend(below.map(|one| one.code.clone()).collect::<Vec<_>>());
        }
        let mut pairs = BTreeSet::new();
        for one in all.iter().filter(|one| codes.contains(&one.code)) {
            for ward in WARDS {
                let lies_there = one.ward.as_deref().is_none_or(|own| own == ward);
                if lies_there && place.ward.is_none_or(|named| named == ward) {
                    pairs.insert((one.code.clone(), ward.to_owned()));
                }
            }
        }
        pairs
    }

    proptest! {
        #[test]
        fn a_place_covers_another_when_nothing_of_it_lies_outside(
            all in trees(), agencies in any::<[prop::sample::Index; 2]>(), wards in [0..3_usize, 0..3_usize]
        ) {
            let known = tree(all.clone());
            let place = |number: usize| Place {
                agency: &agencies[number].get(&all).code,
                ward: wards[number].checked_sub(1).map(|index| WARDS[index]),
            };
            let (wide, narrow) = (place(0), place(1));
            prop_assume!(known.check(narrow).is_ok());
            let inside = extent(&all, narrow).is_subset(&extent(&all, wide));
            prop_assert_eq!(known.covers(wide, narrow), inside, "{:?} {:?} {:?}", wide, narrow, all);
        }

        #[test]
        fn what_is_within_is_what_the_walk_down_finds(all in trees(), top in any::<prop::sample::Index>()) {
            let known = tree(all.clone());
            let top = &top.get(&all).code;
            let found: BTreeSet<String> = known.within(top).into_iter().collect();
            let model: BTreeSet<String> = extent(&all, Place { agency: top, ward: None }).into_iter().map(|(code, _)| code).collect();
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn a_place_is_in_the_city() {
        let known = tree(vec![organisation("HEPCO", None, None), organisation("UBND-1", None, Some("1"))]);
        let check = |agency, ward| known.check(Place { agency, ward });
        assert_eq!(check("HEPCO", None), Ok(()));
        assert_eq!(check("HEPCO", Some("2")), Ok(()));
        assert_eq!(check("UBND-1", Some("1")), Ok(()));
        assert_eq!(check("UBND-1", Some("2")), Err(RoleFault::Scope));
        assert_eq!(check("HEPCO", Some("3")), Err(RoleFault::WardUnknown));
        assert_eq!(check("UBND-3", None), Err(RoleFault::AgencyUnknown));
        let gone = Place { agency: "GONE", ward: None };
        assert!(known.covers(gone, gone), "who led an agency that is gone can still end its officers");
    }
}
