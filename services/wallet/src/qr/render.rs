//! Pictures of a payload: SVG for print, PNG for screens. Error correction level M, as VietQR's guideline asks.

use qrcode::{Color, EcLevel, QrCode};

/// Pixels per module in a PNG.
const SCALE: usize = 10;
/// Modules of white around the code (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;
/// Smallest side of an SVG.
const SVG_SIDE: u32 = 320;

/// A picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The payload does not fit a QR code.
    #[error("payload does not fit a QR code")]
    Qr(#[from] qrcode::types::QrError),
    /// The PNG could not be written.
    #[error("png could not be written")]
    Png(#[from] png::EncodingError),
}

/// An SVG document.
///
/// # Errors
/// When the payload does not fit a QR code.
pub fn svg(payload: &str) -> Result<String, RenderError> {
    let code = QrCode::with_error_correction_level(payload, EcLevel::M)?;
    Ok(code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(SVG_SIDE, SVG_SIDE).build())
}

/// A greyscale PNG file of one bit a pixel.
///
/// # Errors
/// When the payload does not fit a QR code.
pub fn png(payload: &str) -> Result<Vec<u8>, RenderError> {
    let code = QrCode::with_error_correction_level(payload, EcLevel::M)?;
    let (width, colors) = (code.width(), code.to_colors());
    let side = (width + 2 * QUIET) * SCALE;
    let mut bits = vec![0xFF_u8; side * side.div_ceil(8)];
    for (index, _) in colors.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let (left, top) = ((index % width + QUIET) * SCALE, (index / width + QUIET) * SCALE);
        for y in top..top + SCALE {
            for x in left..left + SCALE {
                bits[y * side.div_ceil(8) + x / 8] &= !(0x80 >> (x % 8));
            }
        }
    }
    let mut file = Vec::new();
    let side = u32::try_from(side).expect("a QR code has at most 177 modules a side");
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bits)?;
    writer.finish()?;
    Ok(file)
}
