//! Who reports and who handles: citizens with tokens, a lead of the operations centre, an officer of an agency.

use http::HeaderValue;

use crate::city::{Place, authorizations};

/// The agency that every report is given to.
pub(super) const AGENCY: &str = "HEPCO";

/// Everybody who takes part, by what they send as `Authorization`.
pub(super) struct People {
    pub(super) citizens: Vec<HeaderValue>,
    pub(super) supervisor: HeaderValue,
    pub(super) officer: HeaderValue,
}

impl People {
    /// Makes them.
    pub(super) fn settle(place: &Place, citizens: usize) -> anyhow::Result<Self> {
        Ok(Self {
            citizens: authorizations(&place.citizens(citizens)?)?,
            supervisor: place.issuer.officer("ioc.lead")?,
            officer: place.issuer.officer(&format!("agency.officer:{AGENCY}"))?,
        })
    }
}
