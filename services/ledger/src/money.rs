//! Money: an exact amount in one currency.
//!
//! In Rust an amount is a [`Decimal`] with exactly the currency's number of digits; in SQL it is a `bigint` of minor units.
//! Invariant: every [`Money`] fits an `i64` of minor units, so that writing it can't fail.
//! No float touches this module.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{PartialSchema, ToSchema};

/// The most characters of an amount on the wire: a sign, 19 digits and a point.
const MAX_AMOUNT_CHARS: usize = 21;

/// A currency of ISO 4217, with its number of minor digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Currency {
    /// Vietnamese đồng; it has no minor unit.
    Vnd,
    /// United States dollar; 100 cents.
    Usd,
}

impl Currency {
    /// Every currency that the ledger knows.
    pub const ALL: [Self; 2] = [Self::Vnd, Self::Usd];

    /// The alphabetic code of ISO 4217.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Vnd => "VND",
            Self::Usd => "USD",
        }
    }

    /// The numeric code of ISO 4217, which is what the database stores.
    pub const fn numeric(self) -> i16 {
        match self {
            Self::Vnd => 704,
            Self::Usd => 840,
        }
    }

    /// How many decimal digits an amount has.
    pub const fn digits(self) -> u32 {
        match self {
            Self::Vnd => 0,
            Self::Usd => 2,
        }
    }

    /// The currency of a numeric code.
    pub fn from_numeric(numeric: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|currency| currency.numeric() == numeric)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Self::ALL.into_iter().find(|currency| currency.code() == code).ok_or(MoneyError::UnknownCurrency)
    }
}

/// Why an amount is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies met in one calculation.
    #[error("amounts of different currencies can't be combined")]
    MixedCurrencies,
    /// More decimal digits than the currency has.
    #[error("the amount has more decimal digits than its currency")]
    ExcessScale,
    /// Outside the range of 64-bit minor units.
    #[error("the amount is out of range")]
    Overflow,
    /// Zero or below where money must move.
    #[error("the amount must be greater than zero")]
    NotPositive,
    /// Not written as plain digits.
    #[error("the amount must be plain decimal digits")]
    Malformed,
    /// A currency that the ledger does not know.
    #[error("the currency is not known")]
    UnknownCurrency,
}

impl MoneyError {
    /// The stable code of this refusal.
    pub fn code(self) -> &'static str {
        match self {
            Self::MixedCurrencies => "mixed-currencies",
            Self::ExcessScale => "amount-excess-scale",
            Self::Overflow => "amount-out-of-range",
            Self::NotPositive => "amount-not-positive",
            Self::Malformed => "amount-malformed",
            Self::UnknownCurrency => "currency-unknown",
        }
    }
}

/// An exact amount of one currency; it may be negative, as a balance can.
///
/// On the wire: `{"amount":"150000","currency":"VND"}`, a decimal string of plain digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// An amount from a decimal number.
    ///
    /// # Errors
    /// When it has more digits than the currency, or does not fit 64-bit minor units.
    pub fn try_new(amount: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let plain = amount.normalize();
        if plain.scale() > currency.digits() {
            return Err(MoneyError::ExcessScale);
        }
        let mut scaled = plain;
        scaled.rescale(currency.digits());
        // Rescaling gives up digits rather than failing when the mantissa has no room.
        if scaled.scale() != currency.digits() || i64::try_from(scaled.mantissa()).is_err() {
            return Err(MoneyError::Overflow);
        }
        Ok(Self { amount: scaled, currency })
    }

    /// An amount from minor units: đồng, cents.
    pub fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { amount: Decimal::new(minor, currency.digits()), currency }
    }

    /// An amount of đồng.
    pub fn vnd(dong: i64) -> Self {
        Self::from_minor(dong, Currency::Vnd)
    }

    /// Nothing, in a currency.
    pub fn zero(currency: Currency) -> Self {
        Self::from_minor(0, currency)
    }

    /// Reads a decimal string of plain digits: no sign but `-`, no leading zeros, no exponent, no blanks.
    ///
    /// # Errors
    /// When it is not such a string, has too many decimal digits, or is out of range.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if !plain(whole) || leading_zero || fraction.is_some_and(|fraction| !plain(fraction)) {
            return Err(MoneyError::Malformed);
        }
        if fraction.is_some_and(|fraction| fraction.len() > currency.digits() as usize) {
            return Err(MoneyError::ExcessScale);
        }
        if text.len() > MAX_AMOUNT_CHARS {
            return Err(MoneyError::Overflow);
        }
        let amount = Decimal::from_str_exact(text).map_err(|_| MoneyError::Overflow)?;
        let money = Self::try_new(amount, currency)?;
        if money.is_zero() && text.starts_with('-') {
            return Err(MoneyError::Malformed);
        }
        Ok(money)
    }

    /// The amount as a decimal number with the currency's digits.
    pub fn amount(self) -> Decimal {
        self.amount
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The amount in minor units, as SQL stores it.
    pub fn minor(self) -> i64 {
        i64::try_from(self.amount.mantissa()).expect("an amount fits 64-bit minor units")
    }

    /// Whether this is nothing.
    pub fn is_zero(self) -> bool {
        self.minor() == 0
    }

    /// Whether this is below zero.
    pub fn is_negative(self) -> bool {
        self.minor() < 0
    }

    /// Whether this is above zero.
    pub fn is_positive(self) -> bool {
        self.minor() > 0
    }

    /// This amount, if it is above zero.
    ///
    /// # Errors
    /// [`MoneyError::NotPositive`] otherwise.
    pub fn positive(self) -> Result<Self, MoneyError> {
        if self.is_positive() { Ok(self) } else { Err(MoneyError::NotPositive) }
    }

    /// The sum of two amounts.
    ///
    /// # Errors
    /// When the currencies differ or the sum is out of range.
    pub fn try_add(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_add)
    }

    /// The difference of two amounts.
    ///
    /// # Errors
    /// When the currencies differ or the difference is out of range.
    pub fn try_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.combine(other, i64::checked_sub)
    }

    /// The sum of many amounts of one currency.
    ///
    /// # Errors
    /// As [`Money::try_add`].
    pub fn try_sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::try_add)
    }

    fn combine(self, other: Self, operation: fn(i64, i64) -> Option<i64>) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies);
        }
        let minor = operation(self.minor(), other.minor()).ok_or(MoneyError::Overflow)?;
        Ok(Self::from_minor(minor, self.currency))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.amount, self.currency)
    }
}

/// The shape of [`Money`] on the wire.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Money)]
struct Wire<'a> {
    /// Decimal digits, with a point only where the currency has minor units.
    #[serde(borrow)]
    #[schema(value_type = String, example = "150000", pattern = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$", max_length = 21)]
    amount: Cow<'a, str>,
    /// ISO 4217 alphabetic code.
    currency: Currency,
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::deserialize(deserializer)?;
        Self::parse(&wire.amount, wire.currency).map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Money {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Wire::schema()
    }
}

impl ToSchema for Money {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Money")
    }

    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        Wire::schemas(schemas);
    }
}

/// Money that must move: on the wire as [`Money`], but zero and below are refused while decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct PositiveMoney(Money);

impl PositiveMoney {
    /// The amount.
    pub fn money(self) -> Money {
        self.0
    }
}

impl TryFrom<Money> for PositiveMoney {
    type Error = MoneyError;

    fn try_from(money: Money) -> Result<Self, MoneyError> {
        money.positive().map(Self)
    }
}

impl From<PositiveMoney> for Money {
    fn from(money: PositiveMoney) -> Self {
        money.0
    }
}

impl<'de> Deserialize<'de> for PositiveMoney {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Money::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for PositiveMoney {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Money::schema()
    }
}

impl ToSchema for PositiveMoney {
    fn name() -> Cow<'static, str> {
        Money::name()
    }

    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
        Money::schemas(schemas);
    }
}

#[cfg(test)]
mod tests;
