//! [`Code`] → text, in the order of tags, lengths in characters, checksum in upper case.

use super::tlv::{self, Path};
use super::{
    Account, Code, Fault, Initiation, Reason, TILL_AID, TILL_TAG, Tip, VIETQR_AID, VIETQR_TAG, VND_NUMERIC,
    VietQrService, crc, decode,
};

/// Writes a payload and reads it back, so that nothing leaves here that our own strict reader would refuse or misread.
///
/// # Errors
/// A [`Fault`] for a code that cannot be written: a value that is empty, too long or of the wrong form.
pub fn encode(code: &Code) -> Result<String, Fault> {
    let payload = write(code)?;
    if decode(&payload)? == *code { Ok(payload) } else { Err(Fault::new(Reason::Field, "")) }
}

fn write(code: &Code) -> Result<String, Fault> {
    let mut out = String::with_capacity(super::MAX_PAYLOAD);
    let mut put = |tag: u8, value: &str| tlv::write(&mut out, tag, value, Path::OUTSIDE);
    put(0, "01")?;
    put(1, if code.initiation == Initiation::Static { "11" } else { "12" })?;
    for account in &code.accounts {
        let (tag, value) = account_field(account)?;
        put(tag, &value)?;
    }
    put_some(&mut put, 52, code.category.as_deref())?;
    put(53, VND_NUMERIC)?;
    put_some(&mut put, 54, code.amount.map(|amount| amount.to_string()).as_deref())?;
    match &code.tip {
        None => {}
        Some(Tip::Asked) => put(55, "01")?,
        Some(Tip::Fixed(fee)) => {
            put(55, "02")?;
            put(56, fee)?;
        }
        Some(Tip::Percentage(share)) => {
            put(55, "03")?;
            put(57, share)?;
        }
    }
    put(58, &code.country)?;
    put_some(&mut put, 59, code.name.as_deref())?;
    put_some(&mut put, 60, code.city.as_deref())?;
    put_some(&mut put, 61, code.postal_code.as_deref())?;
    if !code.additional.is_empty() {
        put(62, &template(code.additional.iter().map(|(tag, value)| (*tag, value.as_str())), Path::OUTSIDE.then(62))?)?;
    }
    if let Some(language) = &code.language {
        let fields = [(0, Some(language.code.as_str())), (1, Some(&*language.name)), (2, language.city.as_deref())];
        put(
            64,
            &template(
                fields.into_iter().filter_map(|(tag, value)| value.map(|value| (tag, value))),
                Path::OUTSIDE.then(64),
            )?,
        )?;
    }
    for (tag, value) in &code.unread {
        put(*tag, value)?;
    }
    out.push_str("6304");
    let checksum = crc::checksum(out.as_bytes());
    out.push_str(&format!("{checksum:04X}"));
    Ok(out)
}

fn put_some(put: &mut impl FnMut(u8, &str) -> Result<(), Fault>, tag: u8, value: Option<&str>) -> Result<(), Fault> {
    value.map_or(Ok(()), |value| put(tag, value))
}

fn account_field(account: &Account) -> Result<(u8, String), Fault> {
    match account {
        Account::Network { tag, value } => Ok((*tag, value.clone())),
        Account::VietQr(vietqr) => {
            let path = Path::OUTSIDE.then(VIETQR_TAG);
            let beneficiary = template([(0, &*vietqr.bin), (1, &*vietqr.number)].into_iter(), path.then(1))?;
            let service = match vietqr.service {
                VietQrService::Account => "QRIBFTTA",
                VietQrService::Card => "QRIBFTTC",
            };
            Ok((VIETQR_TAG, template([(0, VIETQR_AID), (1, &*beneficiary), (2, service)].into_iter(), path)?))
        }
        Account::Till(till) => {
            let till = till.simple().to_string();
            Ok((TILL_TAG, template([(0, TILL_AID), (1, &*till)].into_iter(), Path::OUTSIDE.then(TILL_TAG))?))
        }
        Account::Other { tag, aid, fields } => {
            let all =
                std::iter::once((0, aid.as_str())).chain(fields.iter().map(|(tag, value)| (*tag, value.as_str())));
            Ok((*tag, template(all, Path::OUTSIDE.then(*tag))?))
        }
    }
}

fn template<'a>(fields: impl Iterator<Item = (u8, &'a str)>, path: Path) -> Result<String, Fault> {
    let mut out = String::new();
    for (tag, value) in fields {
        tlv::write(&mut out, tag, value, path)?;
    }
    Ok(out)
}
