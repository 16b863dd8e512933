//! A sign-in under way, as the browser keeps it: sealed, so that nobody changes it, and for a short while.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use platform::http::Language;
use platform::seal::{Place, Sealer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a sign-in may take, in seconds; the provider's own pages live as long.
pub(crate) const LIFE_S: u32 = 1_800;
/// Where a browser goes when it did not say, or may not go where it said.
pub(crate) const WALL: &str = "/ioc";
/// The longest place to return to, in bytes.
const MAX_PLACE: usize = 300;

/// A sign-in under way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(super) state: String,
    pub(super) nonce: String,
    /// PKCE's, 43 characters.
    pub(super) verifier: String,
    pub(crate) return_to: String,
    language: String,
    begun_at: DateTime<Utc>,
}

impl Pending {
    pub(super) fn new(return_to: &str, language: Language, now: DateTime<Utc>) -> Self {
        Self {
            state: random_text(),
            nonce: random_text(),
            verifier: random_text(),
            return_to: own_place(return_to).to_owned(),
            language: language.tag().to_owned(),
            begun_at: now,
        }
    }

    /// What is said of the verifier at first (RFC 7636, `S256`).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.as_bytes()))
    }

    /// What the person reads.
    pub(crate) fn language(&self) -> Language {
        Language::from_tag(&self.language)
    }

    pub(super) fn seal(&self, sealer: &Sealer) -> String {
        let plain = serde_json::to_vec(self).expect("a sign-in is plain data");
        URL_SAFE_NO_PAD.encode(sealer.seal(place(), &plain))
    }

    /// Opens what [`Pending::seal`] made a short while ago.
    pub(super) fn open(text: &str, sealer: &Sealer, now: DateTime<Utc>) -> Option<Self> {
        let plain = sealer.open(place(), &URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let pending: Self = serde_json::from_slice(&plain).ok()?;
        (now < pending.begun_at + TimeDelta::seconds(i64::from(LIFE_S))).then_some(pending)
    }
}

/// 256 random bits as text.
pub(super) fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(platform::seal::random::<32>())
}

/// The browser's cookie.
fn place() -> Place {
    Place::new("cookie.sign_in", Uuid::nil())
}

/// Where a browser may go after a sign-in: the wall, or what the wall links to; never another site.
fn own_place(wanted: &str) -> &str {
    let path = wanted.split('?').next().unwrap_or_default();
    let own = path == WALL || path.starts_with("/ioc/v1/");
    let plain = wanted.len() <= MAX_PLACE && wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if own && plain && !path.contains("..") && !path.contains("//") { wanted } else { WALL }
}

#[cfg(test)]
mod tests {
    use platform::config::Secret;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::of_secret("test", &Secret::new("secret"))
    }

    #[test]
    fn it_opens_for_a_while_and_untouched_only() {
        let now = DateTime::UNIX_EPOCH;
        let sealed = Pending::new("/ioc?lang=vi", Language::Vi, now).seal(&sealer());
        let life = TimeDelta::seconds(i64::from(LIFE_S));
        let opened = Pending::open(&sealed, &sealer(), now + life - TimeDelta::seconds(1)).expect("in time");
        assert_eq!((opened.return_to.as_str(), opened.language()), ("/ioc?lang=vi", Language::Vi));
        assert!(Pending::open(&sealed, &sealer(), now + life).is_none(), "too late");
        assert!(Pending::open(&sealed[1..], &sealer(), now).is_none(), "touched");
        assert!(
            Pending::open(&sealed, &Sealer::of_secret("test", &Secret::new("another")), now).is_none(),
            "another wall's"
        );
        assert!(Pending::open("", &sealer(), now).is_none());
    }

    #[test]
    fn two_sign_ins_share_nothing() {
        let (one, other) = (
            Pending::new(WALL, Language::Vi, DateTime::UNIX_EPOCH),
            Pending::new(WALL, Language::Vi, DateTime::UNIX_EPOCH),
        );
        let all = [&one.state, &one.nonce, &one.verifier, &other.state, &other.nonce, &other.verifier];
        assert_eq!(all.into_iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
        assert!(all.iter().all(|text| text.len() == 43), "what PKCE takes");
    }

    #[test]
    fn a_challenge_is_that_of_rfc_7636() {
        let mut pending = Pending::new(WALL, Language::En, DateTime::UNIX_EPOCH);
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".clone_into(&mut pending.verifier);
        assert_eq!(pending.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn no_place_but_the_wall_is_returned_to() {
        for own in ["/ioc", "/ioc?lang=en&theme=dark", "/ioc/v1/alarms/0199", "/ioc/v1/queue?agency=HEPCO"] {
            assert_eq!(own_place(own), own);
        }
        let long = format!("/ioc?{}", "x".repeat(MAX_PLACE));
        for foreign in [
            "",
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/ioc\\..\\x",
            "\\\\evil.example",
            "javascript:alert(1)",
            "/ioc/sign-in",
            "/ioc/callback?code=x",
            "/iocx",
            "/",
            "/ioc/v1/../../docs",
            "/ioc/v1//evil.example",
            "/ioc?\r\nset-cookie: a",
            "/ioc é",
            "ioc",
            "@evil.example",
            long.as_str(),
        ] {
            assert_eq!(own_place(foreign), WALL, "{foreign}");
        }
    }
}
