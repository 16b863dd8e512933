//! What a token may be used for. Pure.
//!
//! Some scopes are a citizen's to give, the others a client's own, given to it by the city when it is registered.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub(crate) enum Scope {
    /// To know who signed in, by a subject of the client's own.
    #[serde(rename = "openid")]
    OpenId,
    /// To see the name and the language.
    #[serde(rename = "profile")]
    Profile,
    /// To see the telephone number.
    #[serde(rename = "phone")]
    Phone,
    /// To see how far the citizen has proved who they are.
    #[serde(rename = "tier")]
    Tier,
    /// To go on after the citizen has signed out of the browser.
    #[serde(rename = "offline_access")]
    OfflineAccess,
    /// To issue notices of fees for the client's agency.
    #[serde(rename = "fees:write")]
    FeesWrite,
    /// To ask about tokens of other clients.
    #[serde(rename = "tokens:introspect")]
    TokensIntrospect,
}

impl Scope {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::OpenId,
        Self::Profile,
        Self::Phone,
        Self::Tier,
        Self::OfflineAccess,
        Self::FeesWrite,
        Self::TokensIntrospect,
    ];

    /// As requests, tokens and the database say it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenId => "openid",
            Self::Profile => "profile",
            Self::Phone => "phone",
            Self::Tier => "tier",
            Self::OfflineAccess => "offline_access",
            Self::FeesWrite => "fees:write",
            Self::TokensIntrospect => "tokens:introspect",
        }
    }

    /// Whether a citizen gives it; else it is the client's own.
    pub(crate) const fn is_of_citizen(self) -> bool {
        !matches!(self, Self::FeesWrite | Self::TokensIntrospect)
    }
}

/// Several of them, each once, in one order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// The known ones of a list separated by spaces; the others are ignored (OpenID Connect Core, section 3.1.2.1).
    pub(crate) fn parse(text: &str) -> Self {
        text.split_ascii_whitespace()
            .filter_map(|word| Scope::ALL.into_iter().find(|one| one.as_str() == word))
            .collect()
    }

    /// Whether one is among them.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// Whether all of them are among others.
    pub(crate) fn within(&self, others: &Self) -> bool {
        self.0.is_subset(&others.0)
    }

    /// Those of a citizen, or those of a client.
    pub(crate) fn of_citizen(&self) -> Self {
        self.iter().filter(|scope| scope.is_of_citizen()).collect()
    }

    /// Those of a client.
    pub(crate) fn of_client(&self) -> Self {
        self.iter().filter(|scope| !scope.is_of_citizen()).collect()
    }

    /// Those that are among others too.
    pub(crate) fn common(&self, others: &Self) -> Self {
        self.0.intersection(&others.0).copied().collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// As the database keeps them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.iter().map(|scope| scope.as_str().to_owned()).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.names().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_scopes_are_ignored_and_repeats_count_once() {
        let scopes = Scopes::parse("phone openid  email openid fees:write");
        assert_eq!(scopes.to_string(), "openid phone fees:write");
        assert_eq!(scopes.of_citizen().to_string(), "openid phone");
        assert_eq!(scopes.of_client().to_string(), "fees:write");
        assert!(Scopes::parse("phone").within(&scopes) && !scopes.within(&Scopes::parse("phone")));
    }

    #[test]
    fn a_scope_is_named_alike_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).expect("a name"), scope.as_str());
        }
    }
}
