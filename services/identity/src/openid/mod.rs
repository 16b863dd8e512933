//! The OpenID provider: authorisation code with PKCE, refresh, client credentials, introspection, revocation, userinfo, end of
//! sessions, consents; for mini-apps, web pages, partners and agencies.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `client` | the registry of clients; `client::rule` is pure |
//! | `params`, `request`, `scope`, `fault` | what a request says, and how it is refused (pure) |
//! | `ticket` | what the pages of a sign-in carry from one to the next |
//! | `authorise` | whether a request gets its code, or somebody must sign in or consent first; `authorise::decide` is pure |
//! | `code` | authorisation codes: given out and exchanged once |
//! | `token` | refresh and client credentials |
//! | `id_token` | ID tokens and hints of them |
//! | `consent` | what a citizen lets a client know |
//! | `inspect` | introspection, revocation, userinfo |
//!
//! What a client holds is a session like an app's: its refresh tokens rotate in the same statement, it ends and is revoked in
//! the same way. A token for a client of somebody else names the citizen by a subject of the client's sector and is meant for
//! the provider alone, so that no service of the city takes it.
//!
//! Lock order: client, consent, browser's session, authorisation, citizen, device, session, revocation head, audit head, outbox head.
//! Invariants: a code is exchanged by one UPDATE, and its replay ends what it gave; redirect URIs match to the letter; PKCE is
//! S256 and never left out; a client gets no scope that it was not registered for nor, of a citizen, one that they did not give.
//! Later: PAR adds to `request`, DPoP to `token`, private_key_jwt to `client::Credentials`.

pub(crate) mod authorise;
pub(crate) mod client;
pub(crate) mod code;
pub(crate) mod consent;
pub(crate) mod fault;
pub(crate) mod id_token;
pub(crate) mod inspect;
pub(crate) mod params;
pub(crate) mod request;
pub(crate) mod scope;
mod sql;
pub(crate) mod ticket;
pub(crate) mod token;

pub(crate) use self::client::Clients;
pub use self::client::{OwnPage, set_up_page_as_operator};
pub(crate) use self::fault::{Failure, Fault, FaultKind};
pub(crate) use self::sql::{prune, use_up_codes};
