//! `trangtien admin grant-role`, `revoke-role`, `roles`: who holds which role for the city. The first admin is made here.

use std::io::Write as _;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use identity::audit::Action;
use identity::officer::{self, Appointment, Filter, Role as OfficerRole, RoleKind};
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
    fn appointment(&self) -> anyhow::Result<Appointment> {
        let role = OfficerRole::try_new(self.role, self.agency.as_deref(), self.ward.as_deref())?;
        Ok(Appointment { user_id: self.user_id, role })
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
pub(super) async fn grant(place: &Place, post: &Post, why: &Why) -> anyhow::Result<()> {
    let appointment = post.appointment()?;
    let new = give(place, &appointment, why).await?;
    let how = if new { "now holds" } else { "held before and holds" };
    println!("{} {how} {}", post.user_id, appointment.role);
    Ok(())
}

/// Gives a role, on record; `false` when the person held it before.
pub(super) async fn give(place: &Place, appointment: &Appointment, why: &Why) -> anyhow::Result<bool> {
    let act = why.by().act(Action::RoleGrant, appointment.role.to_string(), Some(appointment.user_id));
    officer::grant_as_operator(&place.pool(Role::Identity)?, &Clock::system(), appointment, &act)
        .await
        .map_err(|problem| anyhow::anyhow!("{problem}"))
        .context("the role can't be given")
}

/// Takes a role.
pub(super) async fn revoke(place: &Place, post: &Post, why: &Why) -> anyhow::Result<()> {
    let (appointment, by) = (post.appointment()?, why.by());
    let lifetimes = place.config()?.identity.lifetimes;
    let act = by.act(Action::RoleRevoke, appointment.role.to_string(), Some(post.user_id));
    let pool = place.pool(Role::Identity)?;
    let held = officer::revoke_as_operator(&pool, (&Clock::system(), &lifetimes), &appointment, &act)
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
        let page = officer::list(&pool, &filter, last).await.context("the roles can't be read")?;
        let Some(newest) = page.last() else { break };
        (last, found) = (Some(newest.id), found + page.len());
        let mut out = std::io::stdout().lock();
        for grant in &page {
            let until = grant.revoked_at.map(|at| format!(", until {} by {}", time(at), who(grant.revoked_by)));
            let (since, by) = (time(grant.granted_at), who(grant.granted_by));
            writeln!(out, "{} {} since {since} by {by}{}", grant.user_id, grant.name, until.unwrap_or_default())?;
        }
    }
    println!("{found} roles");
    Ok(())
}
