//! How busy a city is at each hour. Pure.

use chrono::{DateTime, Timelike as _, Utc};
use chrono_tz::Tz;

/// Each hour's share of a day's mobile-money operations, in per mille: computed from the parameter files of PaySim, an
/// aggregate of 24.6 million real operations.
const SHARES: [f64; 24] = [
    32.9, 11.8, 2.8, 0.3, 0.0, 0.0, 0.6, 3.5, 9.5, 14.0, 11.7, 16.3, 24.6, 35.8, 44.1, 44.3, 61.2, 69.7, 105.7, 129.4,
    128.8, 102.4, 85.2, 65.2,
];
/// At night somebody still pays, so that a wall is never dark.
const LEAST: f64 = 0.1;

/// How many times the day's mean an hour is, by the city's clock; from one hour's middle to the next it changes evenly.
pub(super) fn pace(now: DateTime<Utc>, zone: Tz) -> f64 {
    let local = now.with_timezone(&zone);
    let minutes = f64::from(local.hour() * 60 + local.minute());
    let at = (minutes - 30.0).rem_euclid(1_440.0) / 60.0;
    let (before, after) = SHARES
        .iter()
        .zip(SHARES.iter().cycle().skip(1))
        .zip(0..24_u32)
        .find(|(_, hour)| f64::from(*hour) + 1.0 > at)
        .map_or((0.0, 0.0), |((before, after), _)| (*before, *after));
    let share = (after - before).mul_add(at.fract(), before);
    (share / 1_000.0 * 24.0).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> f64 {
        let now: DateTime<Utc> = format!("2026-03-02T{time}:00+07:00").parse().expect("a time");
        pace(now, chrono_tz::Asia::Ho_Chi_Minh)
    }

    #[test]
    fn shares_are_a_whole_day() {
        assert!((SHARES.iter().sum::<f64>() - 1_000.0).abs() < 0.5);
    }

    #[test]
    fn evenings_are_busy_and_nights_are_not_dead() {
        assert!((at("19:30") - 3.1).abs() < 0.05, "{}", at("19:30"));
        assert!((at("20:00") - at("19:30")).abs() < 0.02, "hours run into each other");
        assert!((at("04:30") - LEAST).abs() < f64::EPSILON);
        assert!((at("00:00") - 24.0 * (0.0652 + 0.0329) / 2.0).abs() < 0.01, "also at midnight");
        assert!((at("12:30") - 0.59).abs() < 0.01);
    }
}
