//! What a text message costs: its encoding and its parts (3GPP TS 23.038 and 23.040). Pure.
//!
//! A text of the GSM 7-bit default alphabet takes 160 septets in one part, or 153 in each of several.
//! One character outside it makes the whole text UCS-2: 70 code units in one part, or 67 in each of several.
//! That is why texts sent by SMS are written without diacritics.

/// Septets of a message that fits one part.
const GSM7_SINGLE: usize = 160;
/// Septets of each part of a longer one: 7 go to the concatenation header.
const GSM7_PART: usize = 153;
/// UTF-16 code units of a message that fits one part.
const UCS2_SINGLE: usize = 70;
/// UTF-16 code units of each part of a longer one.
const UCS2_PART: usize = 67;

/// The default alphabet of 3GPP TS 23.038, section 6.2.1, without the escape character.
const GSM7_BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
    ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Characters of its extension table (section 6.2.1.1); each takes two septets.
const GSM7_EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// Vietnamese letters with marks, by the letter that they have without.
const MARKED: [(char, &str); 7] = [
    ('a', "àáảãạăằắẳẵặâầấẩẫậ"),
    ('d', "đ"),
    ('e', "èéẻẽẹêềếểễệ"),
    ('i', "ìíỉĩị"),
    ('o', "òóỏõọôồốổỗộơờớởỡợ"),
    ('u', "ùúủũụưừứửữự"),
    ('y', "ỳýỷỹỵ"),
];

/// `text` without the marks of Vietnamese letters and without combining marks, so that it fits the cheaper encoding.
/// Other characters stay.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !('\u{300}'..='\u{36f}').contains(letter)).map(unmarked).collect()
}

fn unmarked(letter: char) -> char {
    let lower = letter.to_lowercase().next().unwrap_or(letter);
    let Some((bare, _)) = MARKED.iter().find(|(_, marked)| marked.contains(lower)) else { return letter };
    if lower == letter { *bare } else { bare.to_ascii_uppercase() }
}

/// How a text is coded on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The GSM 7-bit default alphabet.
    Gsm7,
    /// UTF-16 code units.
    Ucs2,
}

impl Encoding {
    /// The encoding's name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gsm7 => "gsm7",
            Self::Ucs2 => "ucs2",
        }
    }
}

/// What a text takes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// How it is coded.
    pub encoding: Encoding,
    /// Septets or code units in all.
    pub units: usize,
    /// Messages that are paid for; 0 for an empty text.
    pub parts: usize,
}

/// What `text` takes to send by SMS.
pub fn cost(text: &str) -> Cost {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septets {
        Some(units) => Cost::of(Encoding::Gsm7, &units, GSM7_SINGLE, GSM7_PART),
        None => {
            let units: Vec<usize> = text.chars().map(char::len_utf16).collect();
            Cost::of(Encoding::Ucs2, &units, UCS2_SINGLE, UCS2_PART)
        }
    }
}

impl Cost {
    /// Fills parts in order; a character of two units is never split between two parts.
    fn of(encoding: Encoding, characters: &[usize], single: usize, part: usize) -> Self {
        let units = characters.iter().sum();
        if units <= single {
            return Self { encoding, units, parts: usize::from(units > 0) };
        }
        let (mut parts, mut filled) = (1, 0);
        for character in characters {
            if filled + character > part {
                parts += 1;
                filled = 0;
            }
            filled += character;
        }
        Self { encoding, units, parts }
    }
}

fn septets(character: char) -> Option<usize> {
    if GSM7_BASIC.contains(character) {
        Some(1)
    } else if GSM7_EXTENDED.contains(character) {
        Some(2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> (Encoding, usize) {
        let Cost { encoding, parts, .. } = cost(text);
        (encoding, parts)
    }

    #[test]
    fn the_alphabet_has_its_127_characters() {
        assert_eq!(GSM7_BASIC.chars().count(), 127);
        assert_eq!(GSM7_EXTENDED.chars().count(), 10);
    }

    #[test]
    fn lengths_at_the_borders() {
        assert_eq!(parts(""), (Encoding::Gsm7, 0));
        assert_eq!(parts(&"a".repeat(160)), (Encoding::Gsm7, 1));
        assert_eq!(parts(&"a".repeat(161)), (Encoding::Gsm7, 2));
        assert_eq!(parts(&"a".repeat(306)), (Encoding::Gsm7, 2));
        assert_eq!(parts(&"a".repeat(307)), (Encoding::Gsm7, 3));
        assert_eq!(parts(&"€".repeat(80)), (Encoding::Gsm7, 1));
        assert_eq!(parts(&"€".repeat(81)), (Encoding::Gsm7, 2));
        assert_eq!(parts(&"ế".repeat(70)), (Encoding::Ucs2, 1));
        assert_eq!(parts(&"ế".repeat(71)), (Encoding::Ucs2, 2));
        assert_eq!(parts(&"ế".repeat(134)), (Encoding::Ucs2, 2));
        assert_eq!(parts(&"ế".repeat(135)), (Encoding::Ucs2, 3));
    }

    #[test]
    fn one_diacritic_triples_the_cost() {
        let plain = "Ma xac thuc cua ban la 123456. ".repeat(5);
        assert_eq!(parts(&plain), (Encoding::Gsm7, 1));
        assert_eq!(parts(&plain.replacen("Ma", "Mã", 1)), (Encoding::Ucs2, 3));
    }

    #[test]
    fn vietnamese_without_marks_fits_the_cheap_encoding() {
        assert_eq!(plain("Lũ sông Hương trên BÁO ĐỘNG 3 — 5,05 m"), "Lu song Huong tren BAO DONG 3 — 5,05 m");
        assert_eq!(plain("Hu\u{1ebf} va\u{300}"), "Hue va");
        for (_, marked) in MARKED {
            let both = marked.to_owned() + &marked.to_uppercase();
            assert_eq!(cost(&plain(&both)).encoding, Encoding::Gsm7, "{}", plain(&both));
            assert!(plain(&both).is_ascii());
        }
    }

    #[test]
    fn a_pair_is_not_split_between_parts() {
        // 76 € are 152 septets; the 77th would straddle the border at 153.
        assert_eq!(parts(&"€".repeat(153)), (Encoding::Gsm7, 3));
        assert_eq!(parts(&"😀".repeat(67)), (Encoding::Ucs2, 3));
    }

    proptest! {
        #[test]
        fn parts_hold_all_units_and_no_part_is_wasted(text in "\\PC{0,400}") {
            let Cost { encoding, units, parts } = cost(&text);
            let (single, part) = match encoding {
                Encoding::Gsm7 => (GSM7_SINGLE, GSM7_PART),
                Encoding::Ucs2 => (UCS2_SINGLE, UCS2_PART),
            };
            if parts > 1 {
                prop_assert!(units > single && units <= parts * part);
                prop_assert!(units > (parts - 1) * (part - 1));
            } else {
                prop_assert!(units <= single);
            }
        }
    }
}
