//! Who has no telephone, by identity's word: what is told to their account goes to whoever acts for them.
//!
//! A guardian who is told the same already, as the one who acts, is told it once. Texts say whose account is meant.
//! A row goes when the account has a number, and with the account.

use std::collections::HashMap;

use platform::events::{Event, HandleError};
use proto::identity::v1::{DependentBound, PhoneAttached};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::message::Draft;

/// The parameter that says that somebody else's account is meant.
pub(crate) const REDIRECTED: &str = "about_dependent";

/// What an event says of who acts for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The account is the guardian's to be told of.
    Bound { user: Uuid, guardian: Uuid },
    /// Its owner has a number.
    Freed { user: Uuid },
}

/// What an event says of who acts for whom, if anything.
///
/// # Errors
/// Poison when the payload can't be read.
pub(crate) fn change(event: &Event) -> Result<Option<Change>, HandleError> {
    let id = |text: &str| text.parse().map_err(|_| HandleError::poison("an id is not a UUID"));
    if let Some(bound) = event.decode::<DependentBound>() {
        let bound = bound?;
        Ok(Some(Change::Bound { user: id(&bound.dependent_id)?, guardian: id(&bound.guardian_id)? }))
    } else if let Some(attached) = event.decode::<PhoneAttached>() {
        Ok(Some(Change::Freed { user: id(&attached?.user_id)? }))
    } else {
        Ok(None)
    }
}

/// Keeps who acts for whom, in the order in which it was said.
pub(crate) async fn keep(conn: &mut PgConnection, changes: &[Change]) -> Result<(), sqlx::Error> {
    for change in changes {
        match change {
            Change::Bound { user, guardian } => {
                sqlx::query!(
                    "INSERT INTO notifications.dependent (user_id, guardian_id) VALUES ($1, $2)
                     ON CONFLICT ON CONSTRAINT dependent_pk DO UPDATE SET guardian_id = excluded.guardian_id",
                    user,
                    guardian,
                )
                .execute(&mut *conn)
                .await?;
            }
            Change::Freed { user } => forget(conn, *user).await?,
        }
    }
    Ok(())
}

/// Forgets an account that has a number, or is gone.
pub(crate) async fn forget(conn: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM notifications.dependent WHERE user_id = $1", user).execute(conn).await.map(|_| ())
}

/// The drafts, those to accounts without a number to their guardians.
pub(crate) async fn to_guardians(conn: &mut PgConnection, drafts: Vec<Draft>) -> Result<Vec<Draft>, sqlx::Error> {
    let recipients: Vec<Uuid> = drafts.iter().map(|draft| draft.recipient).collect();
    if recipients.is_empty() {
        return Ok(drafts);
    }
    let rows =
        sqlx::query!("SELECT user_id, guardian_id FROM notifications.dependent WHERE user_id = ANY ($1)", &recipients)
            .fetch_all(conn)
            .await?;
    Ok(redirect(drafts, &rows.into_iter().map(|row| (row.user_id, row.guardian_id)).collect()))
}

/// Gives what accounts would be told to their guardians, unless those are told it themselves. Pure.
fn redirect(drafts: Vec<Draft>, guardians: &HashMap<Uuid, Uuid>) -> Vec<Draft> {
    if guardians.is_empty() {
        return drafts;
    }
    let key = |draft: &Draft, recipient| (draft.event_id, recipient, draft.channel, draft.template);
    let (others, own): (Vec<_>, Vec<_>) =
        drafts.into_iter().partition(|draft| guardians.contains_key(&draft.recipient));
    let mut told = own;
    for mut draft in others {
        let guardian = guardians[&draft.recipient];
        if told.iter().any(|known| key(known, known.recipient) == key(&draft, guardian)) {
            continue;
        }
        draft.recipient = guardian;
        if let Value::Object(parameters) = &mut draft.parameters {
            parameters.insert(REDIRECTED.to_owned(), json!(true));
        }
        told.push(draft);
    }
    told
}

/// Whether a text is about somebody else's account than the reader's.
pub(crate) fn is_redirected(parameters: &impl Serialize) -> bool {
    serde_json::to_value(parameters).is_ok_and(|parameters| parameters[REDIRECTED] == true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lane::{Channel, Lane};
    use crate::template;

    fn person(number: u8) -> Uuid {
        Uuid::from_u128(u128::from(number) + 1)
    }

    proptest! {
        /// Nobody without a number is told anything, everybody else what they were told, and a guardian each thing once.
        #[test]
        fn every_word_arrives_once_and_at_somebody_who_reads(
            said in prop::collection::vec((0..6_u8, 0..3_u8, any::<bool>()), 0..12),
        ) {
            // 4 and 5 have no number; 0 acts for 4, and 1 for 5.
            let guardians = HashMap::from([(person(4), person(0)), (person(5), person(1))]);
            let mut drafts: Vec<Draft> = Vec::new();
            for (to, event, push) in said {
                let draft = Draft {
                    event_id: person(event + 100),
                    recipient: person(to),
                    lane: Lane::Security,
                    channel: if push { Channel::Push } else { Channel::InApp },
                    template: template::DELEGATION_BEGAN,
                    parameters: json!({}),
                };
                if !drafts.contains(&draft) {
                    drafts.push(draft);
                }
            }
            let told = redirect(drafts.clone(), &guardians);
            for draft in &drafts {
                let reader = guardians.get(&draft.recipient).copied().unwrap_or(draft.recipient);
                let same = |one: &&Draft| (one.event_id, one.recipient, one.channel) == (draft.event_id, reader, draft.channel);
                prop_assert_eq!(told.iter().filter(same).count(), 1);
            }
            for one in &told {
                prop_assert!(!guardians.contains_key(&one.recipient));
                let own = drafts.contains(one);
                prop_assert_eq!(is_redirected(&one.parameters), !own);
            }
        }
    }
}
