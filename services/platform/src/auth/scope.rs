//! What a person's token opens: everything, or what a page of the city's own needs.
//!
//! Sessions of the city's app carry [`APP_SCOPE`], tokens that a page got by the code flow [`PAGE_SCOPE`] and never that one. A route
//! takes the first alone, unless its router says otherwise: whoever forgets to say so closes it. So a token that a page holds to show
//! the city's numbers moves no money and reads nobody's wallet, whoever gets hold of it.

use super::Principal;
use crate::problem::{INSUFFICIENT_SCOPE, Problem};

/// The scope of sessions that began in the city's app.
pub const APP_SCOPE: &str = "app";
/// The scope of tokens that a page of the city's own got (OpenID Connect Core, section 3.1.2.1).
pub const PAGE_SCOPE: &str = "openid";

/// Which scopes open the routes below: an extension of their requests. One is enough; without it [`APP_SCOPE`] is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTo(pub &'static [&'static str]);

impl OpenTo {
    /// To whoever signed in in the app, and to pages of the city's own.
    pub const PAGES: Self = Self(&[APP_SCOPE, PAGE_SCOPE]);

    /// Refuses a person's token that opens none of it.
    pub(super) fn admit(self, principal: &Principal) -> Result<(), Problem> {
        if principal.scopes.iter().any(|held| self.0.contains(&held.as_str())) {
            return Ok(());
        }
        Err(Problem::new(INSUFFICIENT_SCOPE).with("scope", self.0.join(" ")))
    }
}

impl Default for OpenTo {
    fn default() -> Self {
        Self(&[APP_SCOPE])
    }
}
