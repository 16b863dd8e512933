//! Citizen identity numbers (số định danh cá nhân): 12 digits that say province, century, sex and year of birth. Pure.
//!
//! Source: Decree 137/2015/NĐ-CP, article 13, and Circular 59/2021/TT-BCA, article 4 and its annex of codes.
//! `PPP C YY SSSSSS`: province (or country) of the registration of birth, century and sex, year in its century, serial.
//! The provinces are those of the registration, which were merged since; numbers keep their codes.

use std::fmt;

use chrono::{Datelike as _, NaiveDate};

/// How many digits there are.
const DIGITS: usize = 12;

/// Codes of provinces and cities of registration (annex I of Circular 07/2016/TT-BCA, kept by Circular 59/2021/TT-BCA).
const PROVINCES: [u16; 63] = [
    1, 2, 4, 6, 8, 10, 11, 12, 14, 15, 17, 19, 20, 22, 24, 25, 26, 27, 30, 31, 33, 34, 35, 36, 37, 38, 40, 42, 44, 45,
    46, 48, 49, 51, 52, 54, 56, 58, 60, 62, 64, 66, 67, 68, 70, 72, 74, 75, 77, 79, 80, 82, 83, 84, 86, 87, 89, 91, 92,
    93, 94, 95, 96,
];
/// Codes of countries, for citizens who were born abroad (annex II): from here to 999.
const FIRST_COUNTRY: u16 = 100;

/// The sex that a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sex {
    /// Nam.
    Male,
    /// Nữ.
    Female,
}

/// A well-formed number. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CitizenNumber([u8; DIGITS]);

/// Why a text is no citizen number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberFault {
    /// Not twelve digits.
    #[error("a citizen number has twelve digits")]
    Form,
    /// The first three digits name no province and no country.
    #[error("no such province")]
    Province,
    /// The serial is 000000.
    #[error("no such serial")]
    Serial,
    /// The year of birth is not that of the day of birth, or is to come.
    #[error("the year of birth differs")]
    Year,
    /// The sex is not the one that was said.
    #[error("the sex differs")]
    Sex,
}

impl NumberFault {
    /// The word for clients.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Province => "province",
            Self::Serial => "serial",
            Self::Year => "year-of-birth",
            Self::Sex => "sex",
        }
    }
}

impl CitizenNumber {
    /// Reads a number; spaces between groups of digits are let pass.
    pub(crate) fn parse(text: &str) -> Result<Self, NumberFault> {
        let mut digits = [0; DIGITS];
        let mut count = 0;
        for byte in text.bytes().filter(|byte| *byte != b' ') {
            if !byte.is_ascii_digit() || count == DIGITS {
                return Err(NumberFault::Form);
            }
            digits[count] = byte - b'0';
            count += 1;
        }
        if count != DIGITS {
            return Err(NumberFault::Form);
        }
        let number = Self(digits);
        let place = number.place();
        if place < FIRST_COUNTRY && PROVINCES.binary_search(&place).is_err() {
            return Err(NumberFault::Province);
        }
        if digits[6..].iter().all(|digit| *digit == 0) {
            return Err(NumberFault::Serial);
        }
        Ok(number)
    }

    /// Refuses a number whose year is not that of a day of birth, or lies after `today`.
    pub(crate) fn check_birth(&self, born: NaiveDate, today: NaiveDate) -> Result<(), NumberFault> {
        if born > today || i32::from(self.birth_year()) != born.year() { Err(NumberFault::Year) } else { Ok(()) }
    }

    /// Province or country of registration.
    pub(crate) fn place(&self) -> u16 {
        self.value(0, 3)
    }

    /// The year of birth.
    pub(crate) fn birth_year(&self) -> u16 {
        1_900 + u16::from(self.0[3] / 2) * 100 + self.value(4, 2)
    }

    /// The sex.
    pub(crate) fn sex(&self) -> Sex {
        if self.0[3].is_multiple_of(2) { Sex::Male } else { Sex::Female }
    }

    /// The digits as text; keep them out of logs.
    pub(crate) fn expose(&self) -> String {
        self.0.iter().map(|digit| char::from(b'0' + digit)).collect()
    }

    /// All but the first and the last three digits hidden.
    pub(crate) fn masked(&self) -> String {
        let digits = self.expose();
        format!("{}******{}", &digits[..3], &digits[9..])
    }

    fn value(&self, start: usize, length: usize) -> u16 {
        self.0[start..start + length].iter().fold(0, |value, digit| value * 10 + u16::from(*digit))
    }
}

impl fmt::Debug for CitizenNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CitizenNumber(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    #[test]
    fn a_number_says_place_year_and_sex() {
        let number = CitizenNumber::parse("046 199 012345").expect("a number of Huế");
        assert_eq!((number.place(), number.birth_year(), number.sex()), (46, 1999, Sex::Female));
        let number = CitizenNumber::parse("001205000001").expect("a number of Hà Nội");
        assert_eq!((number.place(), number.birth_year(), number.sex()), (1, 2005, Sex::Male));
        assert!(CitizenNumber::parse("156290000123").is_ok(), "born abroad");
        assert_eq!(number.masked(), "001******001");
        assert_eq!(format!("{number:?}"), "CitizenNumber(…)");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for (text, fault) in [
            ("", NumberFault::Form),
            ("04619901234", NumberFault::Form),
            ("0461990123456", NumberFault::Form),
            ("04619901234a", NumberFault::Form),
            ("٠٤٦١٩٩٠١٢٣٤٥", NumberFault::Form),
            ("000199012345", NumberFault::Province),
            ("003199012345", NumberFault::Province),
            ("097199012345", NumberFault::Province),
            ("046199000000", NumberFault::Serial),
        ] {
            assert_eq!(CitizenNumber::parse(text).err(), Some(fault), "{text}");
        }
    }

    #[test]
    fn the_year_is_that_of_the_birth() {
        let number = CitizenNumber::parse("046199012345").expect("a number");
        let today = day("2026-01-01");
        assert_eq!(number.check_birth(day("1999-12-31"), today), Ok(()));
        assert_eq!(number.check_birth(day("1998-12-31"), today), Err(NumberFault::Year));
        let unborn = CitizenNumber::parse("046226012345").expect("a number of 2026");
        assert_eq!(unborn.check_birth(day("2026-01-02"), today), Err(NumberFault::Year), "to come");
    }

    /// The rule told slowly, from the text of the circular.
    fn slow(text: &str) -> Option<(u16, u16, Sex)> {
        let digits: Vec<u16> = text
            .chars()
            .map(|letter| letter.to_digit(10).and_then(|digit| u16::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let [a, b, c, century, e, f, ref serial @ ..] = digits[..] else { return None };
        let place = a * 100 + b * 10 + c;
        if serial.len() != 6 || serial.iter().sum::<u16>() == 0 || (place < 100 && !PROVINCES.contains(&place)) {
            return None;
        }
        let (hundreds, sex) = match century {
            0 => (19, Sex::Male),
            1 => (19, Sex::Female),
            2 => (20, Sex::Male),
            3 => (20, Sex::Female),
            4 => (21, Sex::Male),
            5 => (21, Sex::Female),
            6 => (22, Sex::Male),
            7 => (22, Sex::Female),
            8 => (23, Sex::Male),
            _ => (23, Sex::Female),
        };
        Some((place, hundreds * 100 + e * 10 + f, sex))
    }

    proptest! {
        #[test]
        fn parsing_is_the_slow_rule(text in "[0-9]{10,13}|0[0-9]{11}|0[0-9]{5}000000") {
            let read = CitizenNumber::parse(&text).ok();
            let said = read.as_ref().map(|number| (number.place(), number.birth_year(), number.sex()));
            prop_assert_eq!(said, slow(&text));
            if let Some(number) = read {
                prop_assert_eq!(number.expose(), text);
            }
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,20}") {
            let _ = CitizenNumber::parse(&text).map(|number| number.masked());
        }
    }
}
