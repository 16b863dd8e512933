//! The city's folder as it is, and copies of it that were broken on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use platform::dataset::Fault;
use platform::embedded::scratch::TestFolder;
use platform::http::Language;

use super::*;

fn city() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("the test writes a date")
}

/// What is said about a copy of the wallet's files in which one piece of one file was replaced,
/// each fault with the line of text that it names.
fn broken(name: &str, file: &str, change: (&str, &str)) -> Vec<(Fault, String)> {
    let folder = TestFolder::new(name).expect("a folder");
    let dir = folder.path();
    fs::create_dir_all(dir.join("rules")).expect("the temporary folder is writable");
    for copied in ["banks.csv", "billers.csv", "procedures.csv", "procedure-channels.csv", "sanitation-fees.csv"] {
        fs::copy(city().join(copied), dir.join(copied)).expect("the file can be copied");
    }
    for entry in fs::read_dir(city().join("rules")).expect("the folder has rules") {
        let path = entry.expect("the folder can be read").path();
        let target = dir.join("rules").join(path.file_name().expect("a file has a name"));
        fs::copy(path, target).expect("the file can be copied");
    }
    let path = dir.join(file);
    let text = fs::read_to_string(&path).expect("the file can be read");
    assert!(text.contains(change.0), "{file} has no {:?}", change.0);
    let text = text.replacen(change.0, change.1, 1);
    fs::write(&path, &text).expect("the file can be written");
    let line = |fault: &Fault| text.lines().nth((fault.line.max(1) - 1) as usize).unwrap_or_default();
    check_city(dir).into_iter().map(|fault| (fault.clone(), line(&fault).to_owned())).collect()
}

/// Expects a fault of the changed file with this message, on a line that holds `at`.
fn expect(name: &str, file: &str, change: (&str, &str), at: &str, message: &str) {
    let faults = broken(name, file, change);
    let hit = faults.iter().find(|(fault, _)| fault.message.contains(message));
    assert!(hit.is_some(), "{name}: nothing says {message:?}: {faults:?}");
    let (fault, line) = hit.expect("asserted above");
    assert!(fault.file.ends_with(file), "{name}: {fault}");
    assert!(fault.line > 0 && line.contains(at), "{name}: {fault} is not the line of {at:?}");
}

#[test]
fn the_folder_is_sound() {
    assert_eq!(check_city(&city()), []);
    let banks = load_banks(&city()).expect("the banks are sound");
    assert_eq!(banks.iter().count(), 62);
    assert_eq!(banks.by_bin("970436").map(|bank| bank.code.as_str()), Some("VCB"));
    assert_eq!(banks.by_bin("970406").map(|bank| bank.code.as_str()), Some("VIKKI"));
    assert_eq!(banks.by_code("LPB").map(|bank| bank.short_name.as_str()), Some("LPBank"));
    assert!(banks.by_bin("000000").is_none());
}

#[test]
fn customer_codes_have_the_form_of_their_biller() {
    let billers = load_billers(&city()).expect("the billers are sound");
    let power = billers.get("PCHUE").expect("the city has power");
    assert_eq!((power.kind, power.name(Language::En)), (BillerKind::Electricity, "Hue Power Company"));
    for (code, fits) in [
        ("PC12345678901", true),
        ("PC1234567890", false),
        ("PC123456789012", false),
        ("HW12345678901", false),
        ("PC1234567890x", false),
        ("PC١2345678901", false),
        ("", false),
    ] {
        assert_eq!(power.takes(code), fits, "{code}");
    }
    assert!(billers.get("GASHUE").is_none());
}

#[test]
fn limits_go_by_date_tier_and_class() {
    let rules = Rules::load(&city()).expect("the rules are sound");
    let month = |date, tier, class| {
        let maxima = rules.maxima(day(date), tier)?;
        let covers = |maximum: &&Maximum| {
            maximum.period == Period::Month && (maximum.class == class || maximum.alone == Alone::WithTheRest)
        };
        maxima.iter().find(covers).map(|maximum| maximum.amount)
    };
    assert_eq!(month("2024-07-16", 1, LimitClass::General), None);
    assert_eq!(month("2024-07-17", 1, LimitClass::General), Some(100_000_000));
    assert_eq!(month("2025-11-04", 1, LimitClass::Essential), Some(100_000_000));
    assert_eq!(month("2025-11-05", 1, LimitClass::Essential), Some(300_000_000));
    assert_eq!(month("2025-11-05", 0, LimitClass::Essential), Some(20_000_000));
    assert_eq!(rules.transaction_maximum(day("2026-01-01"), 0, LimitClass::Essential), Some(5_000_000));
    assert_eq!(rules.transaction_maximum(day("2026-01-01"), 2, LimitClass::General), Some(100_000_000));
    let shown = |maximum: &Maximum| (maximum.class, maximum.alone, maximum.period, maximum.amount);
    let of = |tier| rules.maxima(day("2026-01-01"), tier).map(|maxima| maxima.iter().map(shown).collect::<Vec<_>>());
    assert_eq!(
        of(1),
        Some(vec![
            (LimitClass::General, Alone::WithTheRest, Period::Transaction, 50_000_000),
            (LimitClass::General, Alone::Yes, Period::Month, 100_000_000),
            (LimitClass::Essential, Alone::Yes, Period::Month, 300_000_000),
        ])
    );
}

#[test]
fn a_day_may_have_a_rule() {
    let limits = "rules/limits.toml";
    let more = "[[limit]]\nclass = \"general\"\ntiers = [2]\nperiod = \"day\"\nmaximum = \"7\"\nbegins = 2024-07-17\nsource = \"a test\"\n\n[[limit]]";
    assert_eq!(broken("day", limits, ("[[limit]]", more)), []);
}

#[test]
fn step_up_follows_the_ladder_of_its_kind() {
    let rules = Rules::load(&city()).expect("the rules are sound");
    let date = day("2026-01-01");
    let lacking = |kind, held, amount| rules.ladder(kind, date).lacking(held, amount);
    assert_eq!(lacking(Kind::Goods, None, 5_000_001), Some(Ask { proof: Proof::Pin, above: 5_000_000 }));
    assert_eq!(lacking(Kind::Goods, Some(Proof::Pin), 100_000_000), None);
    assert_eq!(
        lacking(Kind::Transfer, Some(Proof::Pin), 10_000_001),
        Some(Ask { proof: Proof::Biometric, above: 10_000_000 })
    );
    assert_eq!(rules.ladder(Kind::TopUp, day("2024-06-30")).lacking(None, i64::MAX), None);
    let proof = |kind, amount, total| rules.ladder(kind, date).needed(amount, total);
    assert_eq!(proof(Kind::Transfer, 10_000_000, 10_000_000), None);
    assert_eq!(proof(Kind::Transfer, 10_000_001, 10_000_001), Some(Proof::Biometric));
    assert_eq!(proof(Kind::Transfer, 1_000_000, 20_000_001), Some(Proof::Biometric));
    assert_eq!(proof(Kind::Goods, 5_000_000, 5_000_000), None);
    assert_eq!(proof(Kind::Goods, 10_000, 5_010_000), Some(Proof::Pin));
    assert_eq!(proof(Kind::Goods, 100_000_001, 0), Some(Proof::Biometric));
    assert_eq!(proof(Kind::Goods, 1, 1_500_000_001), Some(Proof::Signature));
    let unproved = |kind| rules.unproved(kind, date, None).map(|unproved| (unproved.kinds.len(), unproved.day_maximum));
    assert_eq!(unproved(Kind::Goods), Some((1, 5_000_000)));
    assert_eq!(unproved(Kind::Withdrawal), Some((3, 20_000_000)));
}

#[test]
fn the_other_rules_are_found_by_date() {
    let rules = Rules::load(&city()).expect("the rules are sound");
    assert!(rules.refund_gives_back(Kind::Goods, day("2026-01-01")));
    assert!(!rules.refund_gives_back(Kind::Transfer, day("2026-01-01")));
    let cool_down = rules.cool_down(Kind::Goods, day("2026-01-01")).expect("there is a rule");
    assert_eq!((cool_down.hours, cool_down.day_maximum), (24, 5_000_000));
    assert_eq!(rules.tier_name(0, day("2026-01-01")).map(|(_, en)| en), Some("Phone proved"));
}

#[test]
fn faults_of_banks_are_named() {
    let check = |name, change: (&str, &str), at, message| expect(name, "banks.csv", change, at, message);
    check("bin", ("970436,VCB", "97043,VCB"), "97043,VCB", "is not 6 digits");
    check("letters", ("970436,VCB", "97o436,VCB"), "97o436", "is not 6 digits");
    check("same-bin", ("970416,ACB", "970415,ACB"), "970415,ACB", "BIN 970415 stands on line");
    check("same-code", ("970416,ACB", "970416,VCB"), "970436,VCB", "code VCB stands on line");
    check("no-bin", ("970436,VCB", ",VCB"), ",VCB", "has no BIN");
    check("code", ("970436,VCB", "970436,vcb"), "970436,vcb", "upper-case");
    check("swift", ("BFTVVNVX", "BFTV"), "970436,VCB", "SWIFT");
    check("name", ("970416,ACB,ACB", "970416,ACB,"), "970416", "a name is missing");
    check("fields", ("970436,VCB,", "970436,VCB,,"), "970436", "fields, the header has 8");
    check("status", ("yes,current", "yes,gone"), "yes,gone", "unknown variant `gone`");
    check("former", ("970406,VIKKI", "970499,VIKKI"), "DONGABANK", "no current bank");
}

#[test]
fn faults_of_billers_are_named() {
    let check = |name, change: (&str, &str), message| expect(name, "billers.csv", change, change.1, message);
    check("code", ("PCHUE,", "pchue,"), "is not 2 to 16 upper-case letters and digits");
    check("kind", (",water,", ",steam,"), "unknown variant `steam`");
    check("name", (",Hue Power Company,", ",,"), "a name is missing");
    check("prefix", (",PC,11", ",pc,11"), "is not upper-case letters and digits");
    check("length", (",PC,11", ",PC,30"), "customer codes have 4 to 20 characters");
    expect("twice", "billers.csv", ("HUEWACO,", "PCHUE,"), "PCHUE,water", "code PCHUE stands on line");
}

#[test]
fn faults_of_limits_and_ladders_are_named() {
    let limits = "rules/limits.toml";
    let check = |name, change: (&str, &str), message| expect(name, limits, change, change.1, message);
    check("tier", ("tiers = [2]", "tiers = [2, 7]"), "tier 7 is unknown");
    check("no-tier", ("tiers = [2]", "tiers = []"), "names no tier");
    check("amount", ("\"300000000\"", "\"-3\""), "is not a whole positive amount");
    check("period", ("period = \"transaction\"", "period = \"fortnight\""), "unknown variant");
    let faults = broken("uncovered", limits, ("tiers = [2]", "tiers = [1]"));
    let uncovered = "no general limit without end for tier 2 and period transaction";
    assert!(faults.iter().any(|(fault, _)| fault.message == uncovered), "{faults:?}");
    let check = |name, change: (&str, &str), message| expect(name, "rules/step-up.toml", change, change.1, message);
    check("rung", ("proof = \"pin\", day_above = \"5000000\"", "proof = \"pin\""), "names no amount");
    check("fall", ("\"1500000000\"", "\"15\""), "do not rise");
    check("proof", ("proof = \"signature\"", "proof = \"pin\""), "do not rise");
    check("kinds", ("kinds = [\"goods\"]", "kinds = []"), "names no kind");
    expect("level", "rules/tiers.toml", ("level = 2", "level = 9"), "level = 9", "tier 9 is unknown");
}

#[test]
fn faults_of_fees_are_named() {
    let check = |name, change: (&str, &str), at, message| expect(name, "procedures.csv", change, at, message);
    check("level-name", (",ward,Hải quan", ",village,Hải quan"), ",village,", "level \"village\" is unknown");
    check("procedure-twice", ("1.000236,", "1.000232,"), "1.000232,", "procedure 1.000232 stands on line");
    check("authority", (",Cục quản lý xuất nhập cảnh", ", "), ",bo-cong-an, ", "the authority is blank");
    check("field", (",Hải quan,", ",,"), "1.000005", "the field or the ministry is missing");
    let check = |name, change: (&str, &str), message| expect(name, "procedure-channels.csv", change, change.1, message);
    check("unknown", ("1.000236,online", "1.999999,online"), "procedure 1.999999 is not in procedures.csv");
    check("fee", ("amount,120000", "amount,"), "a fee of kind amount");
    check("fee-free", ("1,working-day,free,", "1,working-day,free,5"), "a fee of kind amount");
    check("channel", ("1.000236,online", "1.000236,pigeon"), "unknown variant `pigeon`");
    check("duration", ("3,working-day", "3,"), "without its unit");
    let check = |name, change: (&str, &str), at, message| expect(name, "sanitation-fees.csv", change, at, message);
    check("zero", ("66000", "0"), "street,,0", "is not positive");
    check("group", ("street,1,182000", "street,,182000"), "street,,182000", "have a group");
    check("same", ("alley,,53000", "street,,53000"), "street,,53000", "stand on line");
}

#[test]
fn a_rule_file_that_nobody_reads_is_a_fault() {
    let folder = TestFolder::new("unread").expect("a folder");
    let dir = folder.path();
    fs::create_dir_all(dir.join("rules")).expect("the temporary folder is writable");
    fs::write(dir.join("rules/limit.toml"), "# Origin: a typing error\n").expect("the file can be written");
    let faults = check_city(dir);
    let unread: Vec<_> = faults.iter().filter(|fault| fault.message.starts_with("no rule file")).collect();
    assert_eq!(unread.len(), 1);
    assert!(unread[0].file.ends_with("rules/limit.toml"));
}

#[test]
fn an_absent_folder_is_a_fault_of_each_file() {
    let faults = check_city(Path::new("/nowhere"));
    assert_eq!(faults.len(), 10);
    assert!(faults.iter().all(|fault| fault.line == 0));
}
