//! Officers: who acts for the operations centre or for an agency, and how they come to.
//!
//! Kept here, by the opaque id of identity, and every appointment is written down. Whoever was not appointed here acts as the
//! roles of their access token say: `ioc.lead`, `ioc.operator`, `agency.head:CODE`, `agency.officer:CODE`.

use chrono::{DateTime, Utc};
use platform::auth::Principal;
use platform::id;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::lifecycle::Actor;

/// The most officers that one list holds.
const MAX_LISTED: i64 = 500;

/// What an officer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An operator of the operations centre.
    Ioc,
    /// A supervisor of the operations centre; also appoints officers.
    Supervisor,
    /// An officer of an agency.
    Agency,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Ioc => "ioc",
            Self::Supervisor => "supervisor",
            Self::Agency => "agency",
        }
    }
}

/// An officer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Officer {
    /// The person, by identity's id.
    pub user_id: Uuid,
    /// `ioc`, `supervisor` or `agency`.
    pub role: String,
    /// Code of the agency, for an officer of one.
    pub agency: Option<String>,
    /// Since when.
    pub appointed_at: DateTime<Utc>,
}

impl Officer {
    /// As whom the officer acts.
    pub fn actor(&self) -> Actor {
        match (self.role.as_str(), &self.agency) {
            ("supervisor", _) => Actor::Supervisor,
            ("agency", Some(code)) => Actor::Agency(code.clone()),
            _ => Actor::Ioc,
        }
    }
}

/// A role to be given.
#[derive(Clone, Debug)]
pub struct Appointment {
    /// To whom.
    pub user_id: Uuid,
    /// Which.
    pub role: Role,
    /// Code of the agency; only with [`Role::Agency`], and then always.
    pub agency: Option<String>,
}

/// As whom a caller acts, if as an officer: as they were appointed here, else as their token says.
pub(crate) async fn acting(connection: &mut PgConnection, caller: &Principal) -> Result<Option<Actor>, sqlx::Error> {
    let appointed = find(connection, caller.subject).await?;
    Ok(appointed.map(|officer| officer.actor()).or_else(|| by_roles(&caller.roles)))
}

/// As whom somebody with these roles acts; the widest counts. A role in one ward of an agency is none here: agencies of wards
/// have codes of their own.
fn by_roles(roles: &[String]) -> Option<Actor> {
    let holds = |name: &str| roles.iter().any(|role| role == name);
    let agency = |role: &String| {
        let code = role.strip_prefix("agency.head:").or_else(|| role.strip_prefix("agency.officer:"))?;
        (!code.contains(':')).then(|| Actor::Agency(code.to_owned()))
    };
    match (holds("ioc.lead"), holds("ioc.operator")) {
        (true, _) => Some(Actor::Supervisor),
        (false, true) => Some(Actor::Ioc),
        (false, false) => roles.iter().find_map(agency),
    }
}

/// The officer that a person was appointed as, if one.
pub(crate) async fn find(connection: &mut PgConnection, user: Uuid) -> Result<Option<Officer>, sqlx::Error> {
    sqlx::query_as!(Officer, "SELECT user_id, role, agency, appointed_at FROM reports.officer WHERE user_id = $1", user)
        .fetch_optional(connection)
        .await
}

/// All officers, oldest appointment first.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<Officer>, sqlx::Error> {
    sqlx::query_as!(
        Officer,
        "SELECT user_id, role, agency, appointed_at FROM reports.officer ORDER BY appointed_at, user_id LIMIT $1",
        MAX_LISTED
    )
    .fetch_all(connection)
    .await
}

/// Makes a person an officer, or another one than before; `by` is the officer who does it, nobody on the machine itself.
///
/// # Errors
/// What the database answered; `officer_agency_ck` when role and agency don't go together.
pub async fn appoint(
    pool: &PgPool,
    appointment: &Appointment,
    by: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut tx = platform::db::begin(pool).await?;
    let Appointment { user_id, role, agency } = appointment;
    sqlx::query!(
        "INSERT INTO reports.officer (user_id, role, agency, appointed_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT ON CONSTRAINT officer_pk DO UPDATE
         SET role = excluded.role, agency = excluded.agency, appointed_at = excluded.appointed_at",
        user_id,
        role.name(),
        agency.as_deref(),
        now
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO reports.appointment (id, user_id, act, role, agency, by_officer, acted_at) VALUES ($1, $2, 'appoint', $3, $4, $5, $6)",
        id::new(),
        user_id,
        role.name(),
        agency.as_deref(),
        by,
        now
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Takes an officer's role away; `false` if the person had none.
///
/// # Errors
/// What the database answered.
pub async fn dismiss(pool: &PgPool, user: Uuid, by: Option<Uuid>, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = platform::db::begin(pool).await?;
    let removed = sqlx::query!("DELETE FROM reports.officer WHERE user_id = $1", user).execute(&mut *tx).await?;
    if removed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "INSERT INTO reports.appointment (id, user_id, act, by_officer, acted_at) VALUES ($1, $2, 'dismiss', $3, $4)",
        id::new(),
        user,
        by,
        now
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_role_counts_and_a_wards_none() {
        let acts = |roles: &[&str]| by_roles(&roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>());
        let hepco = Some(Actor::Agency("HEPCO".to_owned()));
        assert_eq!(acts(&["agency.officer:HEPCO", "ioc.operator", "ioc.lead"]), Some(Actor::Supervisor));
        assert_eq!(acts(&["agency.officer:HEPCO", "ioc.operator"]), Some(Actor::Ioc));
        assert_eq!(acts(&["finance.officer", "agency.officer:HEPCO"]), hepco);
        assert_eq!(acts(&["agency.head:HEPCO"]), hepco);
        for none in [&[][..], &["admin"], &["agency.officer"], &["agency.officer:HEPCO:19753"], &["ioc.operator:HEPCO"]]
        {
            assert_eq!(acts(none), None, "{none:?}");
        }
    }
}
