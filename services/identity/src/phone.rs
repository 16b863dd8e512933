//! Phone numbers: read as people write them, kept as E.164.
//!
//! Pure. Invariant: a [`Phone`] is a valid mobile number of a served region, and its digits leave this type only by
//! [`Phone::e164`]; `Debug` and `Display` show the masked form.

use std::fmt;
use std::str::FromStr as _;

use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;
use phonenumber::{Mode, Type};

/// More characters than any written number has.
const MAX_WRITTEN: usize = 32;

/// A mobile number in E.164.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Phone {
    e164: String,
    /// How many characters `+` and country code take.
    code_length: usize,
}

/// Why a text is not a number that may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PhoneFault {
    /// Not a valid number.
    #[error("not a valid phone number")]
    Invalid,
    /// A valid number that can't receive messages, or of unknown kind.
    #[error("not a mobile number")]
    NotMobile,
    /// A valid number of a region that is not served.
    #[error("not a number of a served region")]
    NotServed,
}

/// Which numbers may sign in.
#[derive(Clone, Debug)]
pub(crate) struct Numbering {
    region: Id,
    served: Vec<Id>,
}

impl Numbering {
    /// `region` reads numbers without country code; `served` are the regions that may sign in.
    ///
    /// Gives the name that is not a region, if any.
    pub(crate) fn try_new(region: &str, served: &[String]) -> Result<Self, String> {
        // Looking a region up also loads the numbering plans, before the first request needs them.
        let known = |id: &Id| DATABASE.by_id(id.as_ref()).is_some();
        let id = |name: &str| Id::from_str(name).ok().filter(known).ok_or_else(|| name.to_owned());
        Ok(Self { region: id(region)?, served: served.iter().map(|name| id(name)).collect::<Result<_, _>>()? })
    }

    /// Reads a number as a person writes it: `0912 345 678`, `+84 91.234.5678`, `(091) 234-5678`.
    pub(crate) fn parse(&self, written: &str) -> Result<Phone, PhoneFault> {
        let plausible = written.len() <= MAX_WRITTEN
            && written.chars().all(|character| character.is_ascii_digit() || " +-.()".contains(character));
        if !plausible {
            return Err(PhoneFault::Invalid);
        }
        let number = phonenumber::parse(Some(self.region), written.trim()).map_err(|_| PhoneFault::Invalid)?;
        if !number.is_valid() || number.extension().is_some() {
            return Err(PhoneFault::Invalid);
        }
        if !number.country().id().is_some_and(|id| self.served.contains(&id)) {
            return Err(PhoneFault::NotServed);
        }
        if !matches!(number.number_type(&DATABASE), Type::Mobile | Type::FixedLineOrMobile) {
            return Err(PhoneFault::NotMobile);
        }
        let code_length = 1 + number.code().value().to_string().len();
        Ok(Phone { e164: number.format().mode(Mode::E164).to_string(), code_length })
    }

    /// Takes a number that was stored in E.164.
    pub(crate) fn stored(&self, e164: String) -> Result<Phone, PhoneFault> {
        let number = phonenumber::parse(None, &e164).map_err(|_| PhoneFault::Invalid)?;
        Ok(Phone { code_length: 1 + number.code().value().to_string().len(), e164 })
    }
}

impl Phone {
    /// The number in E.164; keep it out of logs, metrics and errors.
    pub(crate) fn e164(&self) -> &str {
        &self.e164
    }

    /// What it shares with the 9,999 numbers that differ in the last four digits only; keep it out of logs too.
    pub(crate) fn prefix(&self) -> &str {
        const OWN: usize = 4;
        &self.e164[..self.e164.len().saturating_sub(OWN).max(self.code_length)]
    }

    /// What it shares with the numbers of its carrier: country code and two digits.
    pub(crate) fn carrier(&self) -> &str {
        const SHARED: usize = 2;
        &self.e164[..(self.code_length + SHARED).min(self.e164.len())]
    }

    /// The number with its middle hidden: `+84******678`.
    pub(crate) fn masked(&self) -> String {
        const SHOWN: usize = 3;
        let hidden = self.e164.len().saturating_sub(self.code_length + SHOWN);
        let (head, rest) = self.e164.split_at(self.code_length);
        format!("{head}{}{}", "*".repeat(hidden), &rest[hidden..])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Phone({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vietnam() -> Numbering {
        Numbering::try_new("VN", &["VN".to_owned()]).expect("VN is a region")
    }

    #[test]
    fn one_number_has_one_canonical_form() {
        for written in [
            "0912345678",
            "0912 345 678",
            "091.234.5678",
            "(091) 234-5678",
            "+84912345678",
            "+84 91 234 56 78",
            "0084912345678",
            "+84 0912345678",
        ] {
            assert_eq!(vietnam().parse(written).map(|phone| phone.e164), Ok("+84912345678".to_owned()), "{written}");
        }
    }

    #[test]
    fn what_can_not_sign_in_is_told_apart() {
        for written in [
            "",
            "0",
            "12345",
            "09123456789",
            "091234567",
            "hello",
            "0912345678x9",
            "+",
            "+84",
            "0912345678;ext=5",
            "tel:0912345678",
            "٠٩١٢٣٤٥٦٧٨",
        ] {
            assert_eq!(vietnam().parse(written).err(), Some(PhoneFault::Invalid), "{written}");
        }
        // A fixed line in Huế, and a toll-free number.
        assert_eq!(vietnam().parse("0234 3822 222").err(), Some(PhoneFault::NotMobile));
        assert_eq!(vietnam().parse("1800 1091").err(), Some(PhoneFault::NotMobile));
        assert_eq!(vietnam().parse("+1 202 456 1111").err(), Some(PhoneFault::NotServed));
    }

    #[test]
    fn every_carrier_of_the_country_is_known() {
        // One allocated block of each: Viettel, Vietnamobile, Gmobile, MobiFone, Vinaphone, iTel, Indochina Telecom.
        for block in [
            "0321", "0393", "0522", "0563", "0582", "0592", "0701", "0763", "0793", "0812", "0853", "0876", "0896",
            "0901", "0961", "0993",
        ] {
            assert!(vietnam().parse(&format!("{block}234567")[..10]).is_ok(), "{block}");
        }
    }

    #[test]
    fn only_the_end_of_a_number_is_shown() {
        let phone = vietnam().parse("0912345678").expect("valid");
        assert_eq!(phone.masked(), "+84******678");
        assert_eq!(format!("{phone:?}"), "Phone(+84******678)");
        assert_eq!((phone.prefix(), phone.carrier()), ("+8491234", "+8491"));
        assert_eq!(vietnam().stored("+84912345678".to_owned()), Ok(phone));
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_is_stable(written in "[-+0-9 .()a-zà-ỹ;=:]{0,40}") {
            if let Ok(phone) = vietnam().parse(&written) {
                prop_assert_eq!(vietnam().parse(phone.e164()), Ok(phone.clone()));
                prop_assert!(phone.masked().contains("******"));
            }
        }

        #[test]
        fn spacing_does_not_matter(digits in "9[0-9]{8}", cuts in prop::collection::vec(0_usize..9, 0..4)) {
            let mut written = format!("0{digits}");
            for cut in cuts { written.insert(cut, ' '); }
            prop_assert_eq!(vietnam().parse(&written), vietnam().parse(&format!("+84{digits}")));
        }
    }
}
