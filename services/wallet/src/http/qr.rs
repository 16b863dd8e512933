//! `POST /wallet/v1/qr/decode`: what a scanned code says. No token is needed; nothing is stored.

use std::collections::BTreeMap;

use ledger::money::Money;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use axum::extract::State;

use super::App;
use crate::account::CURRENCY;
use crate::error::Error;
use crate::qr::{ADDITIONAL_NAMES, Account, Code, Initiation, Tip, VietQrService, decode as decode_payload};

/// A scanned payload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scanned {
    /// The text of the code, exactly as scanned.
    #[schema(max_length = 512)]
    payload: String,
}

/// What a code says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decoded {
    /// `static` (many payments) or `dynamic` (one payment, with its amount).
    initiation: &'static str,
    /// How much is asked for; absent when the payer says.
    amount: Option<Money>,
    /// ISO 4217.
    currency: &'static str,
    /// ISO 3166-1 alpha-2.
    country: String,
    /// Merchant category of ISO 18245.
    category: Option<String>,
    /// Name in the code.
    merchant_name: Option<String>,
    /// City in the code.
    merchant_city: Option<String>,
    /// Postal code in the code.
    postal_code: Option<String>,
    /// The till of this wallet, if the code pays one.
    till_id: Option<Uuid>,
    /// The bank account or card that any bank app can pay.
    vietqr: Option<DecodedVietQr>,
    /// Everybody that the code pays, in order of tags.
    accounts: Vec<DecodedAccount>,
    /// `asked`, or the fixed or percentage fee.
    tip: Option<DecodedTip>,
    /// Bill number, reference, purpose and the like; fields without a name are called by their tag.
    additional: BTreeMap<String, String>,
}

/// A bank account or card.
#[derive(Debug, Serialize, ToSchema)]
struct DecodedVietQr {
    /// Bank identification number.
    bin: String,
    /// The bank's code in the city's list, if it is there.
    bank_code: Option<String>,
    /// The bank's short name.
    bank_name: Option<String>,
    /// Account or card number.
    number: String,
    /// `account` or `card`.
    service: &'static str,
}

/// One payee of a code.
#[derive(Debug, Serialize, ToSchema)]
struct DecodedAccount {
    /// `network`, `vietqr`, `till` or `other`.
    kind: &'static str,
    /// Its tag.
    tag: u8,
    /// Who defines its fields; absent for networks.
    aid: Option<String>,
    /// Its fields by sub-tag.
    fields: BTreeMap<String, String>,
}

/// What is asked on top.
#[derive(Debug, Serialize, ToSchema)]
struct DecodedTip {
    /// `asked`, `fixed` or `percentage`.
    kind: &'static str,
    /// The fee as written.
    value: Option<String>,
}

/// Reads a payment code.
///
/// Strict: what two careful readers could understand differently is refused.
#[utoipa::path(
    post,
    path = "/wallet/v1/qr/decode",
    tag = "wallet",
    operation_id = "decodeQr",
    request_body = Scanned,
    responses(
        (status = 200, description = "The fields of the code", body = Decoded),
        (status = 422, description = "Not a right code; `code` says why: qr-not-payment-code, qr-too-long, qr-version, qr-crc, qr-length, qr-missing-field, qr-duplicate-field, qr-order, qr-field, qr-amount, qr-currency, qr-text"),
    )
)]
pub(super) async fn decode(State(wallet): State<App>, Json(scanned): Json<Scanned>) -> Result<Json<Decoded>, Problem> {
    let code = decode_payload(&scanned.payload).map_err(Error::from)?;
    Ok(Json(view(code, &wallet)))
}

fn view(code: Code, wallet: &App) -> Decoded {
    let vietqr = code.vietqr().map(|vietqr| {
        let bank = wallet.directory.banks.by_bin(&vietqr.bin);
        DecodedVietQr {
            bin: vietqr.bin.clone(),
            bank_code: bank.map(|bank| bank.code.clone()),
            bank_name: bank.map(|bank| bank.short_name.clone()),
            number: vietqr.number.clone(),
            service: match vietqr.service {
                VietQrService::Account => "account",
                VietQrService::Card => "card",
            },
        }
    });
    Decoded {
        initiation: match code.initiation {
            Initiation::Static => "static",
            Initiation::Dynamic => "dynamic",
        },
        amount: code.amount.map(|amount| Money::from_minor(amount, CURRENCY)),
        currency: CURRENCY.code(),
        till_id: code.till(),
        vietqr,
        accounts: code.accounts.into_iter().map(account).collect(),
        tip: code.tip.map(tip),
        additional: code.additional.into_iter().map(|(tag, value)| (additional_name(tag), value)).collect(),
        country: code.country,
        category: code.category,
        merchant_name: code.name,
        merchant_city: code.city,
        postal_code: code.postal_code,
    }
}

fn account(account: Account) -> DecodedAccount {
    let named = |kind, tag, aid: &str| DecodedAccount { kind, tag, aid: Some(aid.to_owned()), fields: BTreeMap::new() };
    match account {
        Account::Network { tag, value } => {
            DecodedAccount { kind: "network", tag, aid: None, fields: BTreeMap::from([("value".to_owned(), value)]) }
        }
        Account::VietQr(_) => named("vietqr", crate::qr::VIETQR_TAG, crate::qr::VIETQR_AID),
        Account::Till(_) => named("till", crate::qr::TILL_TAG, crate::qr::TILL_AID),
        Account::Other { tag, aid, fields } => DecodedAccount {
            kind: "other",
            tag,
            aid: Some(aid),
            fields: fields.into_iter().map(|(tag, value)| (format!("{tag:02}"), value)).collect(),
        },
    }
}

fn tip(tip: Tip) -> DecodedTip {
    match tip {
        Tip::Asked => DecodedTip { kind: "asked", value: None },
        Tip::Fixed(value) => DecodedTip { kind: "fixed", value: Some(value) },
        Tip::Percentage(value) => DecodedTip { kind: "percentage", value: Some(value) },
    }
}

fn additional_name(tag: u8) -> String {
    let name = ADDITIONAL_NAMES.iter().find(|(known, _)| *known == tag).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("{tag:02}"))
}
