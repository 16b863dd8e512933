//! The form of a role: what it is called, and where it counts. Pure.
//!
//! A role's name is the same in tokens, paths, the audit and the command: `ioc.operator`, `agency.officer:HEPCO` for one of
//! an agency, `agency.officer:HEPCO:19753` for one that counts in one ward of it only.
//! A role of an agency counts in all below it, too.
//! Invariant: roles of an agency name it; all others are the whole city's and name nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::organisation::Place;

/// The longest code of an agency. The database's CHECK says the same.
const MAX_AGENCY: usize = 24;
/// The longest code of a ward. The database's CHECK says the same.
const MAX_WARD: usize = 12;

/// What an officer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum RoleKind {
    /// Watches the city at the operations centre.
    #[serde(rename = "ioc.operator")]
    IocOperator,
    /// Leads the operations centre.
    #[serde(rename = "ioc.lead")]
    IocLead,
    /// Works for an agency.
    #[serde(rename = "agency.officer")]
    AgencyOfficer,
    /// Leads an agency, or its part in one ward.
    #[serde(rename = "agency.head")]
    AgencyHead,
    /// Prepares what moves the city's money.
    #[serde(rename = "finance.officer")]
    FinanceOfficer,
    /// Releases it.
    #[serde(rename = "finance.approver")]
    FinanceApprover,
    /// Gives and takes all roles.
    #[serde(rename = "admin")]
    Admin,
}

impl RoleKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::IocOperator,
        Self::IocLead,
        Self::AgencyOfficer,
        Self::AgencyHead,
        Self::FinanceOfficer,
        Self::FinanceApprover,
        Self::Admin,
    ];

    /// As tokens and the database say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IocOperator => "ioc.operator",
            Self::IocLead => "ioc.lead",
            Self::AgencyOfficer => "agency.officer",
            Self::AgencyHead => "agency.head",
            Self::FinanceOfficer => "finance.officer",
            Self::FinanceApprover => "finance.approver",
            Self::Admin => "admin",
        }
    }

    /// Whether it counts in one agency only.
    pub(crate) const fn is_of_agency(self) -> bool {
        matches!(self, Self::AgencyOfficer | Self::AgencyHead)
    }
}

impl FromStr for RoleKind {
    type Err = RoleFault;

    fn from_str(text: &str) -> Result<Self, RoleFault> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(RoleFault::Unknown)
    }
}

/// Why a text is no [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleFault {
    /// No such role.
    #[error(
        "no such role; there are ioc.operator, ioc.lead, agency.officer, agency.head, finance.officer, finance.approver, admin"
    )]
    Unknown,
    /// The scope does not fit the role, or is no code.
    #[error(
        "agency.officer and agency.head name an agency and may name a ward, other roles name neither; codes are capital letters, digits and hyphens"
    )]
    Scope,
    /// The city has no such agency.
    #[error("the city has no such agency; those of a ward have its code behind a hyphen")]
    AgencyUnknown,
    /// The city has no such ward.
    #[error("the city has no such ward")]
    WardUnknown,
}

/// A role and where it counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    kind: RoleKind,
    agency: Option<String>,
    ward: Option<String>,
}

impl Role {
    /// A role with its scope.
    ///
    /// # Errors
    /// When the scope does not fit the role.
    pub fn try_new(kind: RoleKind, agency: Option<&str>, ward: Option<&str>) -> Result<Self, RoleFault> {
        let fits = agency.is_some() == kind.is_of_agency()
            && (ward.is_none() || agency.is_some())
            && agency.is_none_or(|code| is_code(code, MAX_AGENCY))
            && ward.is_none_or(|code| is_code(code, MAX_WARD));
        if !fits {
            return Err(RoleFault::Scope);
        }
        Ok(Self { kind, agency: agency.map(str::to_owned), ward: ward.map(str::to_owned) })
    }

    /// What the officer is.
    pub fn kind(&self) -> RoleKind {
        self.kind
    }

    /// The agency in which the role counts.
    pub fn agency(&self) -> Option<&str> {
        self.agency.as_deref()
    }

    /// The one ward in which it counts, if not everywhere in the agency.
    pub fn ward(&self) -> Option<&str> {
        self.ward.as_deref()
    }

    /// Where it counts, if it is an agency's.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        Some(Place { agency: self.agency()?, ward: self.ward() })
    }
}

fn is_code(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
}

impl FromStr for Role {
    type Err = RoleFault;

    fn from_str(name: &str) -> Result<Self, RoleFault> {
        let mut parts = name.split(':');
        let kind = parts.next().unwrap_or_default().parse()?;
        let role = Self::try_new(kind, parts.next(), parts.next())?;
        if parts.next().is_some() { Err(RoleFault::Scope) } else { Ok(role) }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.as_str())?;
        for code in [&self.agency, &self.ward].into_iter().flatten() {
            write!(formatter, ":{code}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in ["admin", "ioc.operator", "agency.officer:HEPCO", "agency.head:UBND-19753:19753"] {
            assert_eq!(name.parse::<Role>().map(|role| role.to_string()).as_deref(), Ok(name));
        }
        for kind in RoleKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.as_str());
        }
    }

    #[test]
    fn a_scope_fits_its_role() {
        for name in [
            "agency.officer",
            "admin:HEPCO",
            "ioc.lead:A:1",
            "agency.head:",
            "agency.head:a",
            "agency.head:A:",
            "agency.head:A:1:2",
        ] {
            assert_eq!(name.parse::<Role>(), Err(RoleFault::Scope), "{name}");
        }
        assert_eq!("mayor".parse::<Role>(), Err(RoleFault::Unknown));
        assert_eq!("".parse::<Role>(), Err(RoleFault::Unknown));
        assert_eq!(Role::try_new(RoleKind::AgencyHead, None, Some("1")), Err(RoleFault::Scope));
        assert_eq!(Role::try_new(RoleKind::AgencyHead, Some(&"A".repeat(25)), None), Err(RoleFault::Scope));
    }
}
