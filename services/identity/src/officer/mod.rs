//! Officers: who holds which role for the city, given and taken by whom.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `role` | the form of a role and its scope (pure) |
//! | `term` | from when and until when a role counts (pure) |
//! | `rule` | who gives, takes and sees which (pure) |
//! | `sql` | every statement |
//!
//! Tokens say the roles that their subject held at issue and at each refresh, with a number that rises whenever one is taken.
//! Taking one therefore makes older tokens stale: every process refuses them within seconds, and a refresh gives one that
//! says what is left. A role that counts until a time ends by itself: no token that says it lives longer.
//! Whoever changes roles is judged by the database, not by their token.
//!
//! Lock order: both citizens of a change by id, revocation head, audit head.
//! Invariants: a person holds a role once; every change has its record in the same transaction; what is asked for twice is done
//! once; nobody gives a role to themself, or to somebody whose account is closed or on its way there.

mod role;
mod rule;
mod sql;
mod term;

use chrono::{DateTime, SubsecRound as _, Utc};
use platform::auth::Revoked;
use platform::clock::Clock;
use platform::problem::{Code, Problem};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::role::{Role, RoleFault, RoleKind};
pub(crate) use self::rule::Sight;
pub use self::term::Term;
use crate::Identity;
use crate::audit::{self, Action, Actor, Behest, Entry, OperatorAct, Origin, Reason};
use crate::citizen::CitizenId;
use crate::config::Lifetimes;
use crate::error::Error;
use crate::organisation::{Organisations, Place};
use crate::revocation;

/// The most roles that one person holds: tokens carry them all.
const MAX_ROLES: i64 = 16;
/// Who is on their way out gets no role.
const PERSON_LEAVES: Code =
    Code::new("person-leaves", 409, "Người này đang đóng tài khoản của mình", "This person is closing their account");
/// Grants read at a time.
pub const PAGE: i64 = 200;
/// The most officers who are found at a time.
const MAX_ON_DUTY: i64 = 1_000;

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
    /// When it was given.
    pub granted_at: DateTime<Utc>,
    /// Since when it counts, if not since it was given.
    #[serde(rename = "from")]
    pub valid_from: Option<DateTime<Utc>>,
    /// Until when it counts, if that was said when it was given.
    #[serde(rename = "until")]
    pub valid_until: Option<DateTime<Utc>>,
    /// The officer who gave it; null when an operator did so on the machine.
    pub granted_by: Option<Uuid>,
    /// When it was taken; null while it is held.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The officer who took it; null while it is held, and when an operator did so on the machine.
    pub revoked_by: Option<Uuid>,
}

impl Grant {
    fn term(&self) -> Term {
        Term { from: self.valid_from, until: self.valid_until }
    }
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
    /// Those that are held, also if only from a later time on, or those that have ended.
    pub held: Option<bool>,
}

/// A role that a person is to hold, or to hold no longer.
#[derive(Clone, Debug)]
pub struct Appointment {
    /// The person.
    pub user_id: Uuid,
    /// The role.
    pub role: Role,
    /// From when and until when it is to count; says nothing where a role is taken.
    pub term: Term,
}

/// What changes of roles are made with.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a> {
    /// Identity's database.
    pub pool: &'a PgPool,
    /// The time.
    pub clock: &'a Clock,
    /// How long tokens live.
    pub lifetimes: &'a Lifetimes,
    /// The agencies in which roles count.
    pub organisations: &'a Organisations,
}

/// A change that somebody asks for.
struct Change<'a> {
    desk: Desk<'a>,
    appointment: &'a Appointment,
    /// The officer who asks; nobody when it is an operator on the machine, who may do everything.
    by: Option<CitizenId>,
    behest: Behest,
}

/// Which tokens are refused, and until when that must be remembered.
type Stale = (Revoked, DateTime<Utc>);

/// What giving a role came to.
struct Given {
    grant: Grant,
    /// Whether it was not held like that before.
    new: bool,
    /// Tokens that say another term of it.
    stale: Option<Stale>,
}

impl Change<'_> {
    fn person(&self) -> CitizenId {
        self.appointment.user_id.into()
    }

    /// Locks whom it concerns and judges who asks.
    async fn admit(&self, tx: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
        let people: Vec<Uuid> =
            [Some(self.appointment.user_id), self.by.map(|by| by.uuid())].into_iter().flatten().collect();
        let there = sql::lock_people(tx, &people).await?;
        if let Some(by) = self.by
            && !rule::may_change(&sql::held(tx, by, now).await?, &self.appointment.role, self.desk.organisations)
        {
            return Err(Error::Forbidden);
        }
        if there.contains(&self.appointment.user_id) { Ok(()) } else { Err(Error::NotFound) }
    }

    fn entry(&self, action: Action) -> Entry {
        Entry::at(&self.behest, action, &self.appointment.role).about(self.person())
    }

    /// Gives the role, or gives it another term.
    async fn grant(&self) -> Result<Given, Error> {
        let (role, term) = (&self.appointment.role, self.appointment.term);
        let now = now(self.desk.clock);
        let mut tx = platform::db::begin(self.desk.pool).await?;
        self.admit(&mut tx, now).await?;
        if self.by == Some(self.person()) {
            return Err(Error::OwnRole);
        }
        // Who leaves has given their roles back, and a closing asks for that once: at its beginning.
        if !sql::stays(&mut tx, self.person()).await?.ok_or(Error::NotFound)? {
            return Err(Problem::new(PERSON_LEAVES).into());
        }
        if let Some(place) = role.place() {
            self.desk.organisations.check(place)?;
        }
        let kept = sql::newest(&mut tx, self.person(), role).await?.filter(|grant| grant.revoked_at.is_none());
        let (mut entries, mut stale) = (Vec::new(), None);
        match kept {
            Some(kept) if kept.term().is_over(now) => sql::close(&mut tx, &kept).await?,
            Some(kept) if kept.term() == term => return Ok(Given { grant: kept, new: false, stale: None }),
            Some(kept) => {
                stale = Some(self.end(&mut tx, &kept, now).await?);
                entries.push(self.entry(Action::RoleRevoke));
            }
            None => {}
        }
        if sql::count_kept(&mut tx, self.person(), now).await? >= MAX_ROLES {
            return Err(Error::RolesTooMany);
        }
        let grant = sql::insert(&mut tx, (self.person(), role, term), self.by, now).await?;
        entries.push(self.entry(Action::RoleGrant));
        audit::append(&mut tx, &entries, now).await?;
        tx.commit().await?;
        Ok(Given { grant, new: true, stale })
    }

    /// Takes the role; nothing to do when it was taken before or is over.
    async fn revoke(&self) -> Result<Option<Stale>, Error> {
        let mut tx = platform::db::begin(self.desk.pool).await?;
        self.admit(&mut tx, now(self.desk.clock)).await?;
        let newest = sql::newest(&mut tx, self.person(), &self.appointment.role).await?.ok_or(Error::NotFound)?;
        // After the locks: tokens were issued until now.
        let now = now(self.desk.clock);
        if newest.revoked_at.is_some() || newest.term().is_over(now) {
            return Ok(None);
        }
        let stale = self.end(&mut tx, &newest, now).await?;
        audit::append(&mut tx, &[self.entry(Action::RoleRevoke)], now).await?;
        tx.commit().await?;
        Ok(Some(stale))
    }

    async fn end(&self, tx: &mut PgConnection, grant: &Grant, now: DateTime<Utc>) -> Result<Stale, Error> {
        let forget_at = revocation::forget_at(self.desk.lifetimes, now);
        let epoch = sql::end(tx, grant, self.by, (now, forget_at)).await?;
        Ok((Revoked::Roles { subject: self.appointment.user_id, epoch }, forget_at))
    }
}

/// The time, as exactly as PostgreSQL keeps it.
fn now(clock: &Clock) -> DateTime<Utc> {
    clock.now().trunc_subsecs(6)
}

impl Identity {
    /// Gives a role at the wish of an officer; tells whether it was not held like that before.
    pub(crate) async fn grant_role(
        &self,
        by: CitizenId,
        appointment: &Appointment,
        (origin, reason): (Origin, Reason),
    ) -> Result<(Grant, bool), Error> {
        appointment.term.check(self.now())?;
        let behest = self.behest_of(by, origin, &reason);
        let given = Change { desk: self.desk(), appointment, by: Some(by), behest }.grant().await?;
        self.refuse_stale(given.stale);
        Ok((given.grant, given.new))
    }

    /// Takes a role at the wish of an officer.
    pub(crate) async fn revoke_role(
        &self,
        by: CitizenId,
        appointment: &Appointment,
        (origin, reason): (Origin, Reason),
    ) -> Result<(), Error> {
        let behest = self.behest_of(by, origin, &reason);
        self.refuse_stale(Change { desk: self.desk(), appointment, by: Some(by), behest }.revoke().await?);
        Ok(())
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            pool: &self.pool,
            clock: &self.clock,
            lifetimes: &self.config.lifetimes,
            organisations: &self.organisations,
        }
    }

    fn refuse_stale(&self, stale: Option<Stale>) {
        if let Some((what, forget_at)) = stale {
            self.verifier.revoke(what, forget_at.timestamp());
        }
    }

    /// Refuses who is no admin.
    pub(crate) async fn require_admin(&self, by: CitizenId) -> Result<(), Error> {
        let held = sql::held(&mut *self.pool.acquire().await?, by, self.now()).await?;
        if held.iter().any(|role| role.kind() == RoleKind::Admin) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// The wards of whose registers of people somebody is an officer or a head.
    pub(crate) async fn registers_of(&self, by: CitizenId) -> Result<Vec<String>, Error> {
        let held = sql::held(&mut *self.pool.acquire().await?, by, self.now()).await?;
        let keeps = |ward: &str, agency: &str| {
            let place = Place { agency, ward: Some(ward) };
            held.iter().filter_map(Role::place).any(|own| self.organisations.covers(own, place))
        };
        let registers = self.organisations.registers();
        Ok(registers.filter(|(ward, agency)| keeps(ward, agency)).map(|(ward, _)| ward.to_owned()).collect())
    }

    /// The grants that somebody may see: their own, and those of the roles that they give.
    pub(crate) async fn officers(
        &self,
        by: CitizenId,
        filter: &Filter,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Grant>, Error> {
        let now = self.now();
        let sight = if filter.user_id == Some(by.uuid()) {
            Sight::full()
        } else {
            let held = sql::held(&mut *self.pool.acquire().await?, by, now).await?;
            Sight::of(&held, &self.organisations).ok_or(Error::Forbidden)?
        };
        Ok(sql::list(&self.pool, (filter, &sight), (after, limit), now).await?)
    }

    pub(crate) fn behest_of(&self, by: CitizenId, origin: Origin, reason: &Reason) -> Behest {
        Behest { actor: Actor::Citizen(by), source: self.source(origin), reason: reason.to_string() }
    }
}

/// Somebody who acts for an agency, or at the operations centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDuty {
    pub(crate) user_id: CitizenId,
    pub(crate) role: RoleKind,
    /// How many steps above the agency in question theirs stands.
    pub(crate) above: usize,
}

impl Identity {
    /// Who acts for an agency in a ward now, those of the agencies above it too, and who works at the operations centre.
    pub(crate) async fn on_duty(&self, agency: Option<&str>, ward: Option<&str>) -> Result<Vec<OnDuty>, Error> {
        let agencies: Vec<String> = match agency {
            Some(agency) if self.organisations.get(agency).is_none() => vec![agency.to_owned()],
            Some(agency) => self.organisations.upwards(agency).map(|one| one.code.clone()).collect(),
            None => Vec::new(),
        };
        let ward = ward.or_else(|| self.organisations.get(agency?)?.ward.as_deref());
        let found = sql::on_duty(&self.pool, (&agencies, ward), (self.now(), MAX_ON_DUTY)).await?;
        let steps = |role: &Role| agencies.iter().position(|code| role.agency() == Some(code)).unwrap_or(0);
        let officer =
            |(user_id, role): &(CitizenId, Role)| OnDuty { user_id: *user_id, role: role.kind(), above: steps(role) };
        Ok(found.iter().map(officer).collect())
    }
}

/// Gives a role at the wish of an operator on the machine; tells whether it was not held like that before.
///
/// # Errors
/// `not-found` when there is no such person, `roles-too-many`, what is wrong with the role's place or term, or what the
/// database answered.
pub async fn grant_as_operator(desk: Desk<'_>, appointment: &Appointment, act: &OperatorAct) -> Result<bool, Problem> {
    appointment.term.check(now(desk.clock)).map_err(Problem::from)?;
    Ok(Change { desk, appointment, by: None, behest: act.behest() }.grant().await?.new)
}

/// Takes a role at the wish of an operator on the machine; tells whether it was held until now.
///
/// # Errors
/// `not-found` when the person never held it, or what the database answered.
pub async fn revoke_as_operator(desk: Desk<'_>, appointment: &Appointment, act: &OperatorAct) -> Result<bool, Problem> {
    Ok(Change { desk, appointment, by: None, behest: act.behest() }.revoke().await?.is_some())
}

/// Grants that a filter lets through after one, oldest first, at most [`PAGE`]; `at` says which of them are held.
///
/// # Errors
/// What the database answered.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    after: Option<Uuid>,
    at: DateTime<Utc>,
) -> Result<Vec<Grant>, sqlx::Error> {
    sql::list(pool, (filter, &Sight::full()), (after, PAGE), at).await
}
