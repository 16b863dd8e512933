//! A photo as a citizen sends it → a photo as it is kept: only the picture, encoded again.
//!
//! Pure and slow: call it where blocking is allowed. The type is read from the bytes, never from a header. Position, time and
//! camera (EXIF, XMP, thumbnails, trailing bytes) do not survive, because only pixels are carried over.
//! The size in pixels is judged before a pixel is decoded, and the decoder's memory is bounded.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// The media type of every kept photo.
pub(crate) const MEDIA_TYPE: &str = "image/jpeg";
/// The longest side of a photo that is taken, in pixels.
const MAX_SIDE: u32 = 8_192;
/// The most pixels of a photo that is taken.
const MAX_PIXELS: u64 = 36_000_000;
/// The most memory that decoding may take, in bytes.
const MAX_ALLOC: u64 = 144 << 20;
/// The longest side of a kept photo, in pixels.
const KEPT_SIDE: u32 = 2_048;
/// Quality of a kept photo, of 100.
const QUALITY: u8 = 85;

/// A photo to keep.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) bytes: Vec<u8>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) sha256: [u8; 32],
}

/// Decodes and encodes again.
///
/// # Errors
/// `PhotoTooLarge` for too many pixels or too much memory, `PhotoUnreadable` for anything else.
pub(crate) fn cleaned(bytes: &[u8]) -> Result<Picture, Error> {
    let format = sniffed(bytes).ok_or(Error::PhotoUnreadable)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::PhotoTooLarge);
    }
    let orientation = decoder.orientation().map_err(refused)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
    if width.max(height) > KEPT_SIDE {
        picture = picture.thumbnail(KEPT_SIDE, KEPT_SIDE);
    }
    picture.apply_orientation(orientation);
    let pixels = picture.into_rgb8();
    let mut kept = Vec::new();
    JpegEncoder::new_with_quality(&mut kept, QUALITY).encode_image(&pixels).map_err(refused)?;
    let sha256 = Sha256::digest(&kept).into();
    Ok(Picture { width: pixels.width(), height: pixels.height(), bytes: kept, sha256 })
}

fn refused(error: image::ImageError) -> Error {
    match error {
        image::ImageError::Limits(_) => Error::PhotoTooLarge,
        _ => Error::PhotoUnreadable,
    }
}

/// The format that the first bytes tell.
fn sniffed(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => Some(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(ImageFormat::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::WebP),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(width: u32, height: u32) -> DynamicImage {
        DynamicImage::ImageRgb8(image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([u8::try_from(x % 256).unwrap_or(0), u8::try_from(y % 256).unwrap_or(0), 90])
        }))
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("it can be written");
        bytes.into_inner()
    }

    /// A JPEG with an EXIF block: turned by a quarter, and taken at a latitude.
    fn with_exif() -> Vec<u8> {
        let plain = encoded(&photo(40, 20), ImageFormat::Jpeg);
        let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
        tiff.extend(b"\0\x02");
        tiff.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0");
        tiff.extend(b"\x88\x25\0\x04\0\0\0\x01\0\0\0\x26");
        tiff.extend(b"\0\0\0\0");
        tiff.extend(b"\0\x01\0\x01\0\x02\0\0\0\x02N\0\0\0\0\0\0\0");
        tiff.extend(b"GPS 16.4637 107.5909");
        let length = u16::try_from(tiff.len() + 8).expect("short").to_be_bytes();
        let mut bytes = plain[..2].to_vec();
        bytes.extend([0xFF, 0xE1]);
        bytes.extend(length);
        bytes.extend(b"Exif\0\0");
        bytes.extend(tiff);
        bytes.extend(&plain[2..]);
        bytes
    }

    fn holds(bytes: &[u8], text: &[u8]) -> bool {
        bytes.windows(text.len()).any(|window| window == text)
    }

    #[test]
    fn the_place_where_a_photo_was_taken_does_not_survive() {
        let sent = with_exif();
        assert!(holds(&sent, b"Exif") && holds(&sent, b"GPS 16.4637"));
        let kept = cleaned(&sent).expect("a photo");
        assert!(!holds(&kept.bytes, b"Exif") && !holds(&kept.bytes, b"GPS"));
        assert_eq!((kept.width, kept.height), (20, 40), "but it stands upright");
        let mut trailing = encoded(&photo(8, 8), ImageFormat::Jpeg);
        trailing.extend(b"GPS at the end");
        assert!(!holds(&cleaned(&trailing).expect("a photo").bytes, b"GPS"));
    }

    #[test]
    fn every_format_becomes_the_same_and_large_ones_smaller() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let kept = cleaned(&encoded(&photo(3_000, 60), format)).expect("a photo");
            assert_eq!(sniffed(&kept.bytes), Some(ImageFormat::Jpeg));
            assert_eq!(kept.width, KEPT_SIDE);
        }
    }

    /// A PNG that claims a size and carries next to nothing.
    fn bomb(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = encoded(&photo(1, 1), ImageFormat::Png);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1)))
        })
    }

    #[test]
    fn a_photo_that_would_fill_the_memory_is_refused_before_it_does() {
        for (width, height) in [(60_000, 60_000), (8_193, 1), (8_000, 8_000), (u32::MAX >> 1, 1)] {
            let refused = cleaned(&bomb(width, height));
            assert!(matches!(refused, Err(Error::PhotoTooLarge)), "{width} {height}: {refused:?}");
        }
        assert!(matches!(cleaned(&bomb(300, 300)), Err(Error::PhotoUnreadable)), "and one that lacks its pixels");
    }

    #[test]
    fn what_is_no_photo_is_refused() {
        let whole = encoded(&photo(64, 64), ImageFormat::Jpeg);
        for bytes in [&b""[..], b"GIF89a", b"<svg/>", b"\xFF\xD8\xFF", &whole[..20]] {
            assert!(matches!(cleaned(bytes), Err(Error::PhotoUnreadable)));
        }
    }
}
