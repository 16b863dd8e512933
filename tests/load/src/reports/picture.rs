//! A photo as a telephone sends it, of 200 kB.

use anyhow::{Context as _, ensure};
use hyper::body::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Its size in pixels.
const SIDES: (u32, u32) = (1_280, 960);
const QUALITY: u8 = 85;
/// What it must have, in bytes.
const WANTED: std::ops::RangeInclusive<usize> = 200_000..=230_000;

/// The photo: a soft picture with as much grain as makes its size.
pub(super) fn of_200_kb() -> anyhow::Result<Bytes> {
    let (mut little, mut much) = (0, 128);
    while little + 1 < much {
        let grain = (little + much) / 2;
        let photo = grained(grain)?;
        if WANTED.contains(&photo.len()) {
            ensure!(image::guess_format(&photo)? == ImageFormat::Jpeg, "it is a JPEG");
            return Ok(photo.into());
        }
        (little, much) = if photo.len() < *WANTED.start() { (grain, much) } else { (little, grain) };
    }
    None.context("no grain makes a photo of 200 kB")
}

fn grained(grain: i32) -> anyhow::Result<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(7);
    let picture = RgbImage::from_fn(SIDES.0, SIDES.1, |x, y| {
        let soft = |shift: u32| i32::try_from((x / 5 + y / 4 + shift) % 256).unwrap_or(0);
        let speck = random.random_range(-grain..=grain);
        Rgb([0, 60, 120].map(|shift| u8::try_from((soft(shift) + speck).clamp(0, 255)).unwrap_or(0)))
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&picture)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_has_the_size_that_it_is_called_by() {
        let photo = super::of_200_kb().expect("some grain makes it");
        assert!(super::WANTED.contains(&photo.len()), "{}", photo.len());
    }
}
