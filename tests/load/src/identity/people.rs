//! Citizens who signed in by SMS as anybody does, with a PIN each, and a program that may ask about tokens.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _};
use harness::Citizen;
use http::HeaderValue;
use identity::officer::RoleKind;
use serde_json::json;
use trangtien::admin;

use crate::city::Place;

/// The PIN of all; not one of those that are easy to guess.
pub(super) const PIN: &str = "502917";
/// People who sign in at a time.
const UNDER_WAY: usize = 8;

/// A citizen with a session.
pub(super) struct Person {
    pub(super) citizen: Citizen,
    /// The newest refresh token of the session.
    pub(super) refreshing: Arc<Mutex<String>>,
}

/// Everybody who takes part.
pub(super) struct People {
    pub(super) citizens: Vec<Person>,
    /// `Authorization` of the program.
    pub(super) program: HeaderValue,
}

impl People {
    /// Signs them in.
    pub(super) async fn settle(place: &Place, count: usize) -> anyhow::Result<Self> {
        let signing_up = (0..count).map(|_| async {
            let citizen = place.visitor.sign_up().await?;
            citizen.put("/identity/v1/me/pin", &json!({ "pin": PIN })).await?.expect(200)?;
            let refreshing = Arc::new(Mutex::new(citizen.refresh_token.clone()));
            anyhow::Ok(Person { citizen, refreshing })
        });
        let citizens: Vec<Person> = futures::stream::iter(signing_up).buffered(UNDER_WAY).try_collect().await?;
        let first = &citizens.first().context("somebody signed in")?.citizen;
        let program = program(place, first).await?;
        println!("{count} citizens signed in, each with a PIN");
        Ok(Self { citizens, program })
    }
}

/// Registers a program that may ask about every token; gives what it sends as `Authorization`.
async fn program(place: &Place, admin: &Citizen) -> anyhow::Result<HeaderValue> {
    let reason = "load".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
    let here = trangtien::database::Place::running_in(&place.data_dir);
    admin::grant_role(&here, (admin.user, RoleKind::Admin, None), reason).await?;
    let client = json!({
        "name": {"vi": "Đo tải", "en": "Load"}, "access": "confidential",
        "grant_types": ["client_credentials"], "scopes": ["tokens:introspect"],
    });
    let client = admin.post("/identity/v1/clients", &client).await?.expect(201)?;
    let field = |name: &str| client[name].as_str().with_context(|| name.to_owned());
    let credentials = STANDARD.encode(format!("{}:{}", field("client_id")?, field("client_secret")?));
    Ok(HeaderValue::from_str(&format!("Basic {credentials}"))?)
}
