//! `trangtien admin …`: what an operator does by hand. Every act stands in the audit, with who did it and why.
//!
//! The record is written before the act takes effect: what was done has a record, whatever fails in between.

mod audit;
mod dead_letter;
mod key;
mod officer;
mod wall;

use anyhow::Context as _;
use chrono::Utc;
use identity::audit::{Action, OperatorAct, Reason};
use identity::officer::{Role as OfficerRole, RoleKind, Term};
use platform::db;
use uuid::Uuid;

use self::dead_letter::Which;
pub(crate) use self::wall::ensure as ensure_wall;
use crate::database::Place;
use crate::role::Role;

/// Works on a running city.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists what was given up on: jobs, and events that a consumer could not take.
    DeadLetters {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Only this role's.
        #[arg(long, value_enum)]
        role: Option<Role>,
    },
    /// Has dead letters tried again.
    Redrive {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Whose.
        #[arg(value_enum)]
        role: Role,
        /// What exactly.
        #[command(flatten)]
        which: Which,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Makes a person a lead of the operations centre (`grant-role USER_ID ioc.lead`), who then appoints its operators over HTTP.
    AppointSupervisor {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// The person, by the id that `GET /identity/v1/me` tells them.
        user_id: Uuid,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Gives a person a role, among them the first `admin`, who then gives roles over HTTP.
    GrantRole {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// To whom, which, where.
        #[command(flatten)]
        post: officer::Post,
        /// From when and until when.
        #[command(flatten)]
        term: officer::TermOfOffice,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Gives everyone who was appointed for field reports in former versions the role that does the same; nothing for who holds it.
    AdoptOfficers {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Takes a role from a person; it ends everywhere within seconds.
    RevokeRole {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// From whom, which, where.
        #[command(flatten)]
        post: officer::Post,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Shows who holds which role, since when and by whom.
    Roles {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Which roles.
        #[command(flatten)]
        which: officer::Which,
    },
    /// Registers the wall of `ioc.sign_in` at the OpenID provider, or gives it its new secret or address there.
    SetUpWall {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// The keys that sign tokens.
    #[command(subcommand)]
    Keys(key::Command),
    /// Who did what, when, from where and why.
    #[command(subcommand)]
    Audit(audit::Command),
}

/// Why an operator acts.
#[derive(Clone, Debug, clap::Args)]
pub struct Why {
    /// Why, for the audit: at most 200 characters that name nobody; ids and numbers of tickets are welcome.
    #[arg(long, default_value = "not stated")]
    reason: Reason,
}

/// Who acts, where and why.
struct By {
    operator: String,
    host: String,
    reason: Reason,
}

impl Why {
    /// What `trangtien up` does before it starts.
    pub(crate) fn starting() -> Self {
        Self { reason: "trangtien up".parse().expect("words that name nobody") }
    }

    fn by(&self) -> By {
        By { operator: operator(), host: host(), reason: self.reason.clone() }
    }
}

impl By {
    fn act(&self, action: Action, object: String, subject: Option<Uuid>) -> OperatorAct {
        OperatorAct {
            operator: self.operator.clone(),
            host: self.host.clone(),
            action,
            subject,
            object,
            reason: self.reason.clone(),
        }
    }
}

/// Does it.
///
/// # Errors
/// When the database does not answer, or nothing was found to do.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::DeadLetters { place, role } => dead_letter::list(&place, role).await,
        Command::Redrive { place, role, which, why } => dead_letter::redrive(&place, role, &which, &why.by()).await,
        Command::AppointSupervisor { place, user_id, why } => {
            grant_role(&place, (user_id, RoleKind::IocLead, None), why.reason).await?;
            println!("{user_id} holds ioc.lead");
            Ok(())
        }
        Command::GrantRole { place, post, term, why } => officer::grant(&place, (&post, term.term()), &why).await,
        Command::AdoptOfficers { place, why } => officer::adopt(&place, &why).await,
        Command::RevokeRole { place, post, why } => officer::revoke(&place, &post, &why).await,
        Command::Roles { place, which } => officer::list(&place, &which).await,
        Command::SetUpWall { place, why } => wall::set_up(&place, &why).await,
        Command::Keys(command) => key::run(command).await,
        Command::Audit(command) => audit::run(command).await,
    }
}

/// Gives a person a role, on record; an agency's with its code.
///
/// # Errors
/// When the role can't be given.
pub async fn grant_role(
    place: &Place,
    (user_id, role, agency): (Uuid, RoleKind, Option<&str>),
    reason: Reason,
) -> anyhow::Result<()> {
    let role = OfficerRole::try_new(role, agency, None)?;
    let appointment = identity::officer::Appointment { user_id, role, term: Term::default() };
    officer::give(place, &appointment, &Why { reason }).await.map(|_| ())
}

/// Puts an act on record, in identity's database.
async fn record(place: &Place, act: OperatorAct) -> anyhow::Result<()> {
    const FAILED: &str = "the act can't be put on record, so it is not done";
    let mut tx = db::begin(&place.pool(Role::Identity)?).await.context(FAILED)?;
    identity::audit::append_operator_act(&mut tx, &act, Utc::now()).await.context(FAILED)?;
    tx.commit().await.context(FAILED)
}

/// Who runs this command.
fn operator() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map_or_else(|| nix::unistd::getuid().to_string(), |user| user.name)
}

/// The machine that it runs on.
fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("localhost").to_owned()
}
