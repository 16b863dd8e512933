//! A day of the city, in both shapes: everybody goes on while servers and roles die in a random order. In the end the books are in balance, every
//! saga has ended, the operations centre says what the books say, nobody was told anything twice, and nobody learnt who somebody is.

use anyhow::{Result, ensure};
use chrono::TimeDelta;
use futures::future::try_join_all;
use harness::{City, Shape, Shop};
use journeys::crowd::{Payer, told_once};
use journeys::dice::Dice;
use journeys::figures::{payments_agree, reports_agree};
use journeys::office::{Office, TEXT};
use journeys::privacy::Secrets;
use tokio::sync::watch;

const SHOP: &str = "Bún bò Mệ Kéo";
const NAMES: [&str; 3] = ["Công Tằng Tôn Nữ Riêng Tư", "Nguyễn Phước Kín Đáo", "Hồ Đắc Không Ai Biết"];
/// The day has so many parts; between them the clock goes on.
const QUARTERS: usize = 4;
/// What each citizen does in a quarter.
const ACTS: usize = 8;
const REPORTS: usize = 3;
/// The most that is done to one report in a quarter.
const MOST_STEPS: u64 = 7;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    WipeRedis,
    LoseRedis,
    CutDatabase,
    CrashPostgres,
    Kill(&'static str),
}

fn troubles(shape: Shape) -> Vec<Trouble> {
    let mut all = vec![Trouble::WipeRedis, Trouble::CutDatabase];
    match shape {
        Shape::AllInOne => all.extend([Trouble::LoseRedis, Trouble::CrashPostgres]),
        Shape::Split => all.extend(["identity", "wallet", "reports", "notifications", "ioc"].map(Trouble::Kill)),
    }
    all
}

/// Does them one after the other, each when somebody has done something more.
async fn make_trouble(city: &City, list: &[Trouble], mut done: watch::Receiver<usize>) -> Result<()> {
    for trouble in list {
        after(&mut done, 4).await?;
        eprintln!("{trouble:?}");
        match trouble {
            Trouble::WipeRedis => city.wipe_redis().await?,
            Trouble::LoseRedis => {
                city.kill_redis().await;
                after(&mut done, 3).await?;
                city.restart_redis().await?;
            }
            Trouble::CutDatabase => city.database_proxy().cut_once(),
            Trouble::CrashPostgres => city.crash_postgres().await?,
            Trouble::Kill(role) => city.kill_role(role).await?,
        }
    }
    Ok(())
}

/// Waits for so many more acts, or for the last.
async fn after(done: &mut watch::Receiver<usize>, more: usize) -> Result<()> {
    let wanted = *done.borrow() + more;
    if done.wait_for(|done| *done >= wanted).await.is_err() {
        eprintln!("everybody is through already");
    }
    Ok(())
}

async fn live(
    city: &City,
    (payer, shop): (&mut Payer, &Shop),
    mut dice: Dice,
    done: watch::Sender<usize>,
) -> Result<()> {
    for _ in 0..ACTS {
        payer.act(city, shop, &mut dice).await?;
        done.send_modify(|done| *done += 1);
    }
    Ok(())
}

/// Sends and handles reports; gives their ids.
async fn work(office: &Office, mut dice: Dice, done: watch::Sender<usize>) -> Result<Vec<String>> {
    let mut reports = Vec::new();
    for _ in 0..REPORTS {
        let report = office.submit(&mut dice).await?;
        for _ in 0..dice.below(MOST_STEPS + 1) {
            if !office.step(&report, &mut dice).await? {
                break;
            }
        }
        reports.push(report);
        done.send_modify(|done| *done += 1);
    }
    Ok(reports)
}

async fn a_day(shape: Shape) -> Result<()> {
    let mut dice = Dice::thrown();
    let city = City::start(shape).await?;
    let mut seller = city.visitor()?.sign_up().await?;
    let shop = seller.open_shop(SHOP).await?;
    let mut office = Office::open(&city).await?;
    let mut crowd = try_join_all(NAMES.map(|name| Payer::arrive(&city, name))).await?;
    let mut all = troubles(shape);
    dice.shuffle(&mut all);
    let mut reports = Vec::new();
    // Tokens of the whole day are secret, also those that a later one has replaced.
    let mut private: Vec<String> = Vec::new();
    for list in all.chunks(all.len().div_ceil(QUARTERS)) {
        private.extend(crowd.iter().flat_map(Payer::private));
        let done = watch::Sender::new(0);
        let trouble = make_trouble(&city, list, done.subscribe());
        let lives = try_join_all(crowd.iter_mut().map(|payer| live(&city, (payer, &shop), dice.fork(), done.clone())));
        let work = work(&office, dice.fork(), done.clone());
        drop(done);
        let (_, new, ()) = tokio::try_join!(lives, work, trouble)?;
        reports.extend(new);
        city.advance(TimeDelta::hours(24 / QUARTERS as i64)).await?;
        private.extend(office.everybody().chain([&mut seller]).flat_map(|person| person.private()));
        for citizen in crowd.iter_mut().map(|payer| &mut payer.citizen).chain(office.everybody()).chain([&mut seller]) {
            citizen.refresh().await?;
        }
    }
    city.drained().await?;
    payments_agree(&city).await?;
    reports_agree(&city).await?;
    for payer in &crowd {
        payer.all_is_right(SHOP).await?;
    }
    for person in office.everybody().chain([&mut seller]) {
        told_once(person).await?;
        private.extend(person.private());
    }
    nobody_is_known(&city, Secrets::new(private), (&office, &reports)).await?;
    city.finish().await
}

/// Nobody's personal data is where it does not belong, and a reporter is known to no agency.
async fn nobody_is_known(city: &City, mut secrets: Secrets, (office, reports): (&Office, &[String])) -> Result<()> {
    // Whoever looks does see: the shop stands in events, and the supervisor reads what the reporter wrote.
    ensure!(Secrets::new(vec![SHOP.to_owned()]).absent_in_events(city).await.is_err(), "events were not read");
    let written = Secrets::new(vec![TEXT.to_owned()]).absent_for_officer(&office.supervisor, reports).await;
    ensure!(written.is_err(), "answers to officers were not read");
    secrets.absent_in_events(city).await?;
    secrets.absent_in_logs(city)?;
    // Events and the log name people by id, which others must not learn of a reporter.
    secrets.and(office.citizen.user.to_string());
    secrets.absent_in_public(&city.visitor()?, reports).await?;
    for officer in &office.agencies {
        secrets.absent_for_officer(officer, reports).await?;
    }
    ensure!(secrets.looked() > 500, "only {} answers, events and lines were looked at", secrets.looked());
    Ok(())
}

#[tokio::test]
async fn a_day_with_faults_ends_right_in_one_process() -> Result<()> {
    a_day(Shape::AllInOne).await
}

#[tokio::test]
async fn a_day_with_faults_ends_right_with_one_process_per_role() -> Result<()> {
    a_day(Shape::Split).await
}
