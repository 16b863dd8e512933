//! The live board: reads what changed, at most four times a second, and hands it to every open wall of this process.
//!
//! The database drives it: consumers of any replica notify, every replica listens and reads the rows above the revision it has sent.
//! A wall that resumes at another replica therefore misses nothing. Without a notification the board looks at every pulse.
//! Limits: [`MAX_PENDING`] frames wait for a wall; one that falls further behind is dropped and resumes by its last event id.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};
use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::Shutdown;
use prometheus::{IntCounterVec, IntGaugeVec};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::city::City;
use crate::error::Error;
use crate::lag::Fresh;
use crate::overview::{
    AlarmRow, Amount, BookTotal, Books, CitySummary, Delta, LastPayment, MinuteTally, Overview, Pulse, ReportFigures,
    Roles, Tally, WallEvent,
};
use crate::role::{RoleHealth, RoleStatus};
use crate::sensor::level::Stations;
use crate::sql::{self, Head, TallyRow};
use crate::tally::Payment;

/// At most four changes a second reach a wall.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// How often a wall hears that the line is alive, and how often roles are asked for their health.
pub(crate) const PULSE: Duration = Duration::from_secs(2);
/// How many frames may wait for a slow wall.
const MAX_PENDING: usize = 32;
/// Alarms, and warnings, on a wall at most; more than the city has stations.
const MAX_ALARMS: i64 = 100;
/// The wall's past.
const SHOWN: TimeDelta = TimeDelta::minutes(60);
/// How long to wait before listening again after the database was away.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// A message for walls, written once for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) event: &'static str,
    /// The resume point after this message; pulses have none.
    pub(crate) id: Option<String>,
    /// The revision that the message brings.
    pub(crate) revision: i64,
    pub(crate) data: Arc<str>,
}

/// What the board reads from, beside its own tables.
pub(crate) struct Sources {
    pub(crate) roles: Arc<dyn RoleStatus>,
    pub(crate) books: watch::Receiver<Books>,
    /// How fresh each stream's figures are.
    pub(crate) streams: watch::Receiver<Fresh>,
    /// What the stations of alarms are called.
    pub(crate) stations: Arc<Stations>,
}

/// The board of this process. Shared by the task that keeps it and the handlers that show it.
pub(crate) struct Board {
    pool: PgPool,
    clock: Clock,
    city: Arc<City>,
    sources: Sources,
    roles: watch::Sender<Vec<RoleHealth>>,
    changed: Notify,
    /// `None` once the process is stopping.
    frames: Mutex<Option<broadcast::Sender<Frame>>>,
    places: Arc<Semaphore>,
    walls: IntGaugeVec,
    sent: IntCounterVec,
}

/// An open wall: its place, what it gets first and what follows.
pub(crate) struct Wall {
    pub(crate) first: Frame,
    pub(crate) next: broadcast::Receiver<Frame>,
    pub(crate) place: Place,
}

/// A wall's place; the gauge counts it until it is dropped.
pub(crate) struct Place {
    walls: IntGaugeVec,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Takes a place, if one is left.
    pub(crate) fn take(places: &Arc<Semaphore>, walls: &IntGaugeVec) -> Result<Self, Error> {
        let permit = places.clone().try_acquire_owned().map_err(|_| Error::NoWall)?;
        walls.with_label_values::<&str>(&[]).inc();
        Ok(Self { walls: walls.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.walls.with_label_values::<&str>(&[]).dec();
    }
}

impl Board {
    pub(crate) fn new(
        (pool, clock, metrics): (PgPool, Clock, &Metrics),
        city: Arc<City>,
        sources: Sources,
        max_walls: usize,
    ) -> Self {
        Self {
            pool,
            clock,
            city,
            sources,
            roles: watch::Sender::new(Vec::new()),
            changed: Notify::new(),
            frames: Mutex::new(Some(broadcast::channel(MAX_PENDING).0)),
            places: Arc::new(Semaphore::new(max_walls)),
            walls: metrics.gauge("walls", "Open walls.", &[]),
            sent: metrics.counter("wall_messages_total", "Messages made for walls, by event.", &["event"]),
        }
    }

    /// Everything, read at one moment.
    pub(crate) async fn overview(&self) -> Result<Overview, Error> {
        Ok(self.read_overview().await?.1)
    }

    /// The roles' health as it was asked last.
    pub(crate) async fn roles(&self) -> Roles {
        let known = self.roles.borrow().clone();
        let roles = if known.is_empty() { self.sources.roles.status().await } else { known };
        Roles { as_of: self.clock.now(), roles }
    }

    /// Opens a wall: what changed since `last_id` if that can be told, else everything, and then all that follows.
    pub(crate) async fn open(&self, last_id: Option<&str>) -> Result<Wall, Error> {
        let place = Place::take(&self.places, &self.walls)?;
        let next = self.sender().ok_or(Error::NoWall)?.subscribe();
        let first = match last_id {
            Some(id) => match self.since(id).await? {
                Some(frame) => frame,
                None => self.everything().await?,
            },
            None => self.everything().await?,
        };
        Ok(Wall { first, next, place })
    }

    async fn everything(&self) -> Result<Frame, Error> {
        let (head, overview) = self.read_overview().await?;
        Ok(frame(Some(&head), &WallEvent::Snapshot(Box::new(overview))))
    }

    /// The change since an event id; `None` when the id is of another epoch, of the future or none at all.
    async fn since(&self, id: &str) -> Result<Option<Frame>, Error> {
        let mut tx = sql::snapshot(&self.pool).await?;
        let head = sql::head(&mut tx).await?;
        let revision = id.split_once('.').and_then(|(epoch, revision)| {
            let revision: i64 = revision.parse().ok()?;
            (epoch == head.epoch && (0..=head.revision).contains(&revision)).then_some(revision)
        });
        let Some(revision) = revision else { return Ok(None) };
        let delta = self.read_delta(&mut tx, &head, revision).await?;
        tx.commit().await?;
        Ok(Some(frame(Some(&head), &WallEvent::Delta(delta))))
    }

    async fn read_overview(&self) -> Result<(Head, Overview), Error> {
        let roles = self.roles().await.roles;
        let (now, day) = self.today();
        // Before what is read: a comparison that is told of is one of positions that the totals include.
        let books = self.sources.books.borrow().at(now);
        let mut tx = sql::snapshot(&self.pool).await?;
        let head = sql::head(&mut tx).await?;
        let money = |amount| self.amount(amount);
        let overview = Overview {
            revision: head.revision,
            as_of: now,
            city: CitySummary { name: self.city.name.clone(), time_zone: self.city.zone.name().to_owned() },
            day,
            sources: sql::positions(&mut tx).await?,
            totals: self.tallies(sql::totals(&mut tx).await?),
            today: self.tallies(sql::day(&mut tx, day, -1).await?),
            minutes: self.minutes(sql::minutes(&mut tx, first_minute(now), -1).await?),
            last_payments: self.payments(sql::payments(&mut tx, -1).await?),
            reports: reports(&mut tx, day, -1).await?,
            alarms: self.alarms(&mut tx, -1).await?,
            warnings: sql::warning::changed(&mut tx, (-1, now), MAX_ALARMS).await?,
            book_position: head.book_position,
            book_totals: sql::book_totals(&mut tx)
                .await?
                .into_iter()
                .map(|(kind, sum)| BookTotal { kind, count: sum.count, amount: money(sum.amount) })
                .collect(),
            books,
            streams: self.sources.streams.borrow().at(now),
            roles,
        };
        tx.commit().await?;
        Ok((head, overview))
    }

    async fn read_delta(&self, tx: &mut sqlx::PgConnection, head: &Head, after: i64) -> Result<Delta, sqlx::Error> {
        let (now, day) = self.today();
        Ok(Delta {
            revision: head.revision,
            as_of: now,
            day,
            today: self.tallies(sql::day(&mut *tx, day, after).await?),
            minutes: self.minutes(sql::minutes(&mut *tx, first_minute(now), after).await?),
            last_payments: self.payments(sql::payments(&mut *tx, after).await?),
            reports: reports(&mut *tx, day, after).await?,
            alarms: self.alarms(&mut *tx, after).await?,
            warnings: sql::warning::changed(tx, (after, now), MAX_ALARMS).await?,
        })
    }

    /// Keeps the board until shutdown.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        let ask_roles = async {
            loop {
                let roles = self.sources.roles.status().await;
                self.roles.send_replace(roles);
                tokio::time::sleep(PULSE).await;
            }
        };
        tokio::select! {
            () = self.keep() => {}
            () = self.listen() => {}
            () = ask_roles => {}
            () = shutdown.cancelled() => {}
        }
        // Walls end when nobody can send to them any more.
        self.frames.lock().expect("nothing panics while it holds the frames").take();
    }

    async fn keep(&self) {
        let mut pulses = tokio::time::interval(PULSE);
        pulses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = None;
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = pulses.tick() => self.pulse(),
            }
            match self.send_changes(sent).await {
                Ok(now) => sent = Some(now),
                Err(error) => warn!(%error, "board not read"),
            }
            tokio::time::sleep(SHORTEST_PAUSE).await;
        }
    }

    /// Turns notifications into wake-ups as they come; however many came meanwhile are one.
    async fn listen(&self) {
        loop {
            if let Err(error) = self.listen_once().await {
                warn!(%error, "cannot listen for changes of the board");
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    async fn listen_once(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(sql::CHANNEL).await?;
        loop {
            // What was notified while the connection was away is not told; `None` says that it was.
            listener.try_recv().await?;
            self.changed.notify_one();
        }
    }

    /// Sends what changed since revision `sent`; answers the revision that the walls have now.
    async fn send_changes(&self, sent: Option<i64>) -> Result<i64, sqlx::Error> {
        let mut tx = sql::snapshot(&self.pool).await?;
        let head = sql::head(&mut tx).await?;
        let known = sent.filter(|known| *known <= head.revision);
        let watched = self.sender().is_some_and(|frames| frames.receiver_count() > 0);
        if let (Some(known), true) = (known, watched)
            && known < head.revision
        {
            let delta = self.read_delta(&mut tx, &head, known).await?;
            self.send(frame(Some(&head), &WallEvent::Delta(delta)));
        }
        tx.commit().await?;
        Ok(head.revision)
    }

    fn pulse(&self) {
        let (now, day) = self.today();
        let pulse = Pulse {
            as_of: now,
            day,
            books: self.sources.books.borrow().at(now),
            streams: self.sources.streams.borrow().at(now),
            roles: self.roles.borrow().clone(),
        };
        self.send(frame(None, &WallEvent::Pulse(pulse)));
    }

    fn send(&self, frame: Frame) {
        self.sent.with_label_values(&[frame.event]).inc();
        if let Some(frames) = self.sender() {
            // Nobody watches: nobody misses it.
            frames.send(frame).ok();
        }
    }

    fn sender(&self) -> Option<broadcast::Sender<Frame>> {
        self.frames.lock().expect("nothing panics while it holds the frames").clone()
    }

    fn today(&self) -> (DateTime<Utc>, NaiveDate) {
        let now = self.clock.now();
        (now, self.city.day(now))
    }

    /// Alarms that changed after a revision; from -1 on those that are open.
    async fn alarms(&self, tx: &mut sqlx::PgConnection, after: i64) -> Result<Vec<AlarmRow>, sqlx::Error> {
        let changed = sql::alarm::changed(tx, after, MAX_ALARMS).await?;
        Ok(changed.iter().map(|alarm| AlarmRow::of(alarm, &self.sources.stations)).collect())
    }

    fn tallies(&self, rows: Vec<TallyRow>) -> Vec<Tally> {
        rows.into_iter().map(|row| self.tally(row)).collect()
    }

    fn minutes(&self, rows: Vec<TallyRow>) -> Vec<MinuteTally> {
        rows.into_iter().filter_map(|row| Some(MinuteTally { minute: row.minute?, tally: self.tally(row) })).collect()
    }

    fn tally(&self, row: TallyRow) -> Tally {
        Tally { kind: row.kind, outcome: row.outcome, count: row.count, amount: self.amount(row.amount) }
    }

    fn payments(&self, payments: Vec<Payment>) -> Vec<LastPayment> {
        payments
            .into_iter()
            .map(|payment| LastPayment {
                position: payment.position,
                at: payment.paid_at,
                merchant: payment.merchant,
                amount: self.amount(payment.amount),
            })
            .collect()
    }

    /// An amount as it is shown.
    pub(crate) fn amount(&self, minor_units: i64) -> Amount {
        let amount = Decimal::new(minor_units, self.city.minor_digits);
        Amount { amount: amount.to_string(), currency: self.city.currency.clone() }
    }
}

/// The counts of field reports that changed after a revision.
async fn reports(tx: &mut sqlx::PgConnection, day: NaiveDate, after: i64) -> Result<ReportFigures, sqlx::Error> {
    Ok(ReportFigures {
        states: sql::report::states(&mut *tx, after).await?,
        agencies: sql::report::agencies(&mut *tx, after).await?,
        wards: sql::report::wards(&mut *tx, after).await?,
        today: sql::report::day(&mut *tx, day, after).await?,
        totals: sql::report::totals(tx, after).await?,
    })
}

fn frame(head: Option<&Head>, event: &WallEvent) -> Frame {
    Frame {
        event: event.name(),
        id: head.map(|head| format!("{}.{}", head.epoch, head.revision)),
        revision: head.map_or(0, |head| head.revision),
        data: serde_json::to_string(event).expect("messages are plain data").into(),
    }
}

fn first_minute(now: DateTime<Utc>) -> DateTime<Utc> {
    let from = now - SHOWN;
    from.duration_trunc(TimeDelta::minutes(1)).unwrap_or(from)
}
