//! Photos over HTTP: cleaned, counted, bounded.

use uuid::Uuid;

use crate::stage::{Stage, jpeg};

/// A JPEG with a comment block in front, as a camera would put its position.
fn with_secret(secret: &[u8]) -> Vec<u8> {
    let plain = jpeg(400, 300);
    let mut bytes = plain[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend(u16::try_from(secret.len() + 8).expect("short").to_be_bytes());
    bytes.extend(b"Exif\0\0");
    bytes.extend(secret);
    bytes.extend(&plain[2..]);
    bytes
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn a_photo_says_nothing_but_its_picture() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.report(citizen).await;
    let sent = with_secret(b"MM\0\x2a\0\0\0\x08\0\0GPSLatitude 16.4637");
    assert!(holds(&sent, b"GPSLatitude"));
    let photo = stage.photo(citizen, &report, sent).await.expect(201);
    let path = format!("/reports/v1/reports/{report}/photos/{}", photo["id"].as_str().expect("an id"));
    let kept = stage.get(Some(citizen), &path).await;
    assert_eq!(kept.status.as_u16(), 200);
    assert!(!holds(&kept.bytes, b"Exif") && !holds(&kept.bytes, b"GPS"));
    assert_eq!((photo["width"].as_i64(), photo["height"].as_i64()), (Some(400), Some(300)));
    stage.get(Some(Uuid::now_v7()), &path).await.expect(404);
    stage.get(None, &path).await.expect(404);
}

#[tokio::test]
async fn what_is_no_photo_too_large_or_too_many_is_refused() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.report(citizen).await;
    let large = jpeg(1_500, 1_500);
    assert!(large.len() > 64 * 1024, "larger than other bodies may be");
    stage.photo(citizen, &report, large).await.expect(201);
    assert_eq!(stage.photo(citizen, &report, vec![0; (8 << 20) + 1]).await.refused(413), "body-too-large");
    assert_eq!(stage.photo(citizen, &report, b"<svg/>".to_vec()).await.refused(422), "photo-unreadable");
    // A JPEG that claims 65,500 by 65,500 pixels.
    let mut bomb = jpeg(16, 16);
    let frame = bomb.windows(2).position(|marker| marker == [0xFF, 0xC0]).expect("a frame header");
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    assert_eq!(stage.photo(citizen, &report, bomb).await.refused(422), "photo-too-large");
    for _ in 1..5 {
        stage.photo(citizen, &report, jpeg(16, 16)).await.expect(201);
    }
    assert_eq!(stage.photo(citizen, &report, jpeg(16, 16)).await.refused(422), "too-many-photos");
    assert_eq!(stage.count("reports.attachment").await, 5);
    stage.photo(Uuid::now_v7(), &report, jpeg(16, 16)).await.expect(404);
    assert_eq!(stage.photo(stage.ioc, &report, jpeg(16, 16)).await.refused(403), "forbidden");
    stage.in_progress(&report).await;
    assert_eq!(stage.photo(citizen, &report, jpeg(16, 16)).await.refused(409), "wrong-state");
}
