//! The roles that the program can play, in the order in which they may call each other: later ones call earlier ones.

use std::fmt;

use platform::db::Schema;
use serde::{Deserialize, Serialize};

/// A service of the city that one process, or several, can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Who people are.
    Identity,
    /// Money.
    Wallet,
    /// Field reports.
    Reports,
    /// Messages and warnings.
    Notifications,
    /// The operations centre and the web pages.
    Ioc,
}

impl Role {
    /// All of them, in the order in which they are built.
    pub const ALL: [Role; 5] = [Role::Identity, Role::Wallet, Role::Reports, Role::Notifications, Role::Ioc];

    /// The role's name, as in URLs, schemas, metrics and certificates.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Identity => "identity",
            Role::Wallet => "wallet",
            Role::Reports => "reports",
            Role::Notifications => "notifications",
            Role::Ioc => "ioc",
        }
    }

    /// The role's schema.
    #[must_use]
    pub const fn schema(self) -> Schema {
        Schema::new(self.name())
    }

    /// The role that answers for paths with this first segment. The operations centre also serves the web pages and whatever nobody knows.
    #[must_use]
    pub fn of_segment(segment: &str) -> Role {
        match segment {
            "identity" | "oauth2" | ".well-known" => Role::Identity,
            "wallet" => Role::Wallet,
            "reports" | "open311" => Role::Reports,
            "notifications" | "cap" => Role::Notifications,
            _ => Role::Ioc,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_answers_for_its_own_name() {
        for role in Role::ALL {
            assert_eq!(Role::of_segment(role.name()), role);
            assert_eq!(role.schema().name(), role.name());
        }
        assert_eq!(Role::of_segment(""), Role::Ioc);
    }
}
