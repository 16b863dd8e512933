//! `trangtien admin grant-role`, `revoke-role`, `roles`, `adopt-officers`: who holds which role for the city. The first admin is made here.

use std::io::Write as _;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use identity::audit::Action;
use identity::officer::{self, Appointment, Desk, Filter, Role as OfficerRole, RoleKind, Term};
use identity::organisation::Organisations;
use platform::clock::Clock;
use uuid::Uuid;

use super::Why;
use crate::database::Place;
use crate::role::Role;

/// Who is to hold which role, where.
#[derive(Clone, Debug, clap::Args)]
pub struct Post {
    /// The person, by the id that `GET /identity/v1/me` tells them.
    user_id: Uuid,
    /// ioc.operator, ioc.lead, agency.officer, agency.head, finance.officer, finance.approver or admin.
    role: RoleKind,
    /// Code of the agency, for agency.officer and agency.head.
    #[arg(long, value_name = "CODE")]
    agency: Option<String>,
    /// Code of the one ward of the agency in which the role counts.
    #[arg(long, value_name = "CODE", requires = "agency")]
    ward: Option<String>,
}

impl Post {
    fn appointment(&self, term: Term) -> anyhow::Result<Appointment> {
        let role = OfficerRole::try_new(self.role, self.agency.as_deref(), self.ward.as_deref())?;
        Ok(Appointment { user_id: self.user_id, role, term })
    }
}

/// From when and until when a role counts.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TermOfOffice {
    /// Since when it counts, such as 2026-12-01T00:00:00+07:00; at once without it.
    #[arg(long, value_name = "TIME")]
    from: Option<DateTime<Utc>>,
    /// Until when it counts; until it is taken without it.
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
}

impl TermOfOffice {
    /// As identity knows it.
    pub(super) fn term(self) -> Term {
        Term { from: self.from, until: self.until }
    }
}

/// Which roles are shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// Only this person's.
    #[arg(long, value_name = "USER_ID")]
    user: Option<Uuid>,
    /// Only this role.
    #[arg(long)]
    role: Option<RoleKind>,
    /// Only of the agency with this code.
    #[arg(long, value_name = "CODE")]
    agency: Option<String>,
    /// Also those that have ended.
    #[arg(long)]
    history: bool,
}

/// Gives a role.
pub(super) async fn grant(place: &Place, (post, term): (&Post, Term), why: &Why) -> anyhow::Result<()> {
    let appointment = post.appointment(term)?;
    let new = give(place, &appointment, why).await?;
    let how = if new { "now holds" } else { "held before and holds" };
    println!("{} {how} {}", post.user_id, appointment.role);
    Ok(())
}

/// Gives a role, on record; `false` when the person held it before.
pub(super) async fn give(place: &Place, appointment: &Appointment, why: &Why) -> anyhow::Result<bool> {
    let act = why.by().act(Action::RoleGrant, appointment.role.to_string(), Some(appointment.user_id));
    let (config, pool, clock) = (place.config()?, place.pool(Role::Identity)?, Clock::system());
    let organisations = Organisations::load(&config.city).context("the city's agencies can't be read")?;
    let desk =
        Desk { pool: &pool, clock: &clock, lifetimes: &config.identity.lifetimes, organisations: &organisations };
    officer::grant_as_operator(desk, appointment, &act)
        .await
        .map_err(|problem| anyhow::anyhow!("{problem}"))
        .context("the role can't be given")
}

/// Gives those who were appointed in field reports the roles that do the same.
pub(super) async fn adopt(place: &Place, why: &Why) -> anyhow::Result<()> {
    let appointed =
        reports::appointment::appointed(&place.pool(Role::Reports)?).await.context("the officers can't be read")?;
    for one in &appointed {
        let role: OfficerRole = one.role_name().parse()?;
        let appointment = Appointment { user_id: one.user_id, role, term: Term::default() };
        let new =
            give(place, &appointment, why).await.with_context(|| format!("{} {}", one.user_id, one.role_name()))?;
        println!("{} {} {}", one.user_id, if new { "now holds" } else { "held before and holds" }, one.role_name());
    }
    println!("{} officers of field reports", appointed.len());
    Ok(())
}

/// Takes a role.
pub(super) async fn revoke(place: &Place, post: &Post, why: &Why) -> anyhow::Result<()> {
    let (appointment, by) = (post.appointment(Term::default())?, why.by());
    let (config, pool, clock) = (place.config()?, place.pool(Role::Identity)?, Clock::system());
    // A role of an agency that is gone can still be taken.
    let organisations = Organisations::default();
    let desk =
        Desk { pool: &pool, clock: &clock, lifetimes: &config.identity.lifetimes, organisations: &organisations };
    let act = by.act(Action::RoleRevoke, appointment.role.to_string(), Some(post.user_id));
    let held = officer::revoke_as_operator(desk, &appointment, &act)
        .await
        .map_err(|problem| anyhow::anyhow!("{problem}"))
        .context("the role can't be taken")?;
    let how = if held { "holds no longer" } else { "had lost before" };
    println!("{} {how} {}", post.user_id, appointment.role);
    Ok(())
}

/// Lists who holds which role.
pub(super) async fn list(place: &Place, which: &Which) -> anyhow::Result<()> {
    let filter = Filter {
        user_id: which.user,
        role: which.role,
        agency: which.agency.clone(),
        held: (!which.history).then_some(true),
    };
    let pool = place.pool(Role::Identity)?;
    let (mut last, mut found) = (None, 0);
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let who = |by: Option<Uuid>| by.map_or_else(|| "an operator".to_owned(), |by| by.to_string());
    loop {
        let page = officer::list(&pool, &filter, last, Utc::now()).await.context("the roles can't be read")?;
        let Some(newest) = page.last() else { break };
        (last, found) = (Some(newest.id), found + page.len());
        let mut out = std::io::stdout().lock();
        for grant in &page {
            let term = [("counts since", grant.valid_from), ("counts until", grant.valid_until)];
            let term: String =
                term.iter().filter_map(|(what, at)| at.map(|at| format!(", {what} {}", time(at)))).collect();
            let until = grant.revoked_at.map(|at| format!(", until {} by {}", time(at), who(grant.revoked_by)));
            let (since, by) = (time(grant.granted_at), who(grant.granted_by));
            writeln!(out, "{} {} since {since} by {by}{term}{}", grant.user_id, grant.name, until.unwrap_or_default())?;
        }
    }
    println!("{found} roles");
    Ok(())
}
