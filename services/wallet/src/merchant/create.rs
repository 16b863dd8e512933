//! Making merchants, stores and tills: each in one transaction with its idempotency key.
//!
//! Lock: the owner's [`turn`] before what there is is counted, so that many requests at once make no more than there may be.

use chrono::{DateTime, SubsecRound as _, Utc};
use ledger::Reject;
use platform::id;
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{MAX_MERCHANTS, MAX_STORES, MAX_TILLS, Merchant, MerchantId, Store, StoreId, Till, TillId, sql};
use crate::account;
use crate::error::Error;
use crate::person::refuse_closing;
use crate::place::Place;
use crate::qr::{MAX_CITY, MAX_NAME, to_ascii};
use crate::text::{Category, Label};
use crate::turn::turn;

/// A merchant to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMerchant {
    /// What people know it by; its code shows the first 25 letters without marks.
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "Bún bò Mệ Kéo")]
    name: Label<100>,
    /// Where it is; the city itself when absent.
    #[schema(value_type = Option<String>, max_length = 60)]
    city: Option<Label<60>>,
    /// Merchant category of ISO 18245, four digits.
    #[schema(value_type = Option<String>, pattern = "^[0-9]{4}$", example = "5814")]
    category: Option<Category>,
}

/// A store to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewStore {
    /// What the merchant calls it.
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "Bạch Đằng")]
    name: Label<100>,
    /// Where it is.
    #[schema(value_type = Option<String>, max_length = 200)]
    address: Option<Label<200>>,
}

/// A till to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTill {
    /// What the merchant calls it.
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "Quầy 1")]
    name: Label<100>,
}

/// Makes a merchant of the citizen's.
pub(crate) async fn create_merchant(
    connection: &mut PgConnection,
    owner: Uuid,
    new: &NewMerchant,
    place: &Place,
    now: DateTime<Utc>,
) -> Result<Merchant, Error> {
    let city = new.city.as_ref().map_or(place.name.as_str(), Label::as_str);
    let mut merchant = Merchant {
        id: MerchantId::from(id::new()),
        number: 0,
        owner_user_id: owner,
        name: new.name.as_str().to_owned(),
        qr_name: printable(new.name.as_str(), MAX_NAME, "name")?,
        city: city.to_owned(),
        qr_city: printable(city, MAX_CITY, "city")?,
        category: new.category.as_ref().map(|category| category.as_str().to_owned()),
        created_at: stored(now),
        closed_at: None,
    };
    turn(connection, owner).await?;
    refuse_closing(connection, owner).await?;
    within(sql::count_merchants(connection, owner).await?, MAX_MERCHANTS)?;
    merchant.number = sql::insert_merchant(connection, &merchant).await?;
    Ok(merchant)
}

/// Makes a store of the citizen's merchant.
pub(crate) async fn create_store(
    connection: &mut PgConnection,
    owner: Uuid,
    merchant: MerchantId,
    new: &NewStore,
    now: DateTime<Utc>,
) -> Result<Store, Error> {
    let known = sql::own_merchant(connection, owner, merchant).await?.ok_or(Error::NotFound)?;
    if known.closed_at.is_some() {
        return Err(Error::Rejected(Reject::AccountClosed(account::merchant(merchant).id)));
    }
    turn(connection, owner).await?;
    within(sql::count_stores(connection, merchant).await?, MAX_STORES)?;
    let store = Store {
        id: StoreId::from(id::new()),
        merchant_id: merchant,
        name: new.name.as_str().to_owned(),
        address: new.address.as_ref().map(|address| address.as_str().to_owned()),
        created_at: stored(now),
    };
    sql::insert_store(connection, &store).await?;
    Ok(store)
}

/// Makes a till of a store of the citizen's.
pub(crate) async fn create_till(
    connection: &mut PgConnection,
    owner: Uuid,
    store: &Store,
    new: &NewTill,
    now: DateTime<Utc>,
) -> Result<Till, Error> {
    turn(connection, owner).await?;
    within(sql::count_tills(connection, store.id).await?, MAX_TILLS)?;
    let till = Till {
        id: TillId::from(id::new()),
        store_id: store.id,
        merchant_id: store.merchant_id,
        name: new.name.as_str().to_owned(),
        created_at: stored(now),
    };
    sql::insert_till(connection, &till).await?;
    Ok(till)
}

/// A time as the database keeps it, so that the first answer is the same as every later one.
fn stored(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

fn printable(text: &str, max: usize, field: &'static str) -> Result<String, Error> {
    let ascii = to_ascii(text, max);
    if ascii.is_empty() { Err(Error::Unprintable(field)) } else { Ok(ascii) }
}

fn within(count: i64, most: i64) -> Result<(), Error> {
    if count < most { Ok(()) } else { Err(Error::TooMany(most)) }
}
