//! A day of the city, in both shapes: everybody goes on while servers, roles and the whole program die in a random order. In the end the books are
//! in balance, every saga has ended, the operations centre says what the books say, nobody was told anything twice, and nobody learnt who somebody is.
//!
//! One day of each shape is always the same, the other is new each time; `SEED=N` repeats what a day has printed.

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use futures::future::try_join_all;
use harness::{City, Shape};
use journeys::agency::Agency;
use journeys::crowd::{Act, Partners, Payer, told_once};
use journeys::dice::Dice;
use journeys::figures::{payments_agree, reports_agree};
use journeys::office::{IN_PICTURE, Office, TEXT};
use journeys::privacy::Secrets;
use tokio::sync::watch;

const SHOP: &str = "Bún bò Mệ Kéo";
const NAMES: [&str; 3] = ["Công Tằng Tôn Nữ Riêng Tư", "Nguyễn Phước Kín Đáo", "Hồ Đắc Không Ai Biết"];
/// The day has so many parts; between them the clock goes on.
const QUARTERS: usize = 4;
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
    /// A role of a split city.
    Kill(&'static str),
    /// All roles at once.
    KillProgram,
}

fn troubles(shape: Shape) -> Vec<Trouble> {
    let mut all = vec![Trouble::WipeRedis, Trouble::CutDatabase];
    match shape {
        Shape::AllInOne => all.extend([Trouble::LoseRedis, Trouble::CrashPostgres, Trouble::KillProgram]),
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
            Trouble::KillProgram => city.kill_program().await?,
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

async fn live(payer: &mut Payer, with: Partners<'_>, mut dice: Dice, done: watch::Sender<usize>) -> Result<()> {
    let mut acts = Act::ALL;
    dice.shuffle(&mut acts);
    for act in acts {
        payer.act(act, with, &mut dice).await.with_context(|| format!("{act:?}"))?;
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

async fn a_day(city: City, shape: Shape, mut dice: Dice) -> Result<()> {
    let mut seller = city.visitor()?.sign_up().await?;
    let shop = seller.open_shop(SHOP).await?;
    let (mut office, agency) = tokio::try_join!(Office::open(&city), Agency::open(&city))?;
    let mut crowd = try_join_all(NAMES.map(|name| Payer::arrive(&city, name))).await?;
    let mut all = troubles(shape);
    dice.shuffle(&mut all);
    let mut reports = Vec::new();
    // Tokens of the whole day are secret, also those that a later one has replaced.
    let mut private = agency.private();
    let private_at_dawn = private.len();
    for quarter in 0..QUARTERS {
        let list: Vec<Trouble> = all.iter().skip(quarter).step_by(QUARTERS).copied().collect();
        private.extend(crowd.iter().flat_map(Payer::private));
        let done = watch::Sender::new(0);
        let trouble = make_trouble(&city, &list, done.subscribe());
        let with = Partners { city: &city, shop: &shop, seller: &seller, agency: &agency };
        let lives = try_join_all(crowd.iter_mut().map(|payer| live(payer, with, dice.fork(), done.clone())));
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
    let mut codes = vec![agency.code()];
    for payer in &crowd {
        payer.all_is_right((SHOP, &agency)).await?;
        private.extend(payer.private());
        codes.extend(payer.codes());
    }
    for person in office.everybody().chain([&mut seller]) {
        told_once(person).await?;
        private.extend(person.private());
        codes.push(person.code.clone());
    }
    // The agency's program got its tokens while the day went by.
    ensure!(agency.private().len() > private_at_dawn, "the program got no token");
    private.extend(agency.private());
    nobody_is_known(&city, Secrets::new(private).with_codes(codes), (&office, &agency, &reports)).await?;
    city.finish().await
}

/// Nobody's personal data is where it does not belong, and a reporter is known to no agency.
async fn nobody_is_known(
    city: &City,
    mut secrets: Secrets,
    (office, agency, reports): (&Office, &Agency, &[String]),
) -> Result<()> {
    // Whoever looks does see: the shop stands in events, and the supervisor reads what the reporter wrote.
    ensure!(Secrets::new(vec![SHOP.to_owned()]).absent_in_events(city).await.is_err(), "events were not read");
    let written = Secrets::new(vec![TEXT.to_owned()]).absent_for_officer(&office.supervisor, reports).await;
    ensure!(written.is_err(), "answers to officers were not read");
    secrets.absent_in_events(city).await?;
    secrets.absent_in_logs(city)?;
    for (place, told) in
        [("what the agency heard", agency.heard().await?.into()), ("its notices", agency.notices().await?)]
    {
        secrets.absent(place, told.to_string().as_bytes())?;
    }
    // Events and the log name people by id, which others must not learn of a reporter.
    secrets.and(office.citizen.user.to_string());
    secrets.absent_in_public(&city.visitor()?, reports).await?;
    for officer in &office.agencies {
        secrets.absent_for_officer(officer, reports).await?;
    }
    let mut pictures = Secrets::new(vec![IN_PICTURE.to_owned()]);
    pictures.absent_for_officer(&office.supervisor, reports).await?;
    ensure!(pictures.photos() > 0, "no photo was looked at");
    ensure!(secrets.looked() > 500, "only {} answers, events and lines were looked at", secrets.looked());
    Ok(())
}

#[tokio::test]
async fn a_day_with_faults_ends_right_in_one_process() -> Result<()> {
    a_day(City::mortal().await?, Shape::AllInOne, Dice::fixed()).await
}

#[tokio::test]
async fn a_day_with_faults_ends_right_with_one_process_per_role() -> Result<()> {
    a_day(City::split().await?, Shape::Split, Dice::fixed()).await
}

#[tokio::test]
async fn a_random_day_with_faults_ends_right_in_one_process() -> Result<()> {
    a_day(City::mortal().await?, Shape::AllInOne, Dice::thrown()).await
}

#[tokio::test]
async fn a_random_day_with_faults_ends_right_with_one_process_per_role() -> Result<()> {
    a_day(City::split().await?, Shape::Split, Dice::thrown()).await
}
