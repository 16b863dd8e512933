//! Prices of the city's own tariffs, and of any tariff against a slow model; faults of the files.

use std::fs;
use std::path::PathBuf;

use platform::embedded::scratch::TestFolder;
use proptest::prelude::*;

use super::*;

fn city() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
}

fn tariffs() -> Tariffs {
    Tariffs::load(&city()).expect("the city's tariffs are sound")
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("the test writes a date")
}

fn amounts(usage: u32, date: &str) -> Option<(i64, i64, i64)> {
    let price = tariffs().price(Utility::Electricity, usage, day(date))?;
    Some((price.before_vat.amount(), price.vat.amount(), price.total.amount()))
}

#[test]
fn a_household_pays_by_the_steps_of_the_date() {
    assert_eq!(amounts(250, "2025-11-01"), Some((589_600, 47_168, 636_768)));
    // Before the decision of May 2025: 50·1893 + 50·1956 + 100·2271 + 50·2860.
    assert_eq!(amounts(250, "2025-05-09"), Some((562_550, 45_004, 607_554)));
    assert_eq!(amounts(250, "2025-05-10"), Some((589_600, 47_168, 636_768)));
    // The reduced tax ends with 2026.
    assert_eq!(amounts(250, "2026-12-31"), Some((589_600, 47_168, 636_768)));
    assert_eq!(amounts(250, "2027-01-01"), Some((589_600, 58_960, 648_560)));
    // Every step in full, and one beyond: 50·1984 + 50·2050 + 100·2380 + 100·2998 + 100·3350 + 1·3460.
    assert_eq!(amounts(401, "2025-11-01"), Some((1_077_960, 86_237, 1_164_197)));
    assert_eq!(amounts(0, "2025-11-01"), Some((0, 0, 0)));
    assert_eq!(amounts(250, "2024-10-10"), None, "no tariff was in force that the file knows");
    assert_eq!(amounts(MAX_USAGE + 1, "2025-11-01"), None);
    let price = tariffs().price(Utility::Electricity, 250, day("2025-11-01")).expect("there is a tariff");
    let last = Line { usage: 50, unit_price: "2998".to_owned(), cost: "149900".to_owned() };
    assert_eq!((price.steps.len(), price.steps.last(), &*price.vat_percent), (4, Some(&last), "8"));
}

#[test]
fn water_has_its_own_steps_and_tax() {
    let price = tariffs().price(Utility::Water, 12, day("2025-01-01")).expect("there is a tariff");
    assert_eq!((price.before_vat.amount(), price.vat.amount(), &*price.vat_percent), (121_000, 6_050, "5"));
}

/// Adds unit by unit what a step-wise tariff asks, in hundredths of hundredths, with integers only.
fn slowly(steps: &[Step], usage: u32, percent: i128) -> (i128, i128) {
    let price_of = |unit: u32| {
        let step = steps.iter().find(|step| step.up_to.is_none_or(|end| unit <= end)).expect("the last has no end");
        (step.price.0 * Decimal::from(10_000)).to_i128().expect("prices have four decimals at most")
    };
    let half_up = |amount: i128, unit: i128| (2 * amount + unit) / (2 * unit);
    let before = half_up((1..=usage).map(price_of).sum(), 10_000);
    (before, half_up(before * percent, 100))
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let cuts = proptest::collection::btree_set(1_u32..600, 0..6);
    (cuts, proptest::collection::vec(1_i64..50_000_000, 7)).prop_map(|(cuts, prices)| {
        let ends: Vec<_> = cuts.into_iter().map(Some).chain([None]).collect();
        let begins = [0].into_iter().chain(ends.iter().flatten().copied());
        let of = |((above, up_to), price): ((u32, Option<u32>), i64)| Step {
            above: Spanned::new(0..0, above),
            up_to,
            price: Price(Decimal::new(price, 4)),
        };
        begins.zip(ends.clone()).zip(prices).map(of).collect()
    })
}

proptest! {
    /// Any tariff prices any use as adding unit by unit does.
    #[test]
    fn a_price_is_that_of_the_slow_model(steps in any_steps(), usage in 0_u32..1_000, percent in 1_i64..100) {
        let begins = || Spanned::new(0..0, Day(day("2020-01-01")));
        let source = || Spanned::new(0..0, String::new());
        let tariff =
            Tariff { class: HOUSEHOLD.to_owned(), begins: begins(), ends: None, source: source(), steps: steps.clone() };
        let vat = Vat {
            class: Spanned::new(0..0, "electricity".to_owned()),
            percent: Spanned::new(0..0, Price(Decimal::from(percent))),
            begins: begins(),
            ends: None,
            source: source(),
        };
        let tariffs = Tariffs { electricity: vec![tariff], water: Vec::new(), vat: vec![vat] };
        let price = tariffs.price(Utility::Electricity, usage, day("2020-01-01")).expect("in force");
        let (before, tax) = slowly(&steps, usage, percent.into());
        prop_assert_eq!(i128::from(price.before_vat.amount()), before);
        prop_assert_eq!(i128::from(price.vat.amount()), tax);
        prop_assert_eq!(i128::from(price.total.amount()), before + tax);
        prop_assert_eq!(price.steps.iter().map(|line| line.usage).sum::<u32>(), usage);
    }

    /// Who uses more never pays less.
    #[test]
    fn more_use_costs_more(usage in 0_u32..2_000) {
        let total = |usage| tariffs().price(Utility::Electricity, usage, day("2025-11-01")).map(|price| price.total);
        prop_assert!(total(usage) < total(usage + 1));
    }
}

/// What is said about the city's rules in which one piece of one file was replaced.
fn broken(file: &str, change: (&str, &str)) -> Vec<String> {
    let folder = TestFolder::new("tariff").expect("a folder");
    let rules = folder.path().join("rules");
    fs::create_dir_all(&rules).expect("the temporary folder is writable");
    for name in ["electricity.toml", "water.toml", "vat.toml"] {
        let text = fs::read_to_string(city().join("rules").join(name)).expect("the file can be read");
        assert!(name != file || text.contains(change.0), "{file} has no {:?}", change.0);
        let text = if name == file { text.replacen(change.0, change.1, 1) } else { text };
        fs::write(rules.join(name), text).expect("the file can be written");
    }
    read(folder.path()).1.iter().map(ToString::to_string).collect()
}

#[test]
fn faults_are_named() {
    for (file, change, message) in [
        ("electricity.toml", ("above = 50", "above = 51"), "begins above 51, the one before ends at 50"),
        ("electricity.toml", ("up_to = 100", "up_to = 40"), "ends before it begins"),
        ("electricity.toml", ("\"1893\"", "\"0\""), "not a positive decimal"),
        ("electricity.toml", (", up_to = 50", ""), "the step before has no end"),
        ("electricity.toml", ("above = 400, price", "above = 400, up_to = 500, price"), "last step has an end"),
        ("vat.toml", ("2025-06-30", "2025-06-31"), "vat.toml"),
        ("vat.toml", ("ends = 2024-12-31", "ends = 2024-05-31"), "ends before it begins"),
        ("vat.toml", ("begins = 2025-01-01", "begins = 2024-07-01"), "two rules for electricity begin"),
        ("vat.toml", ("begins = 2025-01-01", "begins = 2024-12-31"), "overlaps the rule for electricity on line"),
        ("vat.toml", ("begins = 2025-01-01", "begins = 2025-01-02"), "no rule for electricity is in force"),
        ("vat.toml", ("\"Resolution 174/2024/QH15\"", "\" \""), "names no source"),
        ("vat.toml", ("percent = \"5\"", "per_cent = \"5\""), "unknown field `per_cent`"),
        ("vat.toml", ("class = \"water\"", "class = \"steam\""), "\"steam\" is unknown"),
        ("vat.toml", ("percent = \"10\"", "percent = \"100\""), "100 percent or more"),
    ] {
        let faults = broken(file, change);
        assert!(faults.iter().any(|fault| fault.contains(message)), "{change:?}: {faults:?}");
    }
    assert_eq!(broken("vat.toml", ("electricity", "electricity")), Vec::<String>::new());
    assert_eq!(read(Path::new("/nowhere")).1.len(), 3);
}
