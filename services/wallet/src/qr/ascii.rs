//! Vietnamese text in ASCII, for the names in a code: readers disagree on how to count letters with marks.

/// Letters with marks by the plain letter they stand for.
const LETTERS: [(char, &str); 7] = [
    ('a', "àáảãạăằắẳẵặâầấẩẫậ"),
    ('d', "đ"),
    ('e', "èéẻẽẹêềếểễệ"),
    ('i', "ìíỉĩị"),
    ('o', "òóỏõọôồốổỗộơờớởỡợ"),
    ('u', "ùúủũụưừứửữự"),
    ('y', "ỳýỷỹỵ"),
];

/// The text without marks, without what is not printable ASCII, in at most `max` characters, trimmed.
/// Text in decomposed form loses its combining marks in the same way.
#[must_use]
pub fn to_ascii(text: &str, max: usize) -> String {
    let plain: String = text.chars().filter_map(plain).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(max).collect::<String>().trim_end().to_owned()
}

fn plain(character: char) -> Option<char> {
    if character.is_ascii() {
        return if character.is_ascii_control() { None } else { Some(character) };
    }
    let lower = character.to_lowercase().next()?;
    let letter = LETTERS.iter().find(|(_, marked)| marked.contains(lower)).map(|(letter, _)| *letter)?;
    Some(if character.is_uppercase() { letter.to_ascii_uppercase() } else { letter })
}

#[cfg(test)]
mod tests {
    use super::to_ascii;

    #[test]
    fn marks_go_and_letters_stay() {
        assert_eq!(to_ascii("Quán Bún bò Huế Đông Ba", 25), "Quan Bun bo Hue Dong Ba");
        assert_eq!(to_ascii("ĐẶNG THỊ Ỷ NGUYỄN", 25), "DANG THI Y NGUYEN");
        assert_eq!(to_ascii("  Cà\u{300} phê\t☕ 24/7 ", 25), "Ca phe 24/7");
        assert_eq!(to_ascii("một hai ba", 4), "mot");
        assert_eq!(to_ascii("☕", 25), "");
    }
}
