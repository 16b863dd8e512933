//! Messages about the closing of an account, in lane `security`: whoever asked in the citizen's name is noticed. Pure.
//!
//! `ErasureDue` calls for none: by then nobody can be reached. The last word is `ErasureNear`.

use platform::events::{Event, HandleError};
use proto::identity::v1::{ClosingAgreed, ClosingEnded, ClosingRequested, ErasureNear};
use serde_json::json;

use super::{id, in_app_and_push};
use crate::lane::Lane;
use crate::message::Draft;
use crate::template;

pub(super) fn asked(event: &Event, asked: &ClosingRequested) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({ "closing_id": asked.closing_id });
    Ok(in_app_and_push(event, Lane::Security, id(&asked.user_id)?, template::CLOSING_ASKED, &parameters))
}

pub(super) fn agreed(event: &Event, agreed: &ClosingAgreed) -> Result<Vec<Draft>, HandleError> {
    let hours = (agreed.erase_at - event.time.timestamp()).max(0) / 3_600;
    let parameters = json!({ "closing_id": agreed.closing_id, "erase_at": agreed.erase_at, "hours": hours });
    Ok(in_app_and_push(event, Lane::Security, id(&agreed.user_id)?, template::CLOSING_AGREED, &parameters))
}

pub(super) fn ended(event: &Event, ended: &ClosingEnded) -> Result<Vec<Draft>, HandleError> {
    let template = match ended.outcome.as_str() {
        "refused" => template::CLOSING_REFUSED,
        "taken-back" => template::CLOSING_TAKEN_BACK,
        _ => return Ok(Vec::new()),
    };
    let parameters = json!({ "closing_id": ended.closing_id, "hindrances": ended.hindrances });
    Ok(in_app_and_push(event, Lane::Security, id(&ended.user_id)?, template, &parameters))
}

pub(super) fn near(event: &Event, near: &ErasureNear) -> Result<Vec<Draft>, HandleError> {
    let minutes = (near.erase_at - event.time.timestamp()).max(0) / 60;
    let parameters = json!({ "closing_id": near.closing_id, "erase_at": near.erase_at, "minutes": minutes });
    Ok(in_app_and_push(event, Lane::Security, id(&near.user_id)?, template::CLOSING_LAST, &parameters))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::event::tests::told;

    #[test]
    fn who_leaves_is_told_each_step_and_why_not() {
        let user = platform::id::new();
        let (user_id, closing_id) = (user.to_string(), platform::id::new().to_string());
        let now = Utc::now().timestamp();
        let ended = |outcome: &str, hindrances: &[&str]| ClosingEnded {
            user_id: user_id.clone(),
            closing_id: closing_id.clone(),
            outcome: outcome.to_owned(),
            hindrances: hindrances.iter().map(|code| (*code).to_owned()).collect(),
        };
        let (erase_at, of, id) = (now + 172_800 + 60, user_id.clone(), closing_id.clone());
        let said = [
            told(user, &ClosingRequested { user_id: of.clone(), closing_id: id.clone() }),
            told(user, &ClosingAgreed { user_id: of.clone(), closing_id: id.clone(), erase_at }),
            told(user, &ended("refused", &["balance-not-zero", "has-merchants", "of-a-later-version"])),
            told(user, &ended("taken-back", &[])),
            told(user, &ErasureNear { user_id: of, closing_id: id, erase_at: now + 3_610 }),
        ];
        assert!(said.iter().flatten().all(|(to, lane, _)| (*to, *lane) == (user, Lane::Security)));
        let texts: Vec<&str> = said.iter().flatten().map(|(_, _, text)| text.as_str()).collect();
        assert_eq!(texts.len(), 5);
        assert!(texts[1].contains("in 48 hours") && texts[4].starts_with("In 60 minutes"), "{texts:?}");
        assert_eq!(
            texts[2],
            "Your account can't be closed yet and works as before. There is money in the wallet. You still have a shop. A service can't let you go yet."
        );
        assert!(told(user, &ended("of-a-later-version", &[])).is_empty());
    }
}
