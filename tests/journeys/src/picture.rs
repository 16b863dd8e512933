//! A picture that tells more than it shows. Pure.

/// Where a PNG's first chunk, its header, ends.
const AFTER_HEADER: usize = 33;
/// CRC-32 as PNG wants it (ISO 3309), the bits in reverse.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// A PNG with words inside it, as a camera writes place and owner, and behind its end.
pub fn with_words(picture: &[u8], words: &str) -> Vec<u8> {
    let content = [b"tEXtComment\0", words.as_bytes()].concat();
    let length = u32::try_from(words.len() + 8).expect("a few words").to_be_bytes();
    let (head, rest) = picture.split_at(AFTER_HEADER);
    [head, &length, &content, &crc(&content).to_be_bytes(), rest, words.as_bytes()].concat()
}

fn crc(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)));
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_as_the_standard_has_it() {
        // The checksum of PNG's last chunk, which is always the same.
        assert_eq!(crc(b"IEND"), 0xAE42_6082);
    }

    #[test]
    fn the_words_stand_in_a_chunk_of_their_own() {
        let picture = [&[0; AFTER_HEADER][..], b"rest"].concat();
        let told = with_words(&picture, "abc");
        assert_eq!(told.len(), picture.len() + 12 + 8 + 3 + 3);
        assert_eq!(&told[AFTER_HEADER..AFTER_HEADER + 8], b"\0\0\0\x0btEXt");
    }
}
