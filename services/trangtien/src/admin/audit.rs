//! `trangtien admin audit …`: the audit searched, exported, verified. To have looked into it is on record too.

use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use identity::audit::{self, Action, Filter, Record, Tip, Verdict, Walk};
use uuid::Uuid;

use super::{By, Why, record};
use crate::database::Place;
use crate::role::Role;

/// The longest line of an export that is read; a record has far less.
const MAX_LINE: usize = 65_536;

/// What to do with the audit.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Shows the newest records that match, newest first.
    Search {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Which records.
        #[command(flatten)]
        which: Which,
        /// How many at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=audit::PAGE))]
        limit: i64,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Writes all records that match to standard output, oldest first, one JSON object a line.
    Export {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Which records.
        #[command(flatten)]
        which: Which,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
    /// Recomputes the whole chain and names the first record that does not hold; shows how far the chain goes.
    Verify {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// A tip that an earlier verification showed, `position:hash`: tells whether the chain was cut or written anew since.
        #[arg(long, value_name = "TIP")]
        kept: Option<Tip>,
        /// An export of all records, in place of a city.
        #[arg(long, value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
    },
}

/// Which records; what is left out lets everything through.
#[derive(Clone, Debug, clap::Args)]
pub struct Which {
    /// Who did it: a citizen's id, an operator's login, the name of a process.
    #[arg(long)]
    actor: Option<String>,
    /// The citizen whom it concerns.
    #[arg(long, value_name = "USER_ID")]
    subject: Option<Uuid>,
    /// What was done, for instance `session.start`; `session.` is everything done to sessions.
    #[arg(long)]
    action: Option<String>,
    /// From this network address: records hold a digest of it, which takes the city's own keys.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// From this time on, RFC 3339.
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
}

impl Which {
    fn filter(&self, place: &Place) -> anyhow::Result<Filter> {
        let digest = |address| anyhow::Ok(audit::address_digest(&place.config()?.identity.keys, address)?);
        Ok(Filter {
            actor: self.actor.clone(),
            subject: self.subject,
            action: self.action.clone(),
            place: self.address.map(digest).transpose()?,
            since: self.since,
            until: self.until,
        })
    }

    /// Says in a record what was looked for; an address by its digest.
    fn object(&self, how: &str, filter: &Filter) -> String {
        let parts = [
            ("actor", self.actor.clone()),
            ("subject", self.subject.map(|id| id.to_string())),
            ("action", self.action.clone()),
            ("place", filter.place.clone()),
            ("since", self.since.map(|at| at.to_rfc3339())),
            ("until", self.until.map(|at| at.to_rfc3339())),
        ];
        let named = parts.into_iter().filter_map(|(name, value)| Some(format!(" {name}={}", value?)));
        named.fold(how.to_owned(), |object, part| object + &part)
    }
}

/// Does it.
pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Search { place, which, limit, why } => search(&place, &which, limit, &why.by()).await,
        Command::Export { place, which, why } => export(&place, &which, &why.by()).await,
        Command::Verify { kept, file: Some(file), .. } => verify_file(&file, kept.as_ref()),
        Command::Verify { place, kept, file: None } => verify(&place, kept.as_ref()).await,
    }
}

async fn search(place: &Place, which: &Which, limit: i64, by: &By) -> anyhow::Result<()> {
    let filter = which.filter(place)?;
    record(place, by.act(Action::AuditRead, which.object("search", &filter), None)).await?;
    let pool = place.pool(Role::Identity)?;
    let found = audit::search(&pool, &filter, limit).await.context("the audit can't be read")?;
    let mut out = std::io::stdout().lock();
    for record in &found {
        let fields = &record.fields;
        writeln!(
            out,
            "{} {} {} {} {} {:?} from {} {} because {:?}{}{}",
            record.position,
            record.recorded_at.to_rfc3339(),
            fields.actor_kind,
            fields.actor,
            fields.action,
            fields.object,
            fields.channel,
            if fields.place.is_empty() { "-" } else { &fields.place },
            fields.reason,
            fields.subject.map(|id| format!(" subject {id}")).unwrap_or_default(),
            fields.session_id.map(|id| format!(" session {id}")).unwrap_or_default(),
        )?;
    }
    writeln!(out, "{} records", found.len())?;
    Ok(())
}

async fn export(place: &Place, which: &Which, by: &By) -> anyhow::Result<()> {
    let filter = which.filter(place)?;
    record(place, by.act(Action::AuditRead, which.object("export", &filter), None)).await?;
    let pool = place.pool(Role::Identity)?;
    let (mut last, mut written) = (0, 0);
    loop {
        let page = audit::page(&pool, &filter, last).await.context("the audit can't be read")?;
        let Some(newest) = page.last() else { break };
        last = newest.position;
        written += page.len();
        let mut out = std::io::stdout().lock();
        for record in &page {
            serde_json::to_writer(&mut out, record).context("the export can't be written")?;
            out.write_all(b"\n").context("the export can't be written")?;
        }
        out.flush().context("the export can't be written")?;
    }
    eprintln!("{written} records");
    Ok(())
}

async fn verify(place: &Place, kept: Option<&Tip>) -> anyhow::Result<()> {
    let pool = place.pool(Role::Identity)?;
    match audit::verify(&pool, kept).await.context("the audit can't be read")? {
        Verdict::Holds(tip) => holds(&tip),
        Verdict::Broken(fault) => bail!("the audit does not hold: {fault}"),
    }
}

/// Walks along an export that lies in a file; needs no city.
fn verify_file(path: &Path, kept: Option<&Tip>) -> anyhow::Result<()> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut walk, mut seen) = (Walk::default(), kept.is_none());
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(line.len() <= MAX_LINE, "{}:{}: no record is that long", path.display(), number + 1);
        let record: Record =
            serde_json::from_str(&line).with_context(|| format!("{}:{} is no record", path.display(), number + 1))?;
        walk.step(&record).map_err(|fault| anyhow::anyhow!("the audit does not hold: {fault}"))?;
        seen |= kept.is_some_and(|kept| *kept == record.tip());
    }
    ensure!(seen, "the audit does not hold: the tip that was kept is not in it");
    holds(walk.tip())
}

fn holds(tip: &Tip) -> anyhow::Result<()> {
    println!("{} records verified; keep this tip elsewhere: {tip}", tip.position);
    println!("the audit holds");
    Ok(())
}
