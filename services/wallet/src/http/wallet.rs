//! The caller's wallet: what is in it and what happened to it.

use axum::extract::State;
use chrono::{DateTime, Utc};
use ledger::Account;
use ledger::limit::{Day, Period, Usage};
use ledger::money::{Currency, Money};
use platform::auth::Principal;
use platform::http::{Json, Language, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use crate::Wallet;
use crate::account::{self, CURRENCY, kind_name};
use crate::city::LimitClass;
use crate::error::Error;
use crate::history::{self, Line};
use crate::limit::{Bound, Moment, Subject, bounds, first_day_after};
use crate::person::word;

/// The caller's wallet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WalletView {
    /// What is booked.
    balance: Money,
    /// What can be spent: the balance less what is set aside.
    available: Money,
    currency: Currency,
    tier: TierView,
    /// What may be moved, and what is left of it; the least that is left decides.
    limits: Vec<LimitView>,
}

/// One limit of the city's rules.
#[derive(Debug, Serialize, ToSchema)]
struct LimitView {
    /// `general`; `essential` for public services, electricity, water and the like; `new-device` for a device bound a short while ago.
    class: &'static str,
    /// `transaction`, `day` or `month`, in the city's zone.
    period: &'static str,
    maximum: Money,
    /// What of it is spent or held; zero for one transaction.
    used: Money,
    left: Money,
    /// When nothing of it is used any more, whatever happens; absent for one transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<DateTime<Utc>>,
    /// When the limit itself ends: that of a new device, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<DateTime<Utc>>,
}

/// How well the citizen is known.
#[derive(Debug, Serialize, ToSchema)]
struct TierView {
    /// 0 = phone proved, 1 = citizen number proved, 2 = proved in person.
    level: u8,
    /// In the request's language.
    name: Option<String>,
    /// The most that one transaction may be.
    transaction_maximum: Option<Money>,
}

/// One transaction.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransactionView {
    id: Uuid,
    /// `top-up`, `payment`, `bill`, `fee` (of a public service), `payout` (of a shop that was closed), …
    kind: &'static str,
    /// `in` or `out`.
    direction: &'static str,
    amount: Money,
    /// The wallet's balance right after it.
    balance: Money,
    /// Who was on the other side: a merchant's name, a bank's short name, a biller's name.
    counterparty: Option<String>,
    note: Option<String>,
    /// The guardian who paid for the caller; absent when they paid themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    acted_by: Option<Uuid>,
    /// Its place in the journal.
    sequence: i64,
    time: DateTime<Utc>,
}

fn view(line: Line, wallet: &Wallet, language: Language) -> TransactionView {
    let biller = |code: String| wallet.directory.payee(&code, language);
    let bank = |code: String| wallet.directory.banks.by_code(&code).map_or(code, |bank| bank.short_name.clone());
    TransactionView {
        id: line.id,
        kind: kind_name(line.kind).unwrap_or("other"),
        direction: if line.incoming { "in" } else { "out" },
        amount: Money::from_minor(line.amount, CURRENCY),
        balance: Money::from_minor(line.balance, CURRENCY),
        counterparty: line.merchant_name.or_else(|| line.bank_code.map(bank)).or_else(|| line.biller_code.map(biller)),
        note: line.note,
        acted_by: line.acted_by,
        sequence: line.sequence,
        time: line.posted_at,
    }
}

/// The limits that nothing lifts, with what is left of each.
fn limits(wallet: &Wallet, account: Option<&Account>, bounds: &[Bound], moment: Moment) -> Vec<LimitView> {
    let (nothing, day) = (Usage::default(), Day::new(moment.day));
    let usage = account.map_or(&nothing, |account| &account.usage);
    let money = |minor| Money::from_minor(minor, CURRENCY);
    let view = |bound: &Bound| {
        let (class, ends_at) = match bound.subject {
            Subject::Class(LimitClass::General) => ("general", None),
            Subject::Class(LimitClass::Essential) => ("essential", None),
            Subject::NewDevice(over_at) => ("new-device", over_at),
            Subject::Unproved(_) => return None,
        };
        let limit = bound.limit;
        Some(LimitView {
            class,
            period: match limit.period {
                Period::Transaction => "transaction",
                Period::Day => "day",
                Period::Month => "month",
            },
            maximum: money(limit.maximum),
            used: money(usage.spent(limit.classes, limit.period, day)),
            left: money(limit.left(usage, day)),
            resets_at: first_day_after(limit.period, moment.day).map(|day| wallet.place.start_of(day)),
            ends_at,
        })
    };
    bounds.iter().filter_map(view).collect()
}

/// What is in the caller's wallet.
#[utoipa::path(
    get,
    path = "/wallet/v1/wallet",
    tag = "wallet",
    operation_id = "getWallet",
    responses((status = 200, body = WalletView)),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    principal: Principal,
    language: Language,
) -> Result<Json<WalletView>, Problem> {
    let id = account::citizen(principal.subject).id;
    let account = wallet.ledger.account(id).await?;
    let balance = account.as_ref().map(Account::balance);
    let standing = wallet.standings.ask((principal.subject, principal.session)).await?;
    let now = wallet.clock.now();
    let (level, day) = (standing.tier, wallet.place.day(now));
    let moment = Moment { now, day };
    let bounds = bounds(&wallet.rules, id, standing, moment).unwrap_or_default();
    let name = wallet.rules.tier_name(level, day).map(|(vi, en)| match language {
        Language::Vi => vi.to_owned(),
        Language::En => en.to_owned(),
    });
    let maximum = wallet.rules.transaction_maximum(day, level, LimitClass::General);
    Ok(Json(WalletView {
        balance: balance.map_or(Money::zero(CURRENCY), |balance| balance.posted),
        available: balance.map_or(Money::zero(CURRENCY), |balance| balance.available),
        currency: CURRENCY,
        tier: TierView {
            level,
            name,
            transaction_maximum: maximum.map(|maximum| Money::from_minor(maximum, CURRENCY)),
        },
        limits: limits(&wallet, account.as_ref(), &bounds, moment),
    }))
}

/// What happened to the caller's wallet, newest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/transactions",
    tag = "wallet",
    operation_id = "listTransactions",
    params(PageQuery),
    responses((status = 200, body = Page<TransactionView>)),
    security(("bearer" = []))
)]
pub(super) async fn transactions(
    State(wallet): State<App>,
    principal: Principal,
    language: Language,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<TransactionView>>, Problem> {
    let (limit, before) = (page.limit()?, page.after::<i64>()?);
    let account = account::citizen(principal.subject).id;
    let mut connection = wallet.pool.acquire().await?;
    let rows = history::before(&mut connection, account, before, limit + 1).await?;
    let mut page = Page::from_rows(rows, limit, |line| line.sequence);
    word::open(&wallet.persons, &mut connection, &mut page.items).await.map_err(Error::from)?;
    Ok(Json(page.map(|line| view(line, &wallet, language))))
}

/// One of the caller's transactions.
#[utoipa::path(
    get,
    path = "/wallet/v1/transactions/{transaction_id}",
    tag = "wallet",
    operation_id = "getTransaction",
    params(("transaction_id" = Uuid, Path)),
    responses((status = 200, body = TransactionView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn transaction(
    State(wallet): State<App>,
    principal: Principal,
    language: Language,
    Path(id): Path<Uuid>,
) -> Result<Json<TransactionView>, Problem> {
    let account = account::citizen(principal.subject).id;
    let mut connection = wallet.pool.acquire().await?;
    let mut line = history::one(&mut connection, account, id).await?.ok_or(Error::NotFound)?;
    word::open(&wallet.persons, &mut connection, std::slice::from_mut(&mut line)).await.map_err(Error::from)?;
    Ok(Json(view(line, &wallet, language)))
}
