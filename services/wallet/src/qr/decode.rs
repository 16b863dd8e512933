//! Text → [`Code`], strictly. The checksum is looked at first, then the grammar, then each field.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::tlv::{self, Field, Path, Unit};
use super::{
    Account, Code, Fault, Initiation, Language, MAX_CITY, MAX_NAME, MAX_PAYLOAD, Reason, TILL_AID, TILL_TAG, Tip,
    VIETQR_AID, VIETQR_TAG, VND_NUMERIC, VietQr, VietQrService, crc,
};

/// Most digits of an amount: EMVCo gives tag 54 at most 13 characters.
const MAX_AMOUNT_DIGITS: usize = 13;
/// Most characters of an account or card number in VietQR.
const MAX_ACCOUNT_NUMBER: usize = 19;
/// Most characters of a postal code (tag 61).
const MAX_POSTAL_CODE: usize = 10;
/// What tag 63 with its length looks like.
const CRC_HEAD: &str = "6304";

/// Reads a payload as it was scanned, without any trimming.
///
/// Text beyond ASCII makes the lengths ambiguous: they may count characters or bytes.
/// It is accepted if exactly one of the two readings is right, or both say the same.
///
/// # Errors
/// A [`Fault`] with a stable code and the tag where it stands.
pub fn decode(payload: &str) -> Result<Code, Fault> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Fault::new(Reason::TooLong, ""));
    }
    if !payload.starts_with("0002") {
        return Err(Fault::new(Reason::NotPaymentCode, ""));
    }
    check_crc(payload)?;
    if payload.chars().any(char::is_control) {
        return Err(Fault::new(Reason::Text, ""));
    }
    let by_characters = read(payload, Unit::Characters);
    if payload.is_ascii() {
        return by_characters;
    }
    match (by_characters, read(payload, Unit::Bytes)) {
        (Ok(one), Ok(other)) if one != other => Err(Fault::new(Reason::Text, "")),
        (Ok(code), _) | (Err(_), Ok(code)) => Ok(code),
        (Err(fault), Err(_)) => Err(fault),
    }
}

/// The checksum covers all text before its own four digits, which are all upper-case or all lower-case.
fn check_crc(payload: &str) -> Result<(), Fault> {
    let Some((covered, digits)) = payload.len().checked_sub(4).and_then(|end| payload.split_at_checked(end)) else {
        return Err(Fault::new(Reason::Length, ""));
    };
    if !covered.ends_with(CRC_HEAD) {
        let fields = tlv::parse(payload, Unit::Characters, Path::OUTSIDE)
            .or_else(|fault| tlv::parse(payload, Unit::Bytes, Path::OUTSIDE).map_err(|_| fault))?;
        let reason = if fields.iter().any(|field| field.tag == 63) { Reason::Order } else { Reason::MissingField };
        return Err(Fault::new(reason, "63"));
    }
    let expected = crc::checksum(covered.as_bytes());
    let cased = |other: fn(&u8) -> bool| !digits.bytes().any(|digit| other(&digit));
    let same_case = cased(u8::is_ascii_lowercase) || cased(u8::is_ascii_uppercase);
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if hexadecimal && same_case && u16::from_str_radix(digits, 16) == Ok(expected) {
        Ok(())
    } else {
        Err(Fault::new(Reason::Crc, "63"))
    }
}

fn read(payload: &str, unit: Unit) -> Result<Code, Fault> {
    let fields = tlv::parse(payload, unit, Path::OUTSIDE)?;
    let ends = (fields.first().map(|field| field.tag), fields.last().map(|field| field.tag));
    if ends != (Some(0), Some(63)) {
        return Err(Fault::new(Reason::Order, if ends.0 == Some(0) { "63" } else { "00" }));
    }
    if fields[0].value != "01" {
        return Err(Fault::new(Reason::Version, "00"));
    }
    let outer = Template { path: Path::OUTSIDE, fields: &fields };
    let initiation = match outer.get(1) {
        None | Some("11") => Initiation::Static,
        Some("12") => Initiation::Dynamic,
        Some(_) => return Err(Fault::new(Reason::Field, "01")),
    };
    if outer.require(53)? != VND_NUMERIC {
        return Err(Fault::new(Reason::Currency, "53"));
    }
    let amount = outer.get(54).map(amount).transpose()?;
    if initiation == Initiation::Dynamic && amount.is_none() {
        return Err(Fault::new(Reason::MissingField, "54"));
    }
    Ok(Code {
        initiation,
        accounts: accounts(&outer, unit)?,
        category: outer.text(52, |value| value.len() == 4 && digits(value))?,
        amount,
        tip: tip(&outer)?,
        country: {
            outer.require(58)?;
            outer
                .text(58, |value| value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_uppercase()))?
                .unwrap_or_default()
        },
        name: outer.text(59, |value| value.chars().count() <= MAX_NAME)?,
        city: outer.text(60, |value| value.chars().count() <= MAX_CITY)?,
        postal_code: outer.text(61, |value| value.chars().count() <= MAX_POSTAL_CODE)?,
        additional: match outer.get(62) {
            None => BTreeMap::new(),
            Some(value) => values(&tlv::parse(value, unit, Path::OUTSIDE.then(62))?),
        },
        language: outer.get(64).map(|value| language(value, unit)).transpose()?,
        unread: values(&fields.iter().filter(|field| field.tag >= 65).copied().collect::<Vec<_>>()),
    })
}

/// Fields with the dotted tag of their template, for faults.
struct Template<'a> {
    path: Path,
    fields: &'a [Field<'a>],
}

impl<'a> Template<'a> {
    fn get(&self, tag: u8) -> Option<&'a str> {
        self.fields.iter().find(|field| field.tag == tag).map(|field| field.value)
    }

    fn require(&self, tag: u8) -> Result<&'a str, Fault> {
        self.get(tag).ok_or_else(|| Fault::new(Reason::MissingField, self.path.then(tag)))
    }

    fn text(&self, tag: u8, fits: impl Fn(&str) -> bool) -> Result<Option<String>, Fault> {
        match self.get(tag) {
            Some(value) if fits(value) => Ok(Some(value.to_owned())),
            Some(_) => Err(Fault::new(Reason::Field, self.path.then(tag))),
            None => Ok(None),
        }
    }
}

fn accounts(outer: &Template<'_>, unit: Unit) -> Result<Vec<Account>, Fault> {
    let mut accounts = outer
        .fields
        .iter()
        .filter(|field| (2..=51).contains(&field.tag))
        .map(|field| match field.tag {
            2..=25 => Ok((field.tag, Account::Network { tag: field.tag, value: field.value.to_owned() })),
            _ => template(field, unit).map(|account| (field.tag, account)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if accounts.is_empty() {
        return Err(Fault::new(Reason::MissingField, "26"));
    }
    accounts.sort_by_key(|(tag, _)| *tag);
    Ok(accounts.into_iter().map(|(_, account)| account).collect())
}

fn template(field: &Field<'_>, unit: Unit) -> Result<Account, Fault> {
    let path = Path::OUTSIDE.then(field.tag);
    let fields = tlv::parse(field.value, unit, path)?;
    let inner = Template { path, fields: &fields };
    let aid = inner.require(0)?;
    match (field.tag, aid) {
        (VIETQR_TAG, VIETQR_AID) => vietqr(&inner, unit).map(Account::VietQr),
        (TILL_TAG, TILL_AID) => till(&inner).map(Account::Till),
        _ => {
            let mut others = values(&fields);
            others.remove(&0);
            Ok(Account::Other { tag: field.tag, aid: aid.to_owned(), fields: others })
        }
    }
}

fn vietqr(template: &Template<'_>, unit: Unit) -> Result<VietQr, Fault> {
    only(template, &[0, 1, 2])?;
    let beneficiary = template.require(1)?;
    let path = template.path.then(1);
    let fields = tlv::parse(beneficiary, unit, path)?;
    let inner = Template { path, fields: &fields };
    only(&inner, &[0, 1])?;
    inner.require(0)?;
    inner.require(1)?;
    let service = match template.require(2)? {
        "QRIBFTTA" => VietQrService::Account,
        "QRIBFTTC" => VietQrService::Card,
        _ => return Err(Fault::new(Reason::Field, template.path.then(2))),
    };
    let number_fits =
        |value: &str| value.len() <= MAX_ACCOUNT_NUMBER && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Ok(VietQr {
        bin: inner.text(0, |value| value.len() == 6 && digits(value))?.unwrap_or_default(),
        number: inner.text(1, number_fits)?.unwrap_or_default(),
        service,
    })
}

/// Our template carries the till's identifier as 32 lower-case hexadecimal digits.
fn till(template: &Template<'_>) -> Result<Uuid, Fault> {
    only(template, &[0, 1])?;
    let text = template.require(1)?;
    Uuid::try_parse(text)
        .ok()
        .filter(|till| *till.simple().encode_lower(&mut Uuid::encode_buffer()) == *text)
        .ok_or_else(|| Fault::new(Reason::Field, template.path.then(1)))
}

/// A field that another reader could take for part of whom to pay is refused, not skipped.
fn only(template: &Template<'_>, known: &[u8]) -> Result<(), Fault> {
    match template.fields.iter().find(|field| !known.contains(&field.tag)) {
        Some(field) => Err(Fault::new(Reason::Field, template.path.then(field.tag))),
        None => Ok(()),
    }
}

/// Positive whole đồng. Đồng have no fraction, so a decimal point is refused even before zeros.
fn amount(text: &str) -> Result<i64, Fault> {
    let fits = text.len() <= MAX_AMOUNT_DIGITS && digits(text) && !text.starts_with('0');
    let parsed = if fits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| Fault::new(Reason::Amount, "54"))
}

fn tip(outer: &Template<'_>) -> Result<Option<Tip>, Fault> {
    let number = |tag: u8| -> Result<String, Fault> {
        let value = outer.require(tag)?;
        let fits = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && value.bytes().filter(|byte| *byte == b'.').count() <= 1;
        if fits && value.bytes().any(|byte| byte.is_ascii_digit()) {
            Ok(value.to_owned())
        } else {
            Err(Fault::new(Reason::Field, Path::OUTSIDE.then(tag)))
        }
    };
    let (tip, allowed) = match outer.get(55) {
        None => (None, None),
        Some("01") => (Some(Tip::Asked), None),
        Some("02") => (Some(Tip::Fixed(number(56)?)), Some(56)),
        Some("03") => (Some(Tip::Percentage(number(57)?)), Some(57)),
        Some(_) => return Err(Fault::new(Reason::Field, "55")),
    };
    match [56, 57].into_iter().find(|tag| Some(*tag) != allowed && outer.get(*tag).is_some()) {
        Some(stray) => Err(Fault::new(Reason::Field, Path::OUTSIDE.then(stray))),
        None => Ok(tip),
    }
}

fn language(value: &str, unit: Unit) -> Result<Language, Fault> {
    let path = Path::OUTSIDE.then(64);
    let fields = tlv::parse(value, unit, path)?;
    let inner = Template { path, fields: &fields };
    inner.require(0)?;
    Ok(Language {
        code: inner
            .text(0, |code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()))?
            .unwrap_or_default(),
        name: inner.require(1)?.to_owned(),
        city: inner.get(2).map(str::to_owned),
    })
}

fn values(fields: &[Field<'_>]) -> BTreeMap<u8, String> {
    fields.iter().map(|field| (field.tag, field.value.to_owned())).collect()
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
