//! Officers: who holds which role for the city, given and taken by whom.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `role` | the form of a role and its scope (pure) |
//! | `rule` | who gives, takes and sees which (pure) |
//! | `sql` | every statement |
//!
//! Tokens say the roles that their subject held at issue and at each refresh, with a number that rises whenever one is taken.
//! Taking one therefore makes older tokens stale: every process refuses them within seconds, and a refresh gives one that
//! says what is left. Whoever changes roles is judged by the database, not by their token.
//!
//! Lock order: both citizens of a change by id, revocation head, audit head.
//! Invariants: a person holds a role once; every change has its record in the same transaction; what is asked for twice is done once.

mod role;
mod rule;
mod sql;

use chrono::{DateTime, SubsecRound as _, Utc};
use platform::auth::Revoked;
use platform::clock::Clock;
use platform::problem::Problem;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::role::{Role, RoleFault, RoleKind};
pub(crate) use self::rule::Sight;
use crate::Identity;
use crate::audit::{self, Action, Actor, Behest, Entry, OperatorAct, Origin, Reason};
use crate::citizen::CitizenId;
use crate::config::Lifetimes;
use crate::error::Error;
use crate::revocation;

/// The most roles that one person holds: tokens carry them all.
const MAX_ROLES: usize = 16;
/// Grants read at a time.
pub const PAGE: i64 = 200;

/// A role that a person holds or held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Grant {
    /// The grant.
    pub id: Uuid,
    /// The officer, by the id that `GET /identity/v1/me` tells them.
    pub user_id: Uuid,
    /// The role as tokens and paths say it, with its scope.
    #[schema(example = "agency.officer:HEPCO")]
    pub name: String,
    /// The role alone.
    #[schema(example = "agency.officer")]
    pub role: String,
    /// Code of the agency in which it counts.
    #[schema(example = "HEPCO")]
    pub agency: Option<String>,
    /// Code of the one ward in which it counts, if not everywhere in the agency.
    pub ward: Option<String>,
    /// Since when.
    pub granted_at: DateTime<Utc>,
    /// The officer who gave it; null when an operator did so on the machine.
    pub granted_by: Option<Uuid>,
    /// Until when; null while it is held.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The officer who took it; null while it is held, and when an operator did so on the machine.
    pub revoked_by: Option<Uuid>,
}

/// Which grants are wanted; what is absent lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Whose.
    pub user_id: Option<Uuid>,
    /// Of which role.
    pub role: Option<RoleKind>,
    /// Of which agency.
    pub agency: Option<String>,
    /// Those that are held, or those that have ended.
    pub held: Option<bool>,
}

/// A role that a person is to hold, or to hold no longer.
#[derive(Clone, Debug)]
pub struct Appointment {
    /// The person.
    pub user_id: Uuid,
    /// The role.
    pub role: Role,
}

/// A change that somebody asks for.
struct Change<'a> {
    appointment: &'a Appointment,
    /// The officer who asks; nobody when it is an operator on the machine, who may do everything.
    by: Option<CitizenId>,
    behest: Behest,
}

impl Change<'_> {
    fn person(&self) -> CitizenId {
        self.appointment.user_id.into()
    }

    /// Locks whom it concerns and judges who asks.
    async fn admit(&self, tx: &mut PgConnection) -> Result<(), Error> {
        let people: Vec<Uuid> =
            [Some(self.appointment.user_id), self.by.map(|by| by.uuid())].into_iter().flatten().collect();
        let there = sql::lock_people(tx, &people).await?;
        if let Some(by) = self.by
            && !rule::may_change(&sql::held(tx, by).await?, &self.appointment.role)
        {
            return Err(Error::Forbidden);
        }
        if there.contains(&self.appointment.user_id) { Ok(()) } else { Err(Error::NotFound) }
    }

    fn entry(&self, action: Action) -> Entry {
        Entry::at(&self.behest, action, &self.appointment.role).about(self.person())
    }

    /// Gives the role; tells whether it was not held before.
    async fn grant(&self, pool: &PgPool, clock: &Clock) -> Result<(Grant, bool), Error> {
        let role = &self.appointment.role;
        let mut tx = platform::db::begin(pool).await?;
        self.admit(&mut tx).await?;
        if let Some(held) = sql::newest(&mut tx, self.person(), role).await?.filter(|grant| grant.revoked_at.is_none())
        {
            return Ok((held, false));
        }
        if sql::held(&mut tx, self.person()).await?.len() >= MAX_ROLES {
            return Err(Error::RolesTooMany);
        }
        let now = now(clock);
        let grant = sql::insert(&mut tx, self.person(), role, self.by, now).await?;
        audit::append(&mut tx, &[self.entry(Action::RoleGrant)], now).await?;
        tx.commit().await?;
        Ok((grant, true))
    }

    /// Takes the role; nothing to do when it was taken before. Tells which tokens are refused until when.
    async fn revoke(
        &self,
        pool: &PgPool,
        (clock, lifetimes): (&Clock, &Lifetimes),
    ) -> Result<Option<(Revoked, DateTime<Utc>)>, Error> {
        let mut tx = platform::db::begin(pool).await?;
        self.admit(&mut tx).await?;
        let newest = sql::newest(&mut tx, self.person(), &self.appointment.role).await?.ok_or(Error::NotFound)?;
        if newest.revoked_at.is_some() {
            return Ok(None);
        }
        // After the locks: tokens were issued until now.
        let now = now(clock);
        let forget_at = revocation::forget_at(lifetimes, now);
        let epoch = sql::end(&mut tx, &newest, self.by, (now, forget_at)).await?;
        audit::append(&mut tx, &[self.entry(Action::RoleRevoke)], now).await?;
        tx.commit().await?;
        Ok(Some((Revoked::Roles { subject: self.appointment.user_id, epoch }, forget_at)))
    }
}

/// The time, as exactly as PostgreSQL keeps it.
fn now(clock: &Clock) -> DateTime<Utc> {
    clock.now().trunc_subsecs(6)
}

impl Identity {
    /// Gives a role at the wish of an officer; tells whether it was not held before.
    pub(crate) async fn grant_role(
        &self,
        by: CitizenId,
        appointment: &Appointment,
        (origin, reason): (Origin, Reason),
    ) -> Result<(Grant, bool), Error> {
        let behest = self.behest_of(by, origin, &reason);
        Change { appointment, by: Some(by), behest }.grant(&self.pool, &self.clock).await
    }

    /// Takes a role at the wish of an officer.
    pub(crate) async fn revoke_role(
        &self,
        by: CitizenId,
        appointment: &Appointment,
        (origin, reason): (Origin, Reason),
    ) -> Result<(), Error> {
        let behest = self.behest_of(by, origin, &reason);
        let change = Change { appointment, by: Some(by), behest };
        if let Some((what, forget_at)) = change.revoke(&self.pool, (&self.clock, &self.config.lifetimes)).await? {
            self.verifier.revoke(what, forget_at.timestamp());
        }
        Ok(())
    }

    /// Refuses who is no admin.
    pub(crate) async fn require_admin(&self, by: CitizenId) -> Result<(), Error> {
        let held = sql::held(&mut *self.pool.acquire().await?, by).await?;
        if held.iter().any(|role| role.kind() == RoleKind::Admin) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// The grants that somebody may see: their own, and those of the roles that they give.
    pub(crate) async fn officers(
        &self,
        by: CitizenId,
        filter: &Filter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Grant>, Error> {
        let sight = if filter.user_id == Some(by.uuid()) {
            Sight::full()
        } else {
            let held = sql::held(&mut *self.pool.acquire().await?, by).await?;
            Sight::of(&held).ok_or(Error::Forbidden)?
        };
        Ok(sql::list(&self.pool, (filter, &sight), after, limit).await?)
    }

    fn behest_of(&self, by: CitizenId, origin: Origin, reason: &Reason) -> Behest {
        Behest { actor: Actor::Citizen(by), source: self.source(origin), reason: reason.to_string() }
    }
}

/// Gives a role at the wish of an operator on the machine; tells whether it was not held before.
///
/// # Errors
/// `not-found` when there is no such person, `roles-too-many`, or what the database answered.
pub async fn grant_as_operator(
    pool: &PgPool,
    clock: &Clock,
    appointment: &Appointment,
    act: &OperatorAct,
) -> Result<bool, Problem> {
    let change = Change { appointment, by: None, behest: act.behest() };
    Ok(change.grant(pool, clock).await?.1)
}

/// Takes a role at the wish of an operator on the machine; tells whether it was held until now.
///
/// # Errors
/// `not-found` when the person never held it, or what the database answered.
pub async fn revoke_as_operator(
    pool: &PgPool,
    (clock, lifetimes): (&Clock, &Lifetimes),
    appointment: &Appointment,
    act: &OperatorAct,
) -> Result<bool, Problem> {
    let change = Change { appointment, by: None, behest: act.behest() };
    Ok(change.revoke(pool, (clock, lifetimes)).await?.is_some())
}

/// Grants that a filter lets through after one, oldest first, at most [`PAGE`].
///
/// # Errors
/// What the database answered.
pub async fn list(pool: &PgPool, filter: &Filter, after: Option<Uuid>) -> Result<Vec<Grant>, sqlx::Error> {
    sql::list(pool, (filter, &Sight::full()), after, PAGE).await
}
