//! Amounts against the exact arithmetic of decimals.

use proptest::prelude::*;

use super::*;

fn decode(json: &str) -> Result<Money, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn the_wire_form_is_a_decimal_string() {
    let money = Money::vnd(150_000);
    let json = serde_json::to_string(&money).expect("money encodes");
    assert_eq!(json, r#"{"amount":"150000","currency":"VND"}"#);
    assert_eq!(decode(&json), Ok(money));
    let cents = Money::from_minor(5, Currency::Usd);
    assert_eq!(serde_json::to_string(&cents).expect("money encodes"), r#"{"amount":"0.05","currency":"USD"}"#);
}

#[test]
fn anything_but_plain_digits_is_refused() {
    for amount in [
        "", " ", "+1", "--1", "1e3", "1E3", "1_000", "1,000", "01", "00", "-0", ".5", "5.", "1.", "0x10", "NaN", "inf",
        "١", "1 ", " 1", "150000.0", "0.5",
    ] {
        let json = format!(r#"{{"amount":"{amount}","currency":"VND"}}"#);
        assert!(decode(&json).is_err(), "{amount} was taken");
    }
    assert!(decode(r#"{"amount":150000,"currency":"VND"}"#).is_err());
    assert!(decode(r#"{"amount":"1","currency":"vnd"}"#).is_err());
    assert!(decode(r#"{"amount":"1","currency":"XXX"}"#).is_err());
    assert!(decode(r#"{"amount":"1","currency":"VND","more":1}"#).is_err());
    assert!(decode(r#"{"amount":"1"}"#).is_err());
}

#[test]
fn the_range_is_that_of_64_bit_minor_units() {
    for (amount, fits) in [
        ("9223372036854775807", true),
        ("9223372036854775808", false),
        ("-9223372036854775808", true),
        ("-9223372036854775809", false),
        ("99999999999999999999999999999999999999999", false),
    ] {
        assert_eq!(Money::parse(amount, Currency::Vnd).is_ok(), fits, "{amount}");
    }
    assert_eq!(Money::try_new(Decimal::MAX, Currency::Usd), Err(MoneyError::Overflow));
    assert_eq!(Money::try_new(Decimal::new(15, 1), Currency::Vnd), Err(MoneyError::ExcessScale));
    assert_eq!(Money::try_new(Decimal::new(150, 2), Currency::Usd), Ok(Money::from_minor(150, Currency::Usd)));
}

#[test]
fn sums_refuse_mixed_currencies_and_overflow() {
    let one = Money::vnd(1);
    assert_eq!(one.try_add(Money::from_minor(1, Currency::Usd)), Err(MoneyError::MixedCurrencies));
    assert_eq!(Money::vnd(i64::MAX).try_add(one), Err(MoneyError::Overflow));
    assert_eq!(Money::vnd(i64::MIN).try_sub(one), Err(MoneyError::Overflow));
    assert_eq!(Money::try_sum(Currency::Vnd, [one, one, one]), Ok(Money::vnd(3)));
}

#[test]
fn money_that_moves_is_positive() {
    for amount in ["0", "-1"] {
        let json = format!(r#"{{"amount":"{amount}","currency":"VND"}}"#);
        assert!(serde_json::from_str::<PositiveMoney>(&json).is_err());
    }
    let json = r#"{"amount":"1","currency":"VND"}"#;
    let money: PositiveMoney = serde_json::from_str(json).expect("one đồng moves");
    assert_eq!(money.money(), Money::vnd(1));
}

proptest! {
    #[test]
    fn minor_units_survive_the_wire(minor: i64, dollars: bool) {
        let currency = if dollars { Currency::Usd } else { Currency::Vnd };
        let money = Money::from_minor(minor, currency);
        let json = serde_json::to_string(&money).expect("money encodes");
        let back: Money = serde_json::from_str(&json).expect("what we write we read");
        prop_assert_eq!(back, money);
        prop_assert_eq!(back.minor(), minor);
    }

    #[test]
    fn sums_agree_with_128_bit_integers(a: i64, b: i64) {
        let sum = Money::vnd(a).try_add(Money::vnd(b));
        let wide = i128::from(a) + i128::from(b);
        match i64::try_from(wide) {
            Ok(minor) => prop_assert_eq!(sum, Ok(Money::vnd(minor))),
            Err(_) => prop_assert_eq!(sum, Err(MoneyError::Overflow)),
        }
    }

    #[test]
    fn any_text_is_read_exactly_or_refused(text in "[-+0-9.eE ]{0,24}") {
        if let Ok(money) = Money::parse(&text, Currency::Usd) {
            prop_assert_eq!(money.amount(), text.parse::<Decimal>().expect("a decimal"));
        }
    }
}
